"""A model folder: its configuration and its tensors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ModelError
from prorank_plugins.core.extras import require

NANO = "prorank-nano"
DEFAULT_MODEL = "mixedbread-ai/mxbai-rerank-base-v2"

# Families that count positions from the padding token's id + 1.
_POSITIONS_AFTER_PADDING = {
    "camembert", "data2vec-text", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
}  # fmt: skip
_SHIPPED = Path(__file__).parents[1] / "models"
# Bytes of tensors that are read from one mapping of a file.
_MAPPED_AT_ONCE = 8 * 2**20
_WANTED = ["*.json", "*.safetensors", "*.model", "*.txt"]


def find_folder(name_or_path: str) -> Path:
    """The local folder of a model: the path itself, or a snapshot from the Hugging Face hub.

    ``"prorank-nano"`` is always the model that comes with the package, whatever the working directory holds;
    a folder of that name is ``"./prorank-nano"``.

    Raises:
        ModelError: no such folder, and nothing of that name can be loaded.
    """
    if name_or_path == NANO:
        shipped = _SHIPPED / NANO
        if not (shipped / "config.json").is_file():
            raise ModelError(f"{NANO} does not ship with this release; give a model folder or a hub name")
        return shipped
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    looks_local = path.is_absolute() or name_or_path.startswith((".", "~")) or name_or_path.count("/") > 1
    if looks_local:
        raise ModelError(f"there is no model folder {name_or_path}; check the path")
    hub = require("huggingface_hub", "rerank", "A model from the hub")
    try:
        return Path(hub.snapshot_download(name_or_path, allow_patterns=_WANTED))
    except Exception as error:
        # Whatever went wrong (no network, no such model, no right to it), the way out is the same.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"{name_or_path!r} is no local folder and cannot be loaded from the hub ({reason}). Give a "
            f"folder that holds the model, or {NANO!r}, the small model that comes with this package and "
            "needs no network."
        ) from error


def read_config(folder: Path) -> dict[str, Any]:
    """``config.json`` of a model folder.

    Raises:
        ModelError: missing or no JSON object.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} is no model folder: it holds no config.json") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}/config.json cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise ModelError(f"{folder}/config.json holds no JSON object")
    return config


def model_positions(folder: Path, config: Mapping[str, Any]) -> int:
    """Most tokens of a row that a model has positions for; 32,768 where its configuration does not say.

    Raises:
        ModelError: the configuration holds no number there.
    """
    found = config.get("max_position_embeddings") or 32_768
    if isinstance(found, bool) or not isinstance(found, int):
        raise ModelError(f"{folder}/config.json has max_position_embeddings {found!r}, expected an int")
    if config.get("model_type") in _POSITIONS_AFTER_PADDING:
        padding = config.get("pad_token_id")
        found -= 1 + (padding if isinstance(padding, int) else 1)
    return found


def read_tensors(folder: Path) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of every weight in the folder's safetensors files, quantised ones multiplied out.

    Raises:
        ModelError: there are none, or one cannot be read. Pickled weights are not read.
    """
    from prorank_plugins.rerank.quantised import dequantised, is_quantised

    for file in weight_files(folder):
        with _opened(file) as source:
            if is_quantised(source, file):
                yield from dequantised(source, file)
                continue
            for name in source.keys():  # noqa: SIM118 - not a mapping
                yield name, source.get_tensor(name)


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder, by name.

    Raises:
        ModelError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelError(
            f"{folder} holds no .safetensors file; convert the weights (pickled ones are not read)"
        )
    return files


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """An open safetensors file; what goes wrong with it is a `ModelError`."""
    with _readable(file), _open(file) as source:
        yield source


def _open(file: Path) -> Any:
    return require("safetensors", "rerank", "ProRankReranker").safe_open(str(file), framework="pt")


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    safetensors = require("safetensors", "rerank", "ProRankReranker")
    try:
        yield
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{file} cannot be read ({error}); download or export the model again") from error


class StoredTensors(Mapping[str, Any]):
    """The weights of a folder by name, each mapped from its file when asked for.

    A file is opened anew after every 8 MiB of tensors: what has been converted is then not held in memory as
    stored, too, as it would be as a part of one mapping of the whole file. Quantised weights are multiplied
    out at once. Not for several threads at once.

    Args:
        folder: with ``*.safetensors``.

    Raises:
        ModelError: there are none, or one cannot be read. Pickled weights are not read.
    """

    def __init__(self, folder: Path) -> None:
        self._read: dict[str, Any] = {}
        self._homes: dict[str, Path] = {}
        self._source: tuple[Path, Any] | None = None
        self._mapped = 0
        if has_quantised_weights(folder):
            self._read = dict(read_tensors(folder))
            return
        for file in weight_files(folder):
            with _opened(file) as source:
                self._homes.update(dict.fromkeys(source.keys(), file))

    def __getitem__(self, name: str) -> Any:
        if name in self._read:
            return self._read[name]
        file = self._homes[name]
        with _readable(file):
            if self._source is None or self._source[0] != file or self._mapped > _MAPPED_AT_ONCE:
                self._source, self._mapped = (file, _open(file)), 0
            tensor = self._source[1].get_tensor(name)
        self._mapped += tensor.nbytes
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._read or self._homes)

    def __len__(self) -> int:
        return len(self._read or self._homes)

    def __contains__(self, name: object) -> bool:
        return name in self._read or name in self._homes


def has_quantised_weights(folder: Path) -> bool:
    """Whether `prorank_plugins.rerank.quantised` wrote the folder's safetensors files.

    Raises:
        ModelError: one cannot be read.
    """
    from prorank_plugins.rerank.quantised import is_quantised

    for file in sorted(folder.glob("*.safetensors")):
        with _opened(file) as source:
            if is_quantised(source, file):
                return True
    return False


def weights_digest(folder: Path) -> str:
    """SHA-256 of a folder's configuration and weights."""
    digest = hashlib.sha256()
    for file in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]:
        digest.update(file.name.encode())
        with file.open("rb") as source:
            while chunk := source.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()
