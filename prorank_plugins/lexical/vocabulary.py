"""Terms and ids: text keys to dense integers, and packed strings that can be memory-mapped."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np
from numpy.typing import NDArray


class _Numbers(dict[str, int]):
    """Term → number; a term that is looked up for the first time gets the next one."""

    def __missing__(self, term: str) -> int:
        if not isinstance(term, str):
            raise TypeError(f"a term must be a str, found {type(term).__name__}")
        number = self[term] = len(self)
        return number


class Vocabulary:
    """Term ↔ number in order of first appearance. Only grows, so older index states stay valid.

    Args:
        terms: distinct terms; term ``i`` gets number ``i``.
    """

    def __init__(self, terms: Iterable[str] = ()) -> None:
        self._numbers = _Numbers((term, number) for number, term in enumerate(terms))
        self.growing = threading.Lock()
        """Held while terms are added: copies of an index share its vocabulary."""

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[list[str]]]:
        return Vocabulary, (list(self),)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def add(self, term: str) -> int:
        """Number of ``term``, a new one if it has none."""
        return self._numbers[term]

    def add_all(self, terms: Iterable[str], n: int) -> NDArray[np.int32]:
        """(n,) numbers of ``n`` terms.

        Raises:
            TypeError: a term that is no str.
        """
        return np.fromiter(map(self._numbers.__getitem__, terms), np.int32, n)

    def get(self, term: str) -> int:
        """Number of ``term``, -1 if it has none."""
        return self._numbers.get(term, -1)


class StringTable(Sequence[str]):
    """Strings in one byte array, decoded one at a time when asked for.

    Attributes:
        offsets: (n + 1,) int64; string ``i`` is ``data[offsets[i]:offsets[i + 1]]`` in UTF-8.
        data: (n_bytes,) uint8.
    """

    def __init__(self, offsets: NDArray[np.int64], data: NDArray[np.uint8]) -> None:
        self.offsets = offsets
        self.data = data

    @classmethod
    def pack(cls, strings: Iterable[str]) -> StringTable:
        """Pack strings. Lone surrogates, which `str` allows and UTF-8 does not, survive."""
        encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(piece) for piece in encoded], out=offsets[1:])
        return cls(offsets, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"string {index} of {len(self)}")
        index %= len(self)
        piece = self.data[self.offsets[index] : self.offsets[index + 1]]
        return piece.tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        text = self.data.tobytes()
        ends = self.offsets.tolist()
        for start, end in pairwise(ends):
            yield text[start:end].decode("utf-8", "surrogatepass")
