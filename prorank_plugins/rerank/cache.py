"""Scores kept between calls, by model, prompt, query and document.

A score depends on nothing else, so an entry never goes stale: another model, prompt or text has another
key. What does not fit is dropped, the least recently used first.
"""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, runtime_checkable

from prorank_plugins.core.errors import ConfigError, CorruptIndexError, IndexFormatError

logger = logging.getLogger(__name__)

SMALLEST_DISK_CACHE = 64 * 1024
"""Fewest bytes a `DiskScoreCache` can be bound to."""

_SCHEMA = "CREATE TABLE scores (used INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, score REAL NOT NULL)"
_OBJECTS = {("scores", _SCHEMA), ("sqlite_autoindex_scores_1", None)}
_LOG_PAGES = 250
_LOG_BYTES = 1024 * 1024
_WAIT_SECONDS = 30.0
_KEYS_PER_SELECT = 500
_ROWS_PER_CHECK = 64
_SPARE_PAGES = 4
"""What `_ROWS_PER_CHECK` new entries may take before old ones are dropped."""
_MAX_USED = 16_384
_LAST_USE = 2**62
_INHERITED: list[sqlite3.Connection] = []


def key(model: str, prompt: str, query: str, document: str) -> bytes:
    """32 bytes that stand for one score: BLAKE2b over the four parts, each preceded by its length.

    The lengths keep ``("ab", "c")`` and ``("a", "bc")`` apart.

    Args:
        model: fingerprint of the weights and of what changes their numbers, such as the dtype.
        prompt: fingerprint of the prompt with its settings and the instruction.
        query: the query's text.
        document: the document's text.
    """
    digest = blake2b(digest_size=32, person=b"prorank-score-1")
    for part in (model, prompt, query, document):
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.digest()


@runtime_checkable
class ScoreCache(Protocol):
    """Keeps scores by `key`; any thread may call it."""

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]:
        """The score of each key, None where it is not known."""
        ...

    def put_many(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        """Remember the score of each key; of equal keys the last.

        Raises:
            ConfigError: not one finite score per key.
        """
        ...


class MemoryScoreCache:
    """A `ScoreCache` of this process; about 200 bytes an entry.

    Unpickled or copied, it starts empty.

    Args:
        max_entries: entries kept, at least 1.

    Raises:
        ConfigError: ``max_entries`` is below 1.
    """

    def __init__(self, max_entries: int = 100_000) -> None:
        if max_entries < 1:
            raise ConfigError(f"max_entries must be at least 1, found {max_entries}")
        self.max_entries = max_entries
        self._lock = threading.Lock()
        self._scores: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._scores)

    def __reduce__(self) -> tuple[Any, ...]:
        return MemoryScoreCache, (self.max_entries,)

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]:
        """See `ScoreCache`."""
        with self._lock:
            found = [self._scores.get(key) for key in keys]
            for key, score in zip(keys, found, strict=True):
                if score is not None:
                    self._scores.move_to_end(key)
        return found

    def put_many(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        """See `ScoreCache`."""
        entries = _entries(keys, scores)
        with self._lock:
            for key, score in entries:
                self._scores[key] = score
                self._scores.move_to_end(key)
            while len(self._scores) > self.max_entries:
                self._scores.popitem(last=False)


class DiskScoreCache:
    """A `ScoreCache` in one SQLite file that outlives the process.

    Threads and processes may share the file. Scores are kept as the float64 they are. A write that is cut
    short, even by a kill, leaves the entries as they were before it (write-ahead log). Reading writes
    nothing: which entries were used is noted with the next `put_many` or `close`. When the file cannot
    be read or written for a passing reason (locked by another process, disk full), a warning is logged and
    the call goes on without the cache. Pickled, it is opened again by its path; a forked process opens
    the file for itself.

    Args:
        path: the file; made, with its folder, if it does not exist.
        max_bytes: size the file is kept within, at least 64 KiB; about 110 bytes an entry. The log beside
            it takes another megabyte, or what the last call wrote, and goes when the last process closes.

    Raises:
        ConfigError: ``max_bytes`` is too small, or there can be no file at ``path``.
        IndexFormatError: ``path`` is an SQLite file of another kind.
        CorruptIndexError: the file is damaged; also at any later call.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = 256 * 1024 * 1024) -> None:
        if max_bytes < SMALLEST_DISK_CACHE:
            raise ConfigError(f"max_bytes must be at least {SMALLEST_DISK_CACHE}, found {max_bytes}")
        self.path = Path(path).absolute()
        self.max_bytes = max_bytes
        self._start()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with _damage_explained(self.path):
                self._connection()
        except (OSError, sqlite3.OperationalError) as error:
            raise ConfigError(
                f"{self.path} cannot be opened ({error}); give a file in a folder that can be written to"
            ) from error

    def _start(self) -> None:
        """Begin in this process, with no connection."""
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._used: dict[bytes, None] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return DiskScoreCache, (self.path, self.max_bytes)

    def __enter__(self) -> DiskScoreCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get_many(self, keys: Sequence[bytes]) -> list[float | None]:
        """See `ScoreCache`."""
        found: dict[bytes, float] = {}

        def read(database: sqlite3.Connection) -> None:
            found.update(_select(database, keys))
            for key in keys:
                if key in found:
                    self._used.pop(key, None)
                    self._used[key] = None
            while len(self._used) > _MAX_USED:
                del self._used[next(iter(self._used))]

        self._with_database(read)
        return [found.get(key) for key in keys]

    def put_many(self, keys: Sequence[bytes], scores: Sequence[float]) -> None:
        """See `ScoreCache`."""
        entries = _entries(keys, scores)
        if entries:
            self._with_database(lambda database: self._write(database, entries))

    def close(self) -> None:
        """Note what was used and let go of the file; a later call opens it again."""
        if self._database is None or os.getpid() != self._pid:
            return
        if self._used:
            self._with_database(lambda database: self._write(database, []))
        with self._lock:
            self._database = None
            self._finalizer()

    def _write(self, database: sqlite3.Connection, entries: Sequence[tuple[bytes, float]]) -> None:
        """Add entries, newest last, and drop old ones, in one transaction."""
        page_bytes = _number(database, "PRAGMA page_size")
        max_pages = self.max_bytes // page_bytes
        database.execute("BEGIN IMMEDIATE")
        clock = _number(database, "SELECT coalesce(max(used), 0) FROM scores")
        if clock >= _LAST_USE:
            raise sqlite3.DatabaseError(f"an entry has been used {clock} times")
        used = list(enumerate(self._used, clock + 1))
        database.executemany("UPDATE scores SET used = ? WHERE key = ?", used)
        clock += len(used)
        for start in range(0, len(entries), _ROWS_PER_CHECK):
            rows = [
                (clock + 1 + row, key, score)
                for row, (key, score) in enumerate(entries[start : start + _ROWS_PER_CHECK], start)
            ]
            database.executemany("INSERT OR REPLACE INTO scores (used, key, score) VALUES (?, ?, ?)", rows)
            _drop_oldest(database, max_pages - _SPARE_PAGES)
        database.execute("COMMIT")
        self._used.clear()
        if _number(database, "PRAGMA page_count") > max_pages:
            # A script, because `execute` would stop at the first of the pages to be freed.
            database.executescript("PRAGMA incremental_vacuum")

    def _with_database(self, action: Callable[[sqlite3.Connection], None]) -> None:
        """Run ``action`` alone; what it left unfinished is rolled back."""
        if os.getpid() != self._pid:
            self._start()
        with self._lock:
            try:
                with _damage_explained(self.path):
                    database = self._connection()
                    try:
                        action(database)
                    finally:
                        if database.in_transaction:
                            database.rollback()
            except sqlite3.OperationalError as error:
                logger.warning("Going on without the score cache %s: %s.", self.path, error)

    def _connection(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _open(self.path)
            self._finalizer = weakref.finalize(self, _close_own, self._database, self._pid)
        return self._database


def _open(path: Path) -> sqlite3.Connection:
    """A connection to a file that has the table; waits while another process makes it."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        database = sqlite3.connect(path, timeout=_WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            _prepare(database, path)
        except BaseException as error:
            database.close()
            # Switching to the write-ahead log reports a lock at once, whatever the timeout.
            locked = isinstance(error, sqlite3.OperationalError) and "locked" in str(error)
            if not locked or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return database


def _prepare(database: sqlite3.Connection, path: Path) -> None:
    # Text that is no UTF-8 is looked at like any other, and found to be none of ours.
    database.text_factory = lambda data: data.decode("utf-8", "replace")
    objects = set(database.execute("SELECT name, sql FROM sqlite_master"))
    if objects - _OBJECTS:
        raise IndexFormatError(
            f"{path} is an SQLite file of another kind or of a newer release (it holds "
            f"{sorted(name for name, _ in objects - _OBJECTS)}); give another path for the score cache"
        )
    database.execute("PRAGMA auto_vacuum = INCREMENTAL")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = NORMAL")
    database.execute(f"PRAGMA wal_autocheckpoint = {_LOG_PAGES}")
    database.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
    if not objects:
        database.execute(_SCHEMA.replace("TABLE", "TABLE IF NOT EXISTS"))


def _close_own(database: sqlite3.Connection, pid: int) -> None:
    """Close a connection, but never one inherited by a fork: that would meddle with its parent's."""
    if os.getpid() == pid:
        database.close()
    else:
        _INHERITED.append(database)


def _select(database: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for start in range(0, len(keys), _KEYS_PER_SELECT):
        wanted = list(keys[start : start + _KEYS_PER_SELECT])
        marks = ",".join("?" * len(wanted))
        for key, score in database.execute(f"SELECT key, score FROM scores WHERE key IN ({marks})", wanted):
            if not isinstance(score, float) or not math.isfinite(score):
                raise sqlite3.DatabaseError(f"a score is {score!r}")
            found[key] = score
    return found


def _drop_oldest(database: sqlite3.Connection, max_pages: int) -> None:
    """Drop the entries used longest ago until the others fill at most ``max_pages``."""
    while _number(database, "PRAGMA page_count") - _number(database, "PRAGMA freelist_count") > max_pages:
        dropped = database.execute(
            "DELETE FROM scores WHERE used IN (SELECT used FROM scores ORDER BY used LIMIT ?)",
            (_ROWS_PER_CHECK,),
        )
        if not dropped.rowcount:
            return


def _number(database: sqlite3.Connection, question: str) -> int:
    return int(database.execute(question).fetchone()[0])


@contextmanager
def _damage_explained(path: Path) -> Iterator[None]:
    """Turn SQLite's words for a damaged file into the package's; passing troubles go through."""
    try:
        yield
    except sqlite3.OperationalError:
        raise
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter from quoting damaged bytes
        raise CorruptIndexError(
            f"{path} is no readable score cache ({error}). Delete it with the files {path.name}-wal and "
            f"{path.name}-shm beside it: scores are then computed again."
        ) from error


def _entries(keys: Sequence[bytes], scores: Sequence[float]) -> list[tuple[bytes, float]]:
    if len(keys) != len(scores):
        raise ConfigError(f"found {len(keys)} keys and {len(scores)} scores; expected one score per key")
    entries = [(key, float(score)) for key, score in zip(keys, scores, strict=True)]
    for _, score in entries:
        if not math.isfinite(score):
            raise ConfigError(f"a score is {score}; only finite scores can be kept")
    return entries
