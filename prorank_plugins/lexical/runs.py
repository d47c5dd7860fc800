"""Runs: stretches of bytes that are analysed apart, each distinct one only once.

Documents become lists of run numbers, in which run 0 ends a document. A collection is read by a compiled
scanner, a few documents by a dict: tables and machine code would cost more than they save.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.packed_runs import pack
from prorank_plugins.lexical.separators import Separators
from prorank_plugins.lexical.vocabulary import Vocabulary

Analyse: TypeAlias = Callable[[bytes], "tuple[list[str], NDArray[np.int64]]"]
"""Distinct runs, packed, to their terms, one run after the other, and how many each has."""

# Ends a document: UTF-8 never contains it, lone surrogates included.
_END = b"\xff"
# The scanner leaves up to seven bytes out, and reads up to sixteen from where a run begins.
_MARGIN = bytes(24)

_FIRST_SLOTS = 1 << 16
_FIRST_ROOM = 1 << 14

# What is shorter is not worth a scanner's tables.
_FEW_BYTES = 1 << 16

# Beyond these, runs and their terms are forgotten; learning them again costs time only. A run takes up to
# 43 bytes in the scanner's table and its length plus eight in the arena.
_MOST_RUNS = 1_000_000
_MOST_TERMS = 8_000_000
_MOST_BYTES = 1 << 25


Content: TypeAlias = "str | bytes"
"""A document, or its UTF-8."""


def encoded(content: Content) -> bytes:
    """UTF-8, lone surrogates included."""
    return content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")


def join(documents: Iterable[Content]) -> bytes:
    """UTF-8 of documents, with run 0 after each."""
    return (b"\0" + _END + b"\0").join([*map(encoded, documents), _MARGIN])


class RunNumberer(Protocol):
    """Numbers distinct runs in order of first appearance; run 0 is the end of a document."""

    def number(self, documents: Sequence[Content]) -> NDArray[np.int32]:
        """Numbers of the runs of documents, run 0 after each; valid until the next call."""
        ...

    def take_new(self) -> bytes:
        """The runs that were numbered since this was last asked, packed."""
        ...


class DictNumberer:
    """A numberer without tables, for a few documents.

    Args:
        separators: what separates.
        silent: the first runs after run 0.
    """

    def __init__(self, separators: Separators, silent: Iterable[bytes]) -> None:
        self._separators = separators
        self._numbers = {run: number for number, run in enumerate((_END, *silent))}
        self._n_taken = len(self._numbers)

    def number(self, documents: Sequence[Content]) -> NDArray[np.int32]:
        """See `RunNumberer`."""
        runs = self._separators.split(join(documents))
        for run in runs:
            self._numbers.setdefault(run, len(self._numbers))
        return np.fromiter(map(self._numbers.__getitem__, runs), np.int32, len(runs))

    def take_new(self) -> bytes:
        """See `RunNumberer`."""
        new = list(islice(self._numbers, self._n_taken, None))
        self._n_taken += len(new)
        return pack(new)


class ScanningNumberer:
    """A numberer that reads bytes in compiled code and keeps distinct runs in tables of its own.

    Args:
        separators: what separates; None: zeros do.
        silent: the first runs after run 0.
    """

    def __init__(self, separators: Separators | None, silent: Iterable[bytes]) -> None:
        self._separators = separators
        self._slots = np.zeros(4 * _FIRST_SLOTS, np.uint64)
        self._arena = np.empty(_FIRST_ROOM, np.uint64)
        self._runs = np.empty(_FIRST_ROOM, np.int32)
        self._words = np.empty(0, np.uint64)
        self._solid = np.empty(0, np.uint8)
        # Of the kernel: position, runs written, distinct runs, words of the arena.
        self._state = np.zeros(4, np.int64)
        self.number([b"", pack(silent)])
        self._n_taken_words = int(self._state[3])

    def number(self, documents: Sequence[Content]) -> NDArray[np.int32]:
        """See `RunNumberer`."""
        words = (
            self._mark(documents) if self._separators is None else self._separate(documents, self._separators)
        )
        n_blocks = -(-len(words) // 8)
        self._solid[len(words) : 8 * n_blocks] = 0
        return self._scan(read_only(words).view(np.uint8), self._solid[: 8 * n_blocks].view(np.uint64))

    def _mark(self, documents: Sequence[Content]) -> NDArray[np.uint64]:
        """The documents one after the other, with marks for what is no separator."""
        from prorank_plugins.lexical.kernels import separating

        content = join(documents)
        words = np.frombuffer(content, np.uint64, len(content) // 8)
        self._solid = with_room(self._solid, 0, len(words) + 8)
        separating.mark(words, self._solid)
        return words

    def _separate(self, documents: Sequence[Content], separators: Separators) -> NDArray[np.uint64]:
        """`_mark` without the separators."""
        from prorank_plugins.lexical.kernels import separating

        pieces = [each if each.isascii() else encoded(each) for each in documents]
        are_str = np.array([type(piece) is str for piece in pieces], np.bool_)
        room = sum(map(len, pieces)) // 8 + 2 * len(pieces) + 16
        self._words, self._solid = with_room(self._words, 0, room), with_room(self._solid, 0, room)
        given = id(pieces), are_str, *separators.for_kernel
        n_words = separating.separate(*given, self._words, self._solid)
        if n_words < 0:
            raise MemoryError("a document could not be read")
        n_margin = len(_MARGIN) // 8
        self._words[n_words : n_words + n_margin] = 0
        self._solid[n_words : n_words + n_margin] = 0
        return self._words[: n_words + n_margin]

    def take_new(self) -> bytes:
        """See `RunNumberer`."""
        start, self._n_taken_words = self._n_taken_words, int(self._state[3])
        return self._arena[start : self._n_taken_words].tobytes()

    def _scan(self, buffer: NDArray[np.uint8], solid: NDArray[np.uint64]) -> NDArray[np.int32]:
        from prorank_plugins.lexical.kernels import scanning

        self._state[:2] = 0
        most_runs = len(buffer) // 2
        self._arena = with_room(self._arena, int(self._state[3]), most_runs)
        self._runs = with_room(self._runs, 0, most_runs)
        scanning.number_runs(buffer, solid, self._state, self._slots, self._arena, self._runs)
        while self._state[0] < 64 * len(solid):
            larger = np.zeros(2 * len(self._slots), np.uint64)
            scanning.move_runs(self._slots, larger)
            self._slots = larger
            scanning.number_runs(buffer, solid, self._state, self._slots, self._arena, self._runs)
        return self._runs[: self._state[1]]


class RunTerms:
    """Terms of numbered runs: run ``r`` stands for ``terms[indptr[r]:indptr[r + 1]]``.

    Args:
        analyse: terms of distinct runs.
        vocabulary: numbers for terms; grows.
        n_silent: how many runs from run 1 on have no terms.
    """

    def __init__(self, analyse: Analyse, vocabulary: Vocabulary, n_silent: int) -> None:
        self._analyse = analyse
        self._vocabulary = vocabulary
        self._indptr = np.zeros(n_silent + 2, np.int64)  # run 0, the end of a document, has no terms
        self._terms = np.zeros(1, np.int32)
        self._n_runs = n_silent + 1
        self._n_terms = 0
        self._n_bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether it has learnt so much that it should be forgotten."""
        return self._n_runs > _MOST_RUNS or self._n_terms > _MOST_TERMS or self._n_bytes > _MOST_BYTES

    def learn(self, packed: bytes) -> None:
        """Analyse the runs with the next numbers, adding new terms to the vocabulary."""
        terms, counts = self._analyse(packed)
        numbers = self._vocabulary.add_all(terms, len(terms))
        n_runs, n_terms = self._n_runs + len(counts), self._n_terms + len(terms)
        self._indptr = with_room(self._indptr, self._n_runs + 1, len(counts))
        self._indptr[self._n_runs + 1 : n_runs + 1] = self._n_terms + np.cumsum(counts)
        # One more than there are: the kernel reads a number even for a run without terms.
        self._terms = with_room(self._terms, self._n_terms, len(terms) + 1)
        self._terms[self._n_terms : n_terms] = numbers
        self._n_runs, self._n_terms = n_runs, n_terms
        self._n_bytes += len(packed)

    def spell_out(self, runs: NDArray[np.int32], n_docs: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Term numbers of all documents, one after the other, and (n_docs,) how many each has."""
        from prorank_plugins.lexical.kernels import scanning

        lengths = np.empty(n_docs, np.int32)
        terms = np.empty(len(runs), np.int32)
        n_terms = scanning.spell_out(runs, self._indptr, self._terms, terms, lengths)
        if n_terms >= len(terms):
            terms = np.empty(n_terms + 1, np.int32)
            scanning.spell_out(runs, self._indptr, self._terms, terms, lengths)
        return terms[:n_terms], lengths


class RunReader:
    """Documents to term numbers by way of their runs.

    Args:
        separators: what separates; None: zeros do.
        analyse: terms of distinct runs.
        vocabulary: numbers for terms; grows.
        silent: distinct runs without terms, which ``analyse`` is not asked for.
    """

    def __init__(
        self,
        separators: Separators | None,
        analyse: Analyse,
        vocabulary: Vocabulary,
        silent: Sequence[bytes] = (),
    ) -> None:
        self._separators = separators
        self._silent = silent
        self._analyse = analyse
        self._vocabulary = vocabulary
        self.forget()

    def forget(self) -> None:
        """Start anew, keeping the vocabulary."""
        self._numberer: RunNumberer | None = None
        self._learnt = RunTerms(self._analyse, self._vocabulary, len(self._silent))

    def number(self, documents: Sequence[Content]) -> NDArray[np.int32]:
        """Numbers of the runs of documents, to be handed to `terms_of` or forgotten."""
        size = sum(map(len, documents))
        outgrown = isinstance(self._numberer, DictNumberer) and size >= _FEW_BYTES
        if outgrown or self._learnt.is_full:
            self.forget()
        if self._numberer is None:
            self._numberer = self._numberer_for(size)
        return self._numberer.number(documents)

    def _numberer_for(self, size: int) -> RunNumberer:
        if self._separators is not None and size < _FEW_BYTES:
            return DictNumberer(self._separators, self._silent)
        return ScanningNumberer(self._separators, self._silent)

    def terms_of(self, runs: NDArray[np.int32], n_docs: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Term numbers of the documents, one after the other, and (n_docs,) how many each has."""
        assert self._numberer is not None
        self._learnt.learn(self._numberer.take_new())
        return self._learnt.spell_out(runs, n_docs)


def with_room(array: NDArray[Any], used: int, more: int) -> NDArray[Any]:
    """The array, or a longer one with the same first ``used`` entries, with room for ``more`` after them."""
    if used + more <= len(array):
        return array
    longer = np.empty(max(used + more, 2 * len(array)), array.dtype)
    longer[:used] = array[:used]
    return longer
