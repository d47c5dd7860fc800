"""The trained model put into its folder as a whole."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import TrainingError
from prorank_plugins.core.signature import package_version
from prorank_plugins.training.model import TrainableModel

_LAST = "config.json"  # without it a folder is no model folder: readers see no half of a model


def write_model(model: TrainableModel, folder: Path, recipe: Mapping[str, Any]) -> None:
    """Write what `ProRankReranker.from_pretrained` loads; other files in the folder stay.

    Raises:
        TrainingError: it cannot be written; checkpoints in the folder are kept.
    """
    aside = folder / f".model-{secrets.token_hex(4)}"
    try:
        aside.mkdir(parents=True)
        model.write(aside, {"base": model.name, "prorank_plugins": package_version(), **recipe})
        (folder / _LAST).unlink(missing_ok=True)
        for file in sorted(aside.iterdir(), key=lambda file: file.name == _LAST):
            file.replace(folder / file.name)
    except OSError as error:
        raise TrainingError(
            f"the trained model cannot be written to {folder} ({error}); checkpoints are kept. Make room and "
            "start the run again with resume=True"
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
