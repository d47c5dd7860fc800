"""Runs: stretches of bytes that are analysed apart, each distinct one only once.

Texts become lists of run numbers, in which run 0 ends a document. A collection is read by a compiled
scanner, a few documents by a dict: tables and machine code would cost more than they save.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.analysis import WordTerms
from prorank_plugins.lexical.vocabulary import Vocabulary

# Stands between documents: UTF-8 never contains it, lone surrogates included.
_END = b"\xff"

_FIRST_SLOTS = 1 << 15
_MORE_SLOTS = 4
_FIRST_ROOM = 1 << 14

# Beyond these a scanner and what was learnt are thrown away; learning again costs time only. A run takes
# one or two words of the arena in most languages, up to 52 bytes in the table, and its terms.
_MOST_RUNS = 1_000_000
_MOST_ARENA_WORDS = 4_000_000
_MOST_RUN_TERMS = 8_000_000


class RunNumberer(Protocol):
    """Numbers distinct runs in order of first appearance; run 0 is the end of a document."""

    def number(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """Numbers of the runs of all texts, one after the other; valid until the next call."""
        ...

    def take_new(self) -> list[bytes]:
        """The runs that were numbered since this was last asked."""
        ...


class DictNumberer:
    """A numberer without tables, for a few documents."""

    def __init__(self, source: WordTerms) -> None:
        self._runs_of = source.runs
        self._numbers: dict[bytes, int] = {_END: 0}
        self._n_taken = 1

    def number(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """See `RunNumberer`."""
        pieces: list[bytes] = []
        for text in texts:
            pieces += self._runs_of(text)
            pieces.append(_END)
        for run in pieces:
            self._numbers.setdefault(run, len(self._numbers))
        return np.fromiter(map(self._numbers.__getitem__, pieces), np.int32, len(pieces))

    def take_new(self) -> list[bytes]:
        """See `RunNumberer`."""
        new = list(islice(self._numbers, self._n_taken, None))
        self._n_taken += len(new)
        return new


class ScanningNumberer:
    """A numberer that reads bytes in compiled code and keeps distinct runs in tables of its own."""

    def __init__(self, source: WordTerms) -> None:
        self._table = source.separators.replace(b" ", b"\0")
        self._slots = np.zeros((_FIRST_SLOTS, 2), np.uint64)
        self._arena = np.empty(_FIRST_ROOM, np.uint64)
        self._runs = np.empty(_FIRST_ROOM, np.int32)
        # Of the kernel: position, runs written, distinct runs, words of the arena.
        self._state = np.zeros(4, np.int64)
        self._scan(_END + bytes(8))
        self._n_taken_words = int(self._state[3])

    @property
    def is_full(self) -> bool:
        """Whether it holds so much that a new one should take its place."""
        return bool(self._state[2] > _MOST_RUNS or self._state[3] > _MOST_ARENA_WORDS)

    def number(self, texts: Sequence[str]) -> NDArray[np.int32]:
        """See `RunNumberer`."""
        pieces = [text.encode("utf-8", "surrogatepass") for text in texts]
        pieces.append(bytes(8))
        return self._scan((b"\0" + _END + b"\0").join(pieces).translate(self._table))

    def take_new(self) -> list[bytes]:
        """See `RunNumberer`."""
        start, self._n_taken_words = self._n_taken_words, int(self._state[3])
        return self._arena[start : self._n_taken_words].tobytes().replace(b"\0", b" ").split()

    def _scan(self, content: bytes) -> NDArray[np.int32]:
        from prorank_plugins.lexical.kernels import scanning

        buffer = np.frombuffer(content, np.uint8)
        self._state[:2] = 0
        most_runs = len(buffer) // 2
        self._arena = with_room(self._arena, int(self._state[3]), most_runs)
        self._runs = with_room(self._runs, 0, most_runs)
        scanning.number_runs(buffer, self._state, self._slots, self._arena, self._runs)
        while self._state[0] < len(buffer) - 8:
            larger = np.zeros((len(self._slots) * _MORE_SLOTS, 2), np.uint64)
            scanning.move_slots(self._slots, larger)
            self._slots = larger
            scanning.number_runs(buffer, self._state, self._slots, self._arena, self._runs)
        return self._runs[: self._state[1]]


class RunTerms:
    """Terms of numbered runs: run ``r`` stands for ``terms[indptr[r]:indptr[r + 1]]``."""

    def __init__(self, source: WordTerms, vocabulary: Vocabulary) -> None:
        self._analyse = source.run_terms_many
        self._vocabulary = vocabulary
        self._indptr = np.zeros(2, np.int64)  # run 0, the end of a document, has no terms
        self._terms = np.zeros(1, np.int32)
        self.n_runs = 1
        self._n_terms = 0

    @property
    def is_full(self) -> bool:
        """Whether it holds so much that a new one should take its place."""
        return self._n_terms > _MOST_RUN_TERMS

    def learn(self, runs: list[bytes]) -> None:
        """Analyse the runs with the next numbers, adding new terms to the vocabulary."""
        found = self._analyse(runs)
        counts = np.fromiter(map(len, found), np.int64, len(found))
        n_new = int(counts.sum())
        numbers = self._vocabulary.add_all(chain.from_iterable(found), n_new)
        self._indptr = with_room(self._indptr, self.n_runs + 1, len(runs))
        ends = self._indptr[self.n_runs + 1 : self.n_runs + 1 + len(runs)]
        np.cumsum(counts, out=ends)
        ends += self._n_terms
        # One number more than there are: the kernel reads one even for a run without terms.
        self._terms = with_room(self._terms, self._n_terms, n_new + 1)
        self._terms[self._n_terms : self._n_terms + n_new] = numbers
        self.n_runs += len(runs)
        self._n_terms += n_new

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


def with_room(array: NDArray[Any], used: int, more: int) -> NDArray[Any]:
    """The array, or a longer one with the same first ``used`` entries, with room for ``more`` after them."""
    if used + more <= len(array):
        return array
    longer = np.empty(max(used + more, 2 * len(array)), array.dtype)
    longer[:used] = array[:used]
    return longer
