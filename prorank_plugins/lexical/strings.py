"""Packed strings that can be memory-mapped, and a table that finds their numbers without reading them all."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import CorruptIndexError

Offsets: TypeAlias = "NDArray[np.uint32] | NDArray[np.int64]"

# At most so many strings a slot: a third of the slots empty end most searches at the first or second.
_MOST_LOAD = 0.67
_EMPTY = -1


class StringTable(Sequence[str]):
    """Strings in one byte array, decoded one at a time when asked for.

    Contents are checked as they are read, since a mapped table is not read at load.

    Attributes:
        offsets: (n + 1,); string ``i`` is ``data[offsets[i]:offsets[i + 1]]`` in UTF-8.
        data: (n_bytes,) uint8.

    Raises:
        CorruptIndexError: there are no offsets; or, when a string is read, its offsets are out of range or
            in the wrong order, or its bytes are no UTF-8.
    """

    def __init__(self, offsets: Offsets, data: NDArray[np.uint8]) -> None:
        if not len(offsets):
            raise _damaged("no offsets, expected one more than strings")
        self.offsets = offsets
        self.data = data
        # Single elements of a memoryview are several times faster to get than those of an array.
        self._ends, self._bytes = offsets.data, data.data

    def __reduce__(self) -> tuple[type[StringTable], tuple[Any, ...]]:
        return StringTable, (np.array(self.offsets), np.array(self.data))

    @classmethod
    def pack(cls, strings: Iterable[str]) -> StringTable:
        """Pack strings. Lone surrogates, which `str` allows and UTF-8 does not, survive."""
        encoded = [_encode(string) for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=offsets[1:])
        small = offsets[-1] <= np.iinfo(np.uint32).max
        data = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(offsets.astype(np.uint32) if small else offsets, data)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        size = len(self)
        if not -size <= index < size:
            raise IndexError(f"string {index} of {size}")
        return _decode(self.encoded(index % size), index)

    def encoded(self, index: int) -> bytes:
        """UTF-8 of string ``index`` in [0, n)."""
        start, end = self._ends[index], self._ends[index + 1]
        if not 0 <= start <= end <= len(self._bytes):
            raise _damaged(f"string {index} of {len(self)} lies at {start}:{end} of {len(self._bytes)} bytes")
        return self._bytes[start:end].tobytes()

    def __iter__(self) -> Iterator[str]:
        for number, piece in enumerate(self._pieces()):
            yield _decode(piece, number)

    def _pieces(self) -> Iterator[bytes]:
        """UTF-8 of all strings, in order."""
        text = self.data.tobytes()
        ends = self.offsets.astype(np.int64)
        if ends[0] < 0 or ends[-1] > len(text) or (np.diff(ends) < 0).any():
            raise _damaged(f"offsets do not divide {len(text)} bytes into {len(self)} strings")
        for start, end in pairwise(ends.tolist()):
            yield text[start:end]

    def hashes(self) -> NDArray[np.uint32]:
        """(n,) CRC-32 of each string's bytes."""
        return np.fromiter(map(zlib.crc32, self._pieces()), np.uint32, len(self))


class StringNumbers:
    """Finds the number of a string in a `StringTable`: an open-addressing hash table that can be mapped.

    The search for a string begins at slot ``CRC-32 mod n_slots`` and goes to the next until an empty one.
    A string that the table holds twice is found at its first number.

    Attributes:
        strings: the n strings.
        slots: (n_slots,) int32, a power of two above n: numbers of strings, -1 for an empty slot.

    Raises:
        CorruptIndexError: ``slots`` cannot belong to ``strings``. What one look at its size does not show is
            noticed by `find`, or by `first_misplaced`, which reads everything; slots of any content are safe.
    """

    def __init__(self, strings: StringTable, slots: NDArray[np.int32]) -> None:
        if len(slots) & (len(slots) - 1) or len(slots) <= len(strings):
            raise _damaged(f"{len(slots)} slots, expected a power of two above {len(strings)}")
        self.strings = strings
        self.slots = slots
        self._slots = slots.data

    def __reduce__(self) -> tuple[type[StringNumbers], tuple[Any, ...]]:
        return StringNumbers, (self.strings, np.array(self.slots))

    @classmethod
    def build(cls, strings: StringTable) -> StringNumbers:
        """The table for strings that are meant to be distinct."""
        n_slots = 1 << int(len(strings) / _MOST_LOAD + 1).bit_length()
        return cls(strings, _place(strings.hashes(), n_slots))

    def __len__(self) -> int:
        return len(self.strings)

    def __contains__(self, string: object) -> bool:
        return isinstance(string, str) and self.find(string) >= 0

    def find(self, string: str) -> int:
        """Number of ``string``, -1 if it is not among the strings.

        Raises:
            CorruptIndexError: the search meets a number that no string has, or no empty slot.
        """
        wanted = _encode(string)
        slots, ends, data = self._slots, self.strings._ends, self.strings._bytes
        size, n_strings, last = len(wanted), len(ends) - 1, len(slots) - 1
        at = zlib.crc32(wanted) & last
        for _ in range(last + 1):
            number: int = slots[at]
            if number == _EMPTY:
                return -1
            if not 0 <= number < n_strings:
                raise _damaged(f"a slot names string {number} of {n_strings}")
            start: int = ends[number]
            # Slices of a memoryview end where it ends, whatever the offsets say.
            if ends[number + 1] - start == size and data[start : start + size] == wanted:
                return number
            at = (at + 1) & last
        raise _damaged(f"none of {last + 1} slots is empty")

    def first_misplaced(self) -> int | None:
        """The first string that is not found at its own number, None if there is none.

        Either an earlier one equals it, or the slots do not belong to these strings. Takes about 1 µs a
        string.
        """
        return next(
            (number for number, string in enumerate(self.strings) if self.find(string) != number), None
        )


def _place(hashes: NDArray[np.uint32], n_slots: int) -> NDArray[np.int32]:
    """Slots that hold every number at or after the slot its hash names, with none empty between.

    All strings move together: who finds an empty slot stays, the lowest number first, the others go on.
    """
    slots = np.full(n_slots, _EMPTY, np.int32)
    waiting = np.arange(len(hashes), dtype=np.int32)
    at = (hashes & np.uint32(n_slots - 1)).astype(np.int64)
    while len(waiting):
        free = slots[at] == _EMPTY
        # Of several writes to one slot the last counts.
        slots[at[free][::-1]] = waiting[free][::-1]
        moving = slots[at] != waiting
        waiting, at = waiting[moving], (at[moving] + 1) & (n_slots - 1)
    return slots


def _encode(string: str) -> bytes:
    return string.encode("utf-8", "surrogatepass")


def _decode(piece: bytes, number: int) -> str:
    try:
        return piece.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        raise _damaged(f"string {number} is not UTF-8 ({error})") from error


def _damaged(what: str) -> CorruptIndexError:
    return CorruptIndexError(
        f"a saved table of strings is damaged: {what}. Restore the index from a copy or build it again."
    )
