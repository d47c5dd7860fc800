"""A name or folder to what scores rows, and back to a folder."""

from __future__ import annotations

import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.calibration import Calibration, calibration_from_json
from prorank_plugins.rerank.encoding import Labels, PairEncoder, find_labels
from prorank_plugins.rerank.model import ScoringModel
from prorank_plugins.rerank.prompt import Prompt, preset_for
from prorank_plugins.rerank.settings import Settings, read_settings
from prorank_plugins.rerank.tokens import PieceTokenizer
from prorank_plugins.rerank.weights import find_folder, model_positions, read_config

_LOG = logging.getLogger(__name__)

_DEFAULT_LENGTH = 8192
_COPIED = {".json", ".safetensors", ".model", ".txt"}


@dataclass(frozen=True)
class Loaded:
    """What a reranker is made of.

    Attributes:
        model: scores rows.
        encoder: makes them.
        max_batch_tokens: positions that go through the model together.
        calibration: saved with the model, or None.
    """

    model: ScoringModel
    encoder: PairEncoder
    max_batch_tokens: int
    calibration: Calibration | None


def load(
    name_or_path: str,
    device: str | None,
    dtype: str | None,
    max_length: int | None,
    max_batch_tokens: int | None,
    prompt: Prompt | None,
    allow_special_tokens: bool,
) -> Loaded:
    """Load a model; see `prorank_plugins.rerank.reranker.ProRankReranker.from_pretrained`."""
    require("torch", "rerank", "ProRankReranker")
    from prorank_plugins.rerank.devices import default_budget, pick_device, pick_dtype

    if max_batch_tokens is not None and (not isinstance(max_batch_tokens, int) or max_batch_tokens < 1):
        raise ConfigError(f"max_batch_tokens must be None or at least 1, found {max_batch_tokens!r}")
    where = pick_device(device)
    number_format = pick_dtype(dtype, where)
    folder = find_folder(name_or_path)
    config, settings = read_config(folder), read_settings(folder)
    if prompt is None:
        prompt = settings.prompt if settings is not None else preset_for(name_or_path)
    if max_length is None:
        max_length = settings.max_length if settings is not None else _DEFAULT_LENGTH
    calibration = None
    if settings is not None and settings.calibration is not None:
        calibration = calibration_from_json(settings.calibration)
    if not isinstance(prompt, Prompt):
        raise ConfigError(f"prompt must be None or a Prompt, found {type(prompt).__name__}")
    tokenizer = PieceTokenizer.from_folder(folder)
    labels = find_labels(prompt, tokenizer)
    positions = model_positions(folder, config)
    encoder = PairEncoder(prompt, tokenizer, max_length, positions, allow_special_tokens)
    model = _load_model(folder, config, labels, where, number_format)
    return Loaded(model, encoder, max_batch_tokens or default_budget(where), calibration)


def _load_model(
    folder: Path, config: dict[str, Any], labels: Labels, device: Any, dtype: str
) -> ScoringModel:
    from prorank_plugins.rerank.families import find_family

    if find_family(config) is not None:
        from prorank_plugins.rerank.packed import PackedModel

        return PackedModel(folder, config, labels, device, dtype)
    from prorank_plugins.rerank.causal_lm import TransformersModel

    _LOG.info("%s is of the family %s: run by transformers", folder, config.get("model_type"))
    return TransformersModel(folder, labels, device, dtype)


def save(name_or_path: str, target: Path, settings: Settings) -> None:
    """Write a model's files and the settings to a new or empty folder.

    How the model was trained is taken over from where it came from.

    Raises:
        ConfigError: the folder is there already and not empty.
    """
    source = find_folder(name_or_path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already; give a new or empty folder")
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.suffix in _COPIED:
            # Not their permissions: those of an installed model may forbid to write.
            shutil.copyfile(file, target / file.name)
    saved = read_settings(source)
    replace(settings, training=None if saved is None else saved.training).write(target)
