"""The inverted index: which documents contain each term and how often."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

TermFreqs: TypeAlias = "NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.int32]"


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array, protected from writes: kernels are compiled once, for the type mapped files have."""
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Postings:
    """Which documents contain each term and how often, grouped by term.

    Term ``t`` owns positions ``indptr[t]:indptr[t + 1]``; rows ascend within a term.

    Attributes:
        indptr: (n_terms + 1,) offsets into the two arrays below.
        rows: (n_postings,) document rows in [0, n_docs).
        term_freqs: (n_postings,) occurrences, at least 1, in the narrowest type that holds them.
    """

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    term_freqs: TermFreqs

    def __setstate__(self, state: dict[str, NDArray[Any]]) -> None:
        # Arrays come back from a pickle or a deep copy writable, which would be another type to numba.
        for name, array in state.items():
            object.__setattr__(self, name, read_only(array))

    @property
    def n_terms(self) -> int:
        """Terms, those without a document included."""
        return len(self.indptr) - 1

    def doc_freqs(self) -> NDArray[np.int64]:
        """(n_terms,) documents containing each term."""
        return np.diff(self.indptr)

    def of(self, term: int) -> tuple[NDArray[np.int32], TermFreqs]:
        """Rows and term frequencies of one term."""
        span = slice(self.indptr[term], self.indptr[term + 1])
        return self.rows[span], self.term_freqs[span]


@dataclass(frozen=True, eq=False)
class TermCounts:
    """Distinct terms of consecutive documents with their frequencies, grouped by document.

    Attributes:
        terms: (n_postings,) term numbers; those of one document are distinct.
        term_freqs: (n_postings,) occurrences.
        n_distinct: (n_docs,) how many positions above each document owns.
        lengths: (n_docs,) |D|: tokens in each document, repeats included.
    """

    terms: NDArray[np.int32]
    term_freqs: NDArray[np.int32]
    n_distinct: NDArray[np.int32]
    lengths: NDArray[np.int32]

    @classmethod
    def concatenate(cls, parts: Sequence[TermCounts]) -> TermCounts:
        """The counts of several batches of documents, in order."""
        if len(parts) == 1:
            return parts[0]
        empty = np.empty(0, np.int32)
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts]) if parts else empty
                for name in ("terms", "term_freqs", "n_distinct", "lengths")
            )
        )


def narrowest(term_freqs: NDArray[np.int32]) -> TermFreqs:
    """The same numbers as uint8, uint16 or int32, whichever is the first to hold the largest."""
    largest = int(term_freqs.max(initial=0))
    for dtype in (np.uint8, np.uint16):
        if largest <= np.iinfo(dtype).max:
            return term_freqs.astype(dtype)
    return term_freqs


def make_postings(indptr: NDArray[np.int64], rows: NDArray[np.int32], term_freqs: TermFreqs) -> Postings:
    """Freeze arrays into `Postings`, with term frequencies in their narrowest type."""
    narrow = narrowest(term_freqs.astype(np.int32, copy=False))
    return Postings(read_only(indptr), read_only(rows), read_only(narrow))


def invert(counts: TermCounts, n_terms: int) -> Postings:
    """Group counts by term instead of by document."""
    from prorank_plugins.lexical import kernels

    indptr = np.zeros(n_terms + 1, np.int64)
    np.cumsum(np.bincount(counts.terms, minlength=n_terms), out=indptr[1:])
    rows = np.empty(len(counts.terms), np.int32)
    term_freqs = np.empty(len(counts.terms), np.int32)
    kernels.transpose(
        counts.terms, counts.term_freqs, counts.n_distinct, indptr[:-1].copy(), rows, term_freqs
    )
    return make_postings(indptr, rows, term_freqs)


def append(first: Postings, second: Postings, n_first: int) -> Postings:
    """Postings of the documents of ``first`` followed by those of ``second``.

    Args:
        first: postings over the first ``n_first`` documents.
        second: postings over at least as many terms; its row 0 becomes row ``n_first``.
        n_first: documents in ``first``.
    """
    grown = np.full(second.n_terms + 1, first.indptr[-1], np.int64)
    grown[: len(first.indptr)] = first.indptr
    indptr = grown + second.indptr
    rows = np.empty(indptr[-1], np.int32)
    term_freqs = np.empty(indptr[-1], np.int32)
    old_places = np.arange(len(first.rows)) + np.repeat(second.indptr[:-1], np.diff(grown))
    new_places = np.arange(len(second.rows)) + np.repeat(grown[1:], second.doc_freqs())
    rows[old_places], rows[new_places] = first.rows, second.rows + np.int32(n_first)
    term_freqs[old_places], term_freqs[new_places] = first.term_freqs, second.term_freqs
    return make_postings(indptr, rows, term_freqs)


def keep_rows(postings: Postings, kept: NDArray[np.bool_]) -> Postings:
    """Postings of the documents where ``kept`` (n_docs,) is true, renumbered in order."""
    staying = kept[postings.rows]
    before = np.zeros(len(staying) + 1, np.int64)
    np.cumsum(staying, out=before[1:])
    new_rows = (np.cumsum(kept) - 1).astype(np.int32)
    return make_postings(
        before[postings.indptr], new_rows[postings.rows[staying]], postings.term_freqs[staying]
    )
