"""How many documents contain each term how often."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Histograms:
    """For each term, how many documents contain it twice, three times, and so on.

    Those that contain it once are left out, being most: they are what is missing to the document frequency.

    Attributes:
        terms: (n_entries,) int32 term numbers, ascending.
        term_freqs: (n_entries,) int32, at least 2, ascending within a term.
        counts: (n_entries,) int32 documents, at least 1.
    """

    terms: NDArray[np.int32]
    term_freqs: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, terms: NDArray[np.int32], term_freqs: NDArray[np.int32]) -> Histograms:
        """Counts of (n,) pairs of a term and its frequency in a document, in any order."""
        repeated = np.flatnonzero(term_freqs >= 2)
        keys, counts = np.unique(_keys(terms[repeated], term_freqs[repeated]), return_counts=True)
        return cls._from_keys(keys, counts)

    @classmethod
    def of_edited(cls, edited: Mapping[int, EditedHistogram]) -> Histograms:
        """The counts of these terms."""
        order = sorted(edited)
        terms = np.repeat(np.array(order, np.int32), [len(edited[term].counts) for term in order])
        freqs = b"".join(edited[term].term_freqs for term in order)
        counts = b"".join(edited[term].counts for term in order)
        return cls(terms, np.frombuffer(freqs, np.int32), np.frombuffer(counts, np.int32))

    @classmethod
    def _from_keys(cls, keys: NDArray[np.int64], counts: NDArray[np.int64]) -> Histograms:
        terms, freqs = keys >> 32, keys & 0xFFFFFFFF
        return cls(terms.astype(np.int32), freqs.astype(np.int32), counts.astype(np.int32))

    def plus(self, other: Histograms, sign: int) -> Histograms:
        """The counts of both, or those of ``other`` taken off for a ``sign`` of -1.

        Raises:
            ValueError: more is taken off than there is.
        """
        if sign > 0 and not (len(self.terms) and len(other.terms)):
            return self if len(self.terms) else other
        keys = np.concatenate((_keys(self.terms, self.term_freqs), _keys(other.terms, other.term_freqs)))
        counts = np.concatenate((self.counts.astype(np.int64), sign * other.counts.astype(np.int64)))
        order = np.argsort(keys, kind="stable")  # takes two sorted runs for what they are
        keys, counts = keys[order], counts[order]
        firsts = np.flatnonzero(np.diff(keys, prepend=-1))
        if len(firsts):
            keys, counts = keys[firsts], np.add.reduceat(counts, firsts)
        if counts.min(initial=0) < 0:
            term, freq = divmod(int(keys[counts.argmin()]), 1 << 32)
            raise ValueError(f"more documents with term {term} {freq} times are taken off than there are")
        left = counts > 0
        return Histograms._from_keys(keys[left], counts[left])

    def without(self, terms: NDArray[np.int64]) -> Histograms:
        """The counts of all but some terms."""
        kept = ~np.isin(self.terms, terms)
        return Histograms(self.terms[kept], self.term_freqs[kept], self.counts[kept])

    def ranges(self, terms: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(n,) first entry of each of n terms, and the one after its last."""
        needles = terms.astype(self.terms.dtype)  # of another type, all of a mapped array would be copied
        return np.searchsorted(self.terms, needles, "left"), np.searchsorted(self.terms, needles, "right")

    def take(
        self, terms: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Entries of n terms in the order given: (n + 1,) offsets, frequencies and counts."""
        if len(terms) * 8 < len(self.terms):
            starts, ends = self.ranges(terms)
        else:
            ends = np.cumsum(np.bincount(self.terms, minlength=int(terms.max(initial=-1)) + 1))
            ends, starts = ends[terms], np.append(0, ends)[terms]
        indptr = np.zeros(len(terms) + 1, np.int64)
        np.cumsum(ends - starts, out=indptr[1:])
        entries = np.arange(indptr[-1]) + np.repeat(starts - indptr[:-1], ends - starts)
        return indptr, self.term_freqs[entries].astype(np.int64), self.counts[entries].astype(np.int64)

    def bytes_of(self, entries: slice) -> tuple[bytes, bytes]:
        """Frequencies and counts of some entries as the bytes of int32."""
        return self.term_freqs[entries].tobytes(), self.counts[entries].tobytes()

    def check(self, doc_freqs: NDArray[np.int32]) -> None:
        """Compare with the (n_terms,) document frequencies of the same documents.

        Raises:
            ValueError: what is wrong.
        """
        if not len(self.terms) == len(self.term_freqs) == len(self.counts):
            raise ValueError("the histograms' arrays differ in length")
        if not len(self.terms):
            return
        if self.terms.min() < 0 or self.terms.max() >= len(doc_freqs):
            raise ValueError(f"the histograms hold terms outside the {len(doc_freqs)} there are")
        if self.term_freqs.min() < 2 or self.counts.min() < 1:
            raise ValueError("the histograms hold a frequency below 2 or a count below 1")
        if (np.diff(_keys(self.terms, self.term_freqs)) <= 0).any():
            raise ValueError("the histograms do not ascend")
        firsts = np.flatnonzero(np.diff(self.terms, prepend=-1))
        sums = np.add.reduceat(self.counts, firsts, dtype=np.int64)
        if (sums > doc_freqs[self.terms[firsts]]).any():
            raise ValueError("the histograms hold more documents of a term than contain it")


class EditedHistogram:
    """The histogram of one term as it changes document by document.

    Attributes:
        term_freqs: int32 frequencies, at least 2, ascending.
        counts: int32 documents that contain the term so often, never 0.
    """

    __slots__ = ("counts", "term_freqs")

    def __init__(self, term_freqs: bytes, counts: bytes) -> None:
        self.term_freqs = array("i", term_freqs)
        self.counts = array("i", counts)

    def count(self, term_freq: int, sign: int) -> None:
        """Count one document more, or one less for a ``sign`` of -1, be there one or not."""
        at = bisect_left(self.term_freqs, term_freq)
        if at == len(self.counts) or self.term_freqs[at] != term_freq:
            self.term_freqs.insert(at, term_freq)
            self.counts.insert(at, sign)
        elif self.counts[at] + sign:
            self.counts[at] += sign
        else:
            del self.term_freqs[at], self.counts[at]


def _keys(terms: NDArray[Any], term_freqs: NDArray[Any]) -> NDArray[np.int64]:
    """One number a pair, in the order of (term, frequency)."""
    return (terms.astype(np.int64) << 32) | term_freqs.astype(np.int64)
