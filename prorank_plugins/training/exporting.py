"""Export a reranker for other libraries: mxbai-rerank, sentence-transformers, vLLM, and this package."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError, TrainingError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.prompt import preset_for
from prorank_plugins.rerank.quantised import quantise_folder
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.settings import Settings, read_settings
from prorank_plugins.rerank.weights import find_folder, has_quantised_weights
from prorank_plugins.training.export_source import Source, write_config, write_weights
from prorank_plugins.training.model import TrainableModel
from prorank_plugins.training.peer_formats import write_mxbai, write_sentence_transformers, write_vllm

_COPIED = {".json", ".model", ".txt", ".jinja"}
_DEFAULT_LENGTH = 8192


def export(source: Any, target: str | Path | None = None, to: str = "prorank", *, int8: bool = False) -> Path:
    """Write a reranker as another library loads it; returns the folder.

    ::

        export("my-reranker", to="vllm")                          # my-reranker-vllm
        export("my-reranker", "served", to="sentence-transformers")

    * ``"prorank"``: what `ProRankReranker.from_pretrained` loads. Weights stored as int8 come out as float32,
      so that other libraries find them; with ``int8=True`` they are stored as int8.
    * ``"mxbai-rerank"``: ``MxbaiRerankV2(folder)`` of mxbai-rerank 0.1.6 gives the same ids and the same raw
      scores. That library has one prompt and a length of its own: the prompt must be ``PRORANK``, and
      ``max_position_embeddings`` is lowered to what makes it cut where this package does. A model for more
      than 8192 tokens needs ``MxbaiRerankV2(folder, max_length=...)``.
    * ``"sentence-transformers"``: what ``CrossEncoder(folder)`` of 5.4 and later loads; an instruction is its
      ``prompt``. It tokenises the rendered text as a whole, this package the pieces of it apart: where a
      query or document ends in punctuation, byte-level tokenizers join that with the line break behind it,
      and the score differs. Where the ids agree, the scores do.
    * ``"vllm"``: a sequence classifier with one output, ``W[positive] - W[negative]``, and the chat template:
      ``vllm serve FOLDER --runner pooling --chat-template FOLDER/chat_template.jinja``. vLLM tokenises the
      rendered text, too, and puts scores through a sigmoid unless told otherwise. Checked by loading it with
      transformers' ``AutoModelForSequenceClassification``, not in vLLM itself.

    Other libraries read control tokens in a query or document as such, which this package does not.

    Args:
        source: a folder, a hub name, a `ProRankReranker` or a `TrainableModel`, which is exported as it is
            now, low-rank additions merged.
        target: a new or empty folder; it appears as a whole or not at all. None for a folder beside the
            source, named after it and the format; for a hub name in the working directory.
        to: the format.
        int8: store weights as int8; for ``"prorank"`` only.

    Raises:
        ConfigError: an unknown format, a target that is not empty, or a model that the format cannot hold.
        ModelError: the source cannot be loaded.
        TrainingError: the target cannot be written.
    """
    if to not in _WRITERS:
        raise ConfigError(f"to={to!r} is no format; expected one of {', '.join(_WRITERS)}")
    if int8 and to != "prorank":
        raise ConfigError(f"int8 storage is read by this package only; leave out int8 for to={to!r}")
    require("torch", "train", "An export")
    folder = _target(source, to) if target is None else Path(target).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is there already; give a new or empty folder")
    write = _write_int8 if int8 else _WRITERS[to]
    with _opened(source) as opened:
        _write_aside(folder, lambda aside: write(opened, aside))
    return folder


def _write_aside(folder: Path, write: Callable[[Path], None]) -> None:
    aside = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        aside.mkdir(parents=True)
        write(aside)
        if folder.exists():
            folder.rmdir()
        aside.rename(folder)
    except OSError as error:
        raise TrainingError(f"the export cannot be written to {folder} ({error}); make room") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _target(source: Any, to: str) -> Path:
    name = source.name if isinstance(source, ProRankReranker) else source
    if not isinstance(name, (str, Path)):
        raise ConfigError(f"give a target folder to export a {type(source).__name__} to")
    path = Path(name).expanduser()
    beside = path.resolve().parent if path.is_dir() else Path()
    return beside / f"{path.resolve().name}-{to}"


@contextmanager
def _opened(source: Any) -> Iterator[Source]:
    """The model to export; that of a `TrainableModel` is written to a folder for the while."""
    if isinstance(source, TrainableModel):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            source.write(folder)
            yield Source.read(folder, _settings(folder, source.name))
    elif isinstance(source, ProRankReranker):
        folder = find_folder(source.name)
        calibration = None if source.calibration is None else source.calibration.to_json()
        saved = read_settings(folder)
        training = saved.training if saved else None
        yield Source.read(folder, Settings(source.prompt, source.max_length, calibration, training))
    elif isinstance(source, (str, Path)):
        folder = find_folder(str(source))
        yield Source.read(folder, _settings(folder, str(source)))
    else:
        raise ConfigError(
            "the source must be a folder, a hub name, a ProRankReranker or a TrainableModel, found "
            f"{type(source).__name__}"
        )


def _settings(folder: Path, name: str) -> Settings:
    return read_settings(folder) or Settings(preset_for(name), _DEFAULT_LENGTH)


def _write_prorank(source: Source, folder: Path) -> None:
    _copy_others(source, folder)
    dtype = write_weights(source.tensors(), folder)
    write_config(source, folder, dtype)
    source.settings.write(folder)


def _write_int8(source: Source, folder: Path) -> None:
    if has_quantised_weights(source.folder):
        _copy_others(source, folder)
        for file in source.folder.glob("*.safetensors"):
            shutil.copyfile(file, folder / file.name)
    else:
        quantise_folder(source.folder, folder)
    source.settings.write(folder)


def _copy_others(source: Source, folder: Path) -> None:
    """Copy what holds no weights."""
    for file in source.folder.iterdir():
        if file.suffix in _COPIED and not file.name.endswith(".safetensors.index.json"):
            shutil.copyfile(file, folder / file.name)


_WRITERS: Mapping[str, Callable[[Source, Path], None]] = {
    "prorank": _write_prorank,
    "mxbai-rerank": write_mxbai,
    "sentence-transformers": write_sentence_transformers,
    "vllm": write_vllm,
}
