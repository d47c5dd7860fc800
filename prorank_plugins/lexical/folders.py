"""An index and its folder: save, load, and open for writing."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.locking import WriterLock
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter, check_target, remove_leftovers
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.durable import LoadedFrom, OpenedAt
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.persistence import FORMAT, FORMAT_VERSION, read_index
from prorank_plugins.lexical.persistence_writing import write_content

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def save_index(path: Path, index: LexicalIndex, options: Mapping[str, Any] | None = None) -> None:
    """Write an index to a folder, replacing an index that is there.

    Args:
        path: the folder; that of an index that is open for writing is brought up to date.
        index: what to write; its documents too, if it keeps them.
        options: JSON data of the caller's, returned by `load_index`; None for none, or for those it has.

    Raises:
        ConfigError: the folder holds something else, or a document's metadata is not JSON.
        IndexLockedError: another index, here or in another process, is open for writing there.
    """
    if index.checkpoint(path, options):
        return
    check_target(path, FORMAT)
    path.mkdir(parents=True, exist_ok=True)
    with _locked(path), ArtifactWriter(path, FORMAT, FORMAT_VERSION) as out:
        described = write_content(out, index.snapshot(), index.analyzer)
        out.publish({**described, "options": dict(options or {})})


def load_index(path: Path, mmap: bool, analyzer: Analyzer | None) -> tuple[LexicalIndex, dict[str, Any]]:
    """An index in memory, with its documents if it was saved with them, and the options it was saved with.

    Raises:
        IndexNotFoundError: no folder there.
        CorruptIndexError: incomplete, damaged or inconsistent.
        IndexFormatError: another kind, a newer format or another analyzer.
    """
    found = read_index(path, mmap, analyzer)
    index = LexicalIndex(found.content, found.analyzer)
    index.live_in(LoadedFrom(found, mmap), found.pending)
    return index, found.options


def open_index(path: Path, mmap: bool, analyzer: Analyzer | None) -> tuple[LexicalIndex, dict[str, Any]]:
    """`load_index` for writing: edits are on the disk when they return. One of format 1 is rewritten first.

    Raises:
        IndexLockedError: another index, here or in another process, is open for writing there.
        ConfigError: the folder cannot be written to.
    """
    ArtifactReader(path, FORMAT, FORMAT_VERSION)  # before a lock is put into a folder of another kind
    lock = _locked(path)
    try:
        found = read_index(path, mmap, analyzer)
        index = LexicalIndex(found.content, found.analyzer)
        remove_leftovers(path, found.source.generation)
        index.live_in(OpenedAt(found, lock), found.pending)
    except BaseException:
        lock.close()
        raise
    return index, found.options


def _locked(path: Path) -> WriterLock:
    try:
        return WriterLock(path)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise ConfigError(
            f"{path} cannot be written to ({error}); use load, which only reads, or change its permissions"
        ) from error
