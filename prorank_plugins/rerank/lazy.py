"""Models by name, loaded when first used, once, and shared by all who ask for the same one."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.protocols import Reranker


@dataclass(frozen=True)
class ModelSource:
    """What a model is loaded from, and how.

    Attributes:
        name: hub name or folder.
        device: such as ``"cpu"``; None lets the reranker choose, as below.
        dtype: such as ``"float32"``.
        max_length: tokens of the longest row.
    """

    name: str
    device: str | None = None
    dtype: str | None = None
    max_length: int | None = None

    def load(self) -> Reranker:
        """The model, read now."""
        # Imported here, so that torch is loaded by those only who score.
        from prorank_plugins.rerank.reranker import ProRankReranker

        options = {"device": self.device, "dtype": self.dtype, "max_length": self.max_length}
        given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
        return ProRankReranker.from_pretrained(self.name, **given)


class LazyReranker:
    """Holds a reranker, or loads it when it is first wanted. Made by `lazy_reranker`."""

    def __init__(self, load: Callable[[], Reranker], source: ModelSource | None = None) -> None:
        self.source = source
        self._load = load
        self._loading = threading.Lock()
        self._loaded: Reranker | None = None

    def get(self) -> Reranker:
        """The reranker; threads that ask while it is being loaded wait for it."""
        if self._loaded is None:
            with self._loading:
                if self._loaded is None:
                    self._loaded = self._load()
        return self._loaded

    async def aget(self) -> Reranker:
        """`get`, in a thread if there is something to load."""
        return await asyncio.to_thread(self.get) if self._loaded is None else self._loaded

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and pickles carry the name, not the weights.
        if self.source is None:
            return lazy_reranker, (self.get(),)
        source = self.source
        return lazy_reranker, (source.name, source.device, source.dtype, source.max_length)


_shared: WeakValueDictionary[Hashable, LazyReranker] = WeakValueDictionary()
_sharing = threading.Lock()


def lazy_reranker(
    model: Any,
    device: str | None = None,
    dtype: str | None = None,
    max_length: int | None = None,
    held: LazyReranker | None = None,
) -> LazyReranker:
    """The holder of a model: the one that others hold already, or a new one.

    A folder whose files have changed since counts as another model.

    Args:
        model: hub name, folder or any `Reranker`.
        device: as in `ModelSource`, like those below; an object is used as it is.
        dtype: likewise.
        max_length: likewise.
        held: what was got before; returned if it still answers the question.
    """
    if not isinstance(model, (str, os.PathLike)):
        # Nobody else can have this id while a holder keeps the object alive.
        return _share(id(model), lambda: LazyReranker(lambda: model))
    source = ModelSource(os.fspath(model), device, dtype, max_length)
    if held is not None and held.source == source:
        return held
    key = source, _files_in(Path(source.name).expanduser())
    return _share(key, lambda: LazyReranker(source.load, source))


def _share(key: Hashable, make: Callable[[], LazyReranker]) -> LazyReranker:
    with _sharing:
        holder = _shared.get(key)
        if holder is None:
            holder = _shared[key] = make()
        return holder


def _files_in(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of each file; empty for a hub name."""
    if not folder.is_dir():
        return ()
    files = [(entry.name, entry.stat()) for entry in folder.iterdir() if entry.is_file()]
    return tuple(sorted((name, stat.st_size, stat.st_mtime_ns) for name, stat in files))


def checked_model(model: Any) -> Any:
    """A name or folder as str, a reranker as it is.

    Raises:
        ConfigError: neither of these.
    """
    if isinstance(model, (str, os.PathLike)):
        return os.fspath(model)
    if isinstance(model, type) or not isinstance(model, Reranker):
        found = f"the class {model.__name__}" if isinstance(model, type) else type(model).__name__
        raise ConfigError(
            f"model must be a hub name, a folder or an object with rerank(query, documents, k), found {found}"
        )
    return model


def model_name(model: Any) -> str:
    """What to call a model in logs, events and JSON."""
    if isinstance(model, (str, os.PathLike)):
        return str(os.fspath(model))
    name = getattr(model, "name", None)
    return name if isinstance(name, str) else type(model).__name__
