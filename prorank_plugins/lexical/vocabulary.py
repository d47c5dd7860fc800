"""Terms to dense integers and back."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.strings import StringNumbers, StringTable

__all__ = ["StringTable", "Vocabulary"]


class _Numbers(dict[str, int]):
    """Term → number, of the terms asked for so far; a term that nobody knows gets the next one.

    Attributes:
        saved: numbers of the first terms.
        added: the terms after them.
    """

    def __init__(self, saved: StringNumbers | None) -> None:
        super().__init__()
        self.saved = saved
        self.n_saved = len(saved) if saved is not None else 0
        self.added: list[str] = []

    def find(self, term: str) -> int:
        """The number that ``term`` has among the saved terms, -1 if none; remembered if it has one."""
        if self.saved is None or not isinstance(term, str):
            return -1
        number = self.saved.find(term)
        if number >= 0:
            self[term] = number
        return number

    def __missing__(self, term: str) -> int:
        if type(term) is not str and not isinstance(term, str):
            raise TypeError(f"a term must be a str, found {type(term).__name__}")
        if self.saved is not None and (number := self.find(term)) >= 0:
            return number
        added = self.added
        number = self.n_saved + len(added)
        # In this order: whoever reads the number meanwhile finds its term.
        added.append(term)
        self[term] = number
        return number


class Vocabulary:
    """Term ↔ number in order of first appearance. Only grows, so older index states stay valid.

    Any number of threads may ask while one, which holds `growing`, adds.

    Args:
        terms: distinct terms; term ``i`` gets number ``i``, after the saved ones. Repeats are passed over.
        saved: the first terms, as they lie in a file; nothing of it is read before it is asked for.
    """

    def __init__(self, terms: Iterable[str] = (), saved: StringNumbers | None = None) -> None:
        self._numbers = _Numbers(saved)
        self.growing = threading.Lock()
        """Held while terms are added: copies of an index share its vocabulary."""
        for term in terms:
            self.add(term)

    def __reduce__(self) -> tuple[type[Vocabulary], tuple[list[str], StringNumbers | None]]:
        return Vocabulary, (list(self._numbers.added), self._numbers.saved)

    @property
    def saved(self) -> StringNumbers | None:
        """The first terms, as they lie in a file."""
        return self._numbers.saved

    def __len__(self) -> int:
        return self._numbers.n_saved + len(self._numbers.added)

    def __iter__(self) -> Iterator[str]:
        if self._numbers.saved is not None:
            yield from self._numbers.saved.strings
        yield from self._numbers.added

    def add(self, term: str) -> int:
        """Number of ``term``, a new one if it has none.

        Raises:
            TypeError: a term that is no str.
        """
        return self._numbers[term]

    def add_all(self, terms: Iterable[str], n: int) -> NDArray[np.int32]:
        """(n,) numbers of ``n`` terms.

        Raises:
            TypeError: a term that is no str.
        """
        return np.fromiter(map(self._numbers.__getitem__, terms), np.int32, n)

    def get(self, term: str) -> int:
        """Number of ``term``, -1 if it has none."""
        number = self._numbers.get(term)
        return self._numbers.find(term) if number is None else number

    def get_all(self, terms: Iterable[str]) -> NDArray[np.int32]:
        """(n,) numbers of the terms, -1 for those without."""
        names = list(terms)
        numbers: list[int | None] = list(map(self._numbers.get, names))
        if None in numbers:
            numbers = [
                self.get(name) if number is None else number
                for name, number in zip(names, numbers, strict=True)
            ]
        return np.array(numbers, np.int32)

    def term(self, number: int) -> str:
        """The term with this number.

        Raises:
            IndexError: no term has it.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"term {number} of {len(self)}")
        saved, place = self._numbers.saved, number - self._numbers.n_saved
        return saved.strings[number] if saved is not None and place < 0 else self._numbers.added[place]
