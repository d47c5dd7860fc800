"""What is saved beside a model: ``prorank.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.rerank.prompt import Prompt

FILE = "prorank.json"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Settings:
    """Everything that changes scores and is not in the model's own files.

    Attributes:
        prompt: the prompt.
        max_length: tokens of query and document.
        calibration: JSON data of a calibration, or None.
        training: how the model was trained, as JSON data, or None; for the record only.
    """

    prompt: Prompt
    max_length: int
    calibration: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None

    def write(self, folder: Path) -> None:
        """Write ``prorank.json``."""
        data = {
            "format_version": FORMAT_VERSION,
            "prompt": self.prompt.to_json(),
            "max_length": self.max_length,
            "calibration": None if self.calibration is None else dict(self.calibration),
            "training": None if self.training is None else dict(self.training),
        }
        (folder / FILE).write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")


def read_settings(folder: Path) -> Settings | None:
    """The settings in a model folder, None if it has none.

    Raises:
        ModelError: they cannot be read or are of a newer release.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    try:
        data = json.loads(file.read_text("utf-8"))
        version = data["format_version"]
        if not isinstance(version, int) or version > FORMAT_VERSION:
            raise ModelError(
                f"{file} has format_version {version!r}; this release reads up to {FORMAT_VERSION}. "
                "Upgrade prorank-plugins."
            )
        prompt, max_length = Prompt.from_json(data["prompt"]), int(data["max_length"])
        return Settings(prompt, max_length, data.get("calibration"), data.get("training"))
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise ModelError(f"{file} cannot be read ({error}); export the model again") from error
