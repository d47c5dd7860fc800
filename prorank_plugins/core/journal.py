"""A file that edits are appended to before they count, so that they outlive the process and a power cut.

::

    header    "PRJOURN1", generation padded with zeros to 32 bytes, CRC-32 of both
    record    byte 181 and "REC", place in the file (uint64), bytes of payload, CRC-32 of the payload,
              CRC-32 of the generation and what precedes; then the payload

Numbers are little-endian, uint32 where nothing else is said. Since the checksum begins with the generation,
which is random, bytes of a payload that look like a record do not pass for one.

A record that was cut short at the end is what a crash leaves: the edit had not been confirmed, and reading
stops before it. A bad record with others after it is damage.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import FileIO
from pathlib import Path
from types import TracebackType

from prorank_plugins.core.errors import ConfigError, CorruptIndexError
from prorank_plugins.core.storage import sync_folder

_HEADER = struct.Struct("<8s32sI")
_MAGIC = b"PRJOURN1"
_RECORD = struct.Struct("<4sQIII")
_RECORD_MAGIC = b"\xb5REC"
_MOST_BYTES = 0xFFFF_FFFF


def read_journal(path: Path, generation: str) -> list[bytes]:
    """Payloads of all whole records, in order; none if there is no journal or it is of another generation.

    Safe while another process appends: what it has confirmed by now is among them.

    Raises:
        CorruptIndexError: damaged elsewhere than at the end.
    """
    return read_journal_from(path, generation, 0)[0]


def read_journal_from(path: Path, generation: str, place: int) -> tuple[list[bytes], int]:
    """`read_journal` for the records from ``place`` on, and where the last one ends.

    Args:
        path: the file.
        generation: what the edits apply to.
        place: where a record ended when this was read last, 0 to begin with.

    Raises:
        CorruptIndexError: as `read_journal`, or no record ends at ``place``.
    """
    data = _read(path)
    while True:
        try:
            return _parse(path, data, generation, place)
        except CorruptIndexError:
            # A writer that takes back a record and writes another may be seen halfway.
            before, data = data, _read(path)
            if data == before:
                raise


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _parse(path: Path, data: bytes, generation: str, place: int = 0) -> tuple[list[bytes], int]:
    """Payloads, and where the last record ends: 0 if not even the header is whole or meant for us."""
    if place > len(data):
        raise _corrupt(path, f"it has {len(data)} bytes, and had {place} before")
    owner = _owner(generation)
    if len(data) < _HEADER.size:
        return [], 0  # cut short when it was made
    magic, found, checksum = _HEADER.unpack_from(data)
    if magic != _MAGIC or checksum != zlib.crc32(data[: _HEADER.size - 4]):
        if len(data) == _HEADER.size:
            return [], 0
        raise _corrupt(path, "its header is damaged")
    if found != owner:
        return [], 0
    payloads: list[bytes] = []
    place = max(place, _HEADER.size)
    while place < len(data):
        payload = _payload(data, place, generation)
        if payload is None:
            _check_tail(path, data, place, generation)
            break
        payloads.append(payload)
        place += _RECORD.size + len(payload)
    return payloads, place


def _payload(data: bytes, place: int, generation: str) -> bytes | None:
    """The payload of the record at ``place``, None if it is not whole."""
    found = _place_and_size(data, place, generation)
    if found is None:
        return None
    start = place + _RECORD.size
    payload = data[start : start + found[1]]
    return payload if _record(payload, place, generation) == data[place:start] else None


def _place_and_size(data: bytes, at: int, generation: str) -> tuple[int, int] | None:
    """What the record that begins at ``at`` says of itself, None if none begins there."""
    end = at + _RECORD.size
    if end > len(data):
        return None
    magic, place, size, _, seal = _RECORD.unpack_from(data, at)
    if magic != _RECORD_MAGIC or seal != _seal(data[at : end - 4], generation):
        return None
    return place, size


def _check_tail(path: Path, data: bytes, place: int, generation: str) -> None:
    """Tell a record cut short, which nothing follows, from a damaged one.

    Raises:
        CorruptIndexError: something follows.
    """
    found = _place_and_size(data, place, generation)
    if found is not None:
        damaged = found[0] != place or place + _RECORD.size + found[1] < len(data)
    else:
        at = data.find(_RECORD_MAGIC, place + 1)
        while at >= 0 and _place_and_size(data, at, generation) is None:
            at = data.find(_RECORD_MAGIC, at + 1)
        damaged = at >= 0
    if damaged:
        raise _corrupt(path, f"the record at byte {place} is damaged or missing, and others follow")


def _record(payload: bytes, place: int, generation: str) -> bytes:
    """What precedes a payload at ``place``."""
    start = struct.pack("<4sQII", _RECORD_MAGIC, place, len(payload), zlib.crc32(payload))
    return start + struct.pack("<I", _seal(start, generation))


def _seal(start: bytes, generation: str) -> int:
    return zlib.crc32(start, zlib.crc32(_owner(generation)))


def _owner(generation: str) -> bytes:
    """The generation as the header holds it.

    Raises:
        ConfigError: longer than the header's field.
    """
    encoded = generation.encode()
    if not 0 < len(encoded) <= 32:
        raise ConfigError(f"a journal's generation takes 1 to 32 bytes, found {generation!r}")
    return encoded.ljust(32, b"\0")


def _corrupt(path: Path, what: str) -> CorruptIndexError:
    return CorruptIndexError(
        f"{path}: {what}. Restore the folder from a copy, or remove this file to go on without "
        "the edits since the index was saved."
    )


class Journal:
    """Appends records; each is on the disk when `append` returns. Use as a context manager or `close`.

    One writer at a time: see `prorank_plugins.core.locking`.

    Args:
        path: the file; made if there is none, made anew if it belongs to another generation. A record that a
            crash cut short is removed.
        generation: what the edits apply to, 1 to 32 bytes.

    Raises:
        CorruptIndexError: a journal of this generation, damaged elsewhere than at the end.
    """

    def __init__(self, path: Path, generation: str) -> None:
        self._path, self._generation = path, generation
        payloads, self._size = _parse(path, _read(path), generation)
        self._n_records = len(payloads)
        if not self._size:
            self._size = _create(path, generation)
        self._file: FileIO | None = path.open("r+b", buffering=0)
        self._cut()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            self.close()

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be appended any more."""
        return self._file is None

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self._size

    @property
    def n_records(self) -> int:
        """Records in the file, those of earlier writers included."""
        return self._n_records

    def append(self, payload: bytes) -> None:
        """Write a record and wait until it is on the disk.

        Raises:
            OSError: it could not be written; the journal is as it was. If it could not be made so, it is
                closed, and what it holds is read when it is opened again.
            ConfigError: the payload has 4 GiB or more.
            ValueError: the journal is closed.
        """
        if self._file is None:
            raise ValueError(f"{self._path} is closed; open the index again to go on editing")
        if len(payload) > _MOST_BYTES:
            raise ConfigError(f"a record holds less than 4 GiB, found {len(payload)} bytes; edit in parts")
        try:
            self._cut()
            self._write(_record(payload, self._size, self._generation) + payload)
            os.fsync(self._file.fileno())
        except BaseException:
            self._undo()
            raise
        self._size += _RECORD.size + len(payload)
        self._n_records += 1

    def _write(self, data: bytes) -> None:
        assert self._file is not None
        self._file.seek(self._size)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _undo(self) -> None:
        """Remove what a failed append wrote."""
        try:
            self._cut()
        except OSError:
            self.close()

    def _cut(self) -> None:
        """Remove what follows the last record."""
        assert self._file is not None
        if self._file.seek(0, os.SEEK_END) > self._size:
            self._file.truncate(self._size)
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file; nothing is appended any more."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _create(path: Path, generation: str) -> int:
    """Put a journal without records in place of what is there; returns its size."""
    start = _MAGIC + _owner(generation)
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(start + struct.pack("<I", zlib.crc32(start)))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)
    return _HEADER.size
