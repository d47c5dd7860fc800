"""Terms to dense integers and back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, islice
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.strings import StringNumbers, StringTable

__all__ = ["StringTable", "Vocabulary"]


class _Numbers(dict[str, int]):
    """Term → number, of the terms asked for so far.

    Attributes:
        saved: numbers of the first terms.
        added: the terms after them; those that have a number but are not here yet are being added.
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

    def add(self, term: str) -> int:
        """The number of ``term``, the next one if it has none."""
        number = self.get(term)
        if number is not None:
            return number
        if not isinstance(term, str):
            raise _no_str(term)
        if (number := self.find(term)) < 0:
            number = self.n_saved + len(self.added)
            # In this order: whoever reads the number meanwhile finds its term.
            self.added.append(term)
            self[term] = number
        return number

    def add_all(self, terms: Iterable[str], n: int) -> NDArray[np.int32]:
        """(n,) numbers of ``n`` terms; without saved ones, every step of it is C."""
        if self.saved is not None:
            return np.fromiter(map(self.add, terms), np.int32, n)
        start, numbers = len(self.added), None
        try:
            # A term has the place where it comes first, from ``start`` on, until all are there.
            numbers = np.fromiter(map(self.setdefault, terms, count(start)), np.int32, n)
        finally:
            new = list(islice(reversed(self), len(self) - start))
            new.reverse()
            if numbers is None or len(new) < n:
                self.update(zip(new, count(start)))
            self._keep(new)
        return numbers if len(new) == n else _in_a_row(numbers, start)

    def _keep(self, new: list[str]) -> None:
        """Put the newest keys among the terms, or forget them if one is no str."""
        wrong = [term for term in new if not isinstance(term, str)] if set(map(type, new)) - {str} else []
        if wrong:
            for term in new:
                del self[term]
            raise _no_str(wrong[0])
        self.added += new


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
        return self._numbers.add(term)

    def add_all(self, terms: Iterable[str], n: int) -> NDArray[np.int32]:
        """(n,) numbers of ``n`` terms.

        Raises:
            TypeError: a term that is no str.
        """
        return self._numbers.add_all(terms, n)

    def get(self, term: str) -> int:
        """Number of ``term``, -1 if it has none."""
        number = self._numbers.get(term)
        if number is None:
            return self._numbers.find(term)
        return number if number < len(self) else -1

    @property
    def known(self) -> Callable[[Any], int | None]:
        """Number of a term that was looked up before, else None; not below ``len`` for one being added.

        For loops that a call more for each term would slow down.
        """
        return self._numbers.get

    def numbers_of(self, terms: Sequence[str]) -> list[int]:
        """Numbers of the terms; the distinct ones without get -1, -2, ... by first appearance."""
        numbers: list[int | None] = list(map(self._numbers.get, terms))
        if self.growing.locked():  # some may be of terms that are being added
            numbers = [None if number is not None and number >= len(self) else number for number in numbers]
        if None in numbers:
            unknown: dict[str, int] = {}
            for place, number in enumerate(numbers):
                if number is None:
                    term = terms[place]
                    number = unknown.get(term)
                    if number is None and (number := self._numbers.find(term)) < 0:
                        number = unknown[term] = -1 - len(unknown)
                    numbers[place] = number
        return cast("list[int]", numbers)

    def term(self, number: int) -> str:
        """The term with this number.

        Raises:
            IndexError: no term has it.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"term {number} of {len(self)}")
        saved, place = self._numbers.saved, number - self._numbers.n_saved
        return saved.strings[number] if saved is not None and place < 0 else self._numbers.added[place]


def _in_a_row(numbers: NDArray[np.int32], start: int) -> NDArray[np.int32]:
    """The numbers with those from ``start`` on, which are places in the array, counted without gaps."""
    places = numbers - np.int32(start)
    are_first = places == np.arange(len(places), dtype=np.int32)
    ranks = np.cumsum(are_first, dtype=np.int32) + np.int32(start - 1)
    return np.where(places < 0, numbers, ranks[np.maximum(places, 0)])


def _no_str(term: object) -> TypeError:
    return TypeError(f"a term must be a str, found {type(term).__name__}")
