"""One writer at a time for a folder, across processes and within one.

The lock is the operating system's, on an open file, so it ends with the process that holds it however that
ends. The file stays: removing it would let two writers lock two files of the same name.
"""

from __future__ import annotations

import errno
import os
import sys
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from prorank_plugins.core.errors import IndexLockedError

LOCK = "writer.lock"
"""Name of the file in the folder; it holds the number of the process that locked it last."""

if sys.platform == "win32":
    import msvcrt

    # Locked bytes cannot be read by others: one far behind the process number is locked.
    _BEYOND = 1 << 30

    def _lock(file: int) -> None:
        os.lseek(file, _BEYOND, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int) -> None:
        os.lseek(file, _BEYOND, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


# What the two systems say when someone else has the lock.
_TAKEN = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)


class WriterLock:
    """Holds a folder for writing until `close`. Use as a context manager or close it.

    A child made by fork does not hold it: its copy is closed.

    Args:
        folder: must exist.

    Raises:
        IndexLockedError: another process, or another object of this one, holds it.
        OSError: the folder does not exist or cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._file: int | None = None
        file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(file)
        except OSError as error:
            holder = _read(file)
            os.close(file)
            if error.errno in _TAKEN:
                raise IndexLockedError(_message(folder, holder)) from error
            raise
        self._file = file
        _HELD.add(self)
        with suppress(OSError):  # on a full disk, others are told less
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            os.write(file, f"{os.getpid()}\n".encode())

    def __reduce__(self) -> str:
        raise TypeError("a WriterLock cannot be copied or pickled: only one object holds a folder")

    def __enter__(self) -> WriterLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # At exit functions may be gone; the system lets go of the lock then.
        try:  # noqa: SIM105 - suppress may be gone, too
            self.close()
        except TypeError:
            pass

    @property
    def held(self) -> bool:
        """Whether this object holds the folder."""
        return self._file is not None

    def close(self) -> None:
        """Let the next writer in. Does nothing the second time."""
        file, self._file = self._file, None
        if file is not None:
            try:
                _unlock(file)
            finally:
                os.close(file)

    def _forget(self) -> None:
        """Close a copy that came by fork, leaving the parent's lock."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


_HELD: weakref.WeakSet[WriterLock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_HELD):
        lock._forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


def _read(file: int) -> bytes:
    """The beginning of the file, which says who holds it."""
    os.lseek(file, 0, os.SEEK_SET)
    return os.read(file, 32)


def _message(folder: Path, holder: bytes) -> str:
    number = holder.split(b"\n")[0].decode("ascii", "replace")
    if number == str(os.getpid()):
        who, what = "another object of this process", "use that one, or close it"
    else:
        who = f"process {number}" if number.isdecimal() else "another process"
        what = "wait until it has finished, or end it"
    return f"{folder} is open for writing by {who}; {what}. Reading is possible meanwhile."
