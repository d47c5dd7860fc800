"""Documents that were indexed together: immutable, at most 65,535, the unit of searching and of merging."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.codes import Codebook, make_codebook
from prorank_plugins.lexical.ids import NumberedIds
from prorank_plugins.lexical.term_counts import TermCounts

MOST_DOCS = 65_535
"""Documents in a segment: their numbers take 16 bits, and a sum each fits the second-level cache."""

MOST_POSTINGS = 8_388_608
"""Postings in a segment of several documents: finding those of one document reads all of them."""

# From so many postings on, compiled code counts those of each term; for fewer it is not worth compiling.
_MANY_POSTINGS = 1 << 18

ARRAYS = {
    "lengths": (np.uint16, np.int32), "terms": np.int32, "indptr": np.uint32, "docs": np.uint16,
    "codes": np.uint8, "limits": np.float32, "code_freqs": np.int32, "large_places": np.uint32,
    "large_freqs": np.int32, "highest_codes": np.uint8, "level_codes": np.uint8,
}  # fmt: skip
"""The arrays of a segment and their types."""

LONG_LIST = 10
"""Postings of a list, at least, for which codes of its best postings are kept."""


@dataclass(frozen=True, eq=False)
class Segment:
    """Documents in order of insertion with their postings, grouped by term.

    Term ``terms[t]`` owns the places ``indptr[t]:indptr[t + 1]``; documents ascend within a term.

    Attributes:
        ids: (n_docs,) the callers' keys.
        lengths: (n_docs,) |D| in tokens; in 16 bits if none is longer.
        terms: (n_terms,) the index's numbers of the terms that occur, ascending.
        indptr: (n_terms + 1,) offsets into the two arrays below.
        docs: (n_postings,) documents, numbered within the segment.
        codes: (n_postings,) what stands for term frequency and length; see `prorank_plugins.lexical.codes`.
        limits: (4, 256) ranges behind the codes.
        code_freqs: (256,) the term frequency of a code, 0 where ``large_freqs`` tells.
        large_places, large_freqs: (n_large,) ascending places, and the frequencies there that codes do not
            tell.
        highest_codes: (n_terms,) of each term's postings.
        level_codes: (n_long, 3) the codes of the 10th, 100th and 1000th best posting, 0 where there are
            fewer, of each list of at least `LONG_LIST`.
        documents: (n_docs,) what a retriever returns; None for an index that keeps no documents.
    """

    ids: Sequence[str]
    lengths: NDArray[np.uint16] | NDArray[np.int32]
    terms: NDArray[np.int32]
    indptr: NDArray[np.uint32]
    docs: NDArray[np.uint16]
    codes: NDArray[np.uint8]
    limits: NDArray[np.float32]
    code_freqs: NDArray[np.int32]
    large_places: NDArray[np.uint32]
    large_freqs: NDArray[np.int32]
    highest_codes: NDArray[np.uint8]
    level_codes: NDArray[np.uint8]
    documents: Sequence[Document] | None = None

    @classmethod
    def build(
        cls, ids: Sequence[str], counts: TermCounts, documents: Sequence[Document] | None = None
    ) -> Segment:
        """A segment of counted documents, at most `MOST_DOCS`.

        Args:
            ids: (n_docs,) their keys.
            counts: with the index's term numbers.
            documents: (n_docs,) kept for the retriever.
        """
        from prorank_plugins.lexical.kernels import building

        found = _distinct(counts.terms)
        lists = _Lists(found.doc_freqs, counts.lengths, counts.term_freqs, found.names)
        given = read_only(found.entries), read_only(counts.term_freqs), read_only(counts.n_distinct)
        lists.n_large = building.transpose(*given, *lists.arguments())
        return lists.segment(ids, found.terms, documents)

    @property
    def n_docs(self) -> int:
        """Documents, deleted ones included."""
        return len(self.lengths)

    def term_freqs(self) -> NDArray[np.int32]:
        """(n_postings,) occurrences, at least 1."""
        freqs = self.code_freqs[self.codes]
        freqs[self.large_places] = self.large_freqs
        return freqs

    @cached_property
    def metadata(self) -> Sequence[Mapping[str, Any]]:
        """(n_docs,) of the documents; read once, since filters ask for all of it."""
        return [document.metadata for document in self.documents or ()]

    def span(self, term: int) -> slice:
        """Places of a term's postings."""
        at = int(np.searchsorted(self.terms, term))
        if at == len(self.terms) or self.terms[at] != term:
            return slice(0, 0)
        return slice(int(self.indptr[at]), int(self.indptr[at + 1]))

    def freqs_at(self, places: NDArray[np.int64]) -> NDArray[np.int32]:
        """(n,) occurrences behind the given ascending places."""
        freqs = self.code_freqs[self.codes[places]]
        if len(self.large_places):
            at = np.searchsorted(self.large_places, places)
            at[at == len(self.large_places)] = 0
            told = self.large_places[at] == places
            freqs[told] = self.large_freqs[at[told]]
        return freqs

    @property
    def doc_freqs(self) -> NDArray[np.int64]:
        """(n_terms,) documents that contain each term, deleted ones included."""
        return np.diff(self.indptr).astype(np.int64)

    def of(self, term: int) -> tuple[NDArray[np.uint16], NDArray[np.int32]]:
        """Documents and term frequencies of one term."""
        span = self.span(term)
        return self.docs[span], self.freqs_at(np.arange(span.start, span.stop))

    def postings_of(self, chosen: Sequence[int]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Terms and term frequencies of some documents, one entry a posting."""
        if len(chosen) == 1:
            places = np.flatnonzero(self.docs == chosen[0])
        else:
            mask = np.zeros(self.n_docs, np.bool_)
            mask[list(chosen)] = True
            places = np.flatnonzero(mask[self.docs])
        terms = self.terms[np.searchsorted(self.indptr, places, side="right") - 1]
        return terms, self.freqs_at(places)

    @cached_property
    def _row_of(self) -> dict[str, int]:
        return {doc_id: doc for doc, doc_id in enumerate(self.ids)}

    def find(self, id: Any) -> int:
        """Number of the document with this id, -1 if there is none."""
        if not isinstance(id, str):
            return -1
        find = getattr(self.ids, "find", None)
        return self._row_of.get(id, -1) if find is None else int(find(id))

    @cached_property
    def best_codes(self) -> NDArray[np.uint8]:
        """(n_terms, 4) a term's highest code, and those of its 10th, 100th, 1000th best posting, or 0.

        Most lists are short: with a row for each, a file would be 3 % larger.
        """
        best = np.zeros((len(self.terms), 4), np.uint8)
        best[:, 0] = self.highest_codes
        best[self.doc_freqs >= LONG_LIST, 1:] = self.level_codes
        return best

    @cached_property
    def record(self) -> NDArray[np.int64]:
        """(17,) the segment as kernels see it: sizes, addresses of arrays, three places for `State`."""
        addresses = [
            getattr(self, name).ctypes.data
            for name in ("terms", "indptr", "docs", "codes", "lengths", "limits", "code_freqs")
        ]
        large = [len(self.large_places), self.large_places.ctypes.data, self.large_freqs.ctypes.data]
        sizes = [self.n_docs, len(self.terms)]
        best = [self.best_codes.ctypes.data, self.lengths.itemsize]
        return np.array([*sizes, *addresses, *large, *best, 0, 0, 0], np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("ids", "documents", *ARRAYS)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Arrays come back from a pickle or a deep copy writable, which would be another type to numba.
        for name, value in state.items():
            object.__setattr__(self, name, read_only(value) if name in ARRAYS else value)


class _Lists:
    """Lists of postings while they are filled.

    Args:
        doc_freqs: (n_terms,) their lengths.
        lengths: (n_docs,) of the documents.
        term_freqs: (n_postings,) in any order.
        names: (n_terms,) ascending numbers by which the kernels know the lists; None for 0, 1, ...
    """

    def __init__(
        self,
        doc_freqs: NDArray[np.int64],
        lengths: NDArray[np.int32],
        term_freqs: NDArray[np.int32],
        names: NDArray[np.int32] | None = None,
    ) -> None:
        self._lengths = lengths
        self._book: Codebook = make_codebook(lengths, int(term_freqs.max(initial=0)))
        self._indptr = np.zeros(len(doc_freqs) + 1, np.uint32)
        np.cumsum(doc_freqs, out=self._indptr[1:])
        self._docs = np.empty(len(term_freqs), np.uint16)
        self._codes = np.empty(len(term_freqs), np.uint8)
        n_large = int(np.count_nonzero(term_freqs >= len(self._book.code_of)))
        self._large = (np.empty(n_large, np.uint32), np.empty(n_large, np.int32))
        self._next = self._indptr[:-1].copy()
        if names is not None and len(names):
            self._next = np.zeros(int(names[-1]) + 1, np.uint32)
            self._next[names] = self._indptr[:-1]
        self.n_large = 0

    def arguments(self) -> tuple[NDArray[Any], ...]:
        """What the kernels of `building` need of the lists."""
        book = self._book
        lists = (self._next, self._docs, self._codes, *self._large)
        return (read_only(book.code_of), read_only(book.buckets), *lists)

    def segment(
        self, ids: Sequence[str], terms: NDArray[np.int32], documents: Sequence[Document] | None
    ) -> Segment:
        """The segment, when all lists are full."""
        from prorank_plugins.lexical.kernels import building

        places, freqs = self._large
        order = np.argsort(places)
        n_long = int(np.count_nonzero(np.diff(self._indptr) >= LONG_LIST))
        highest, levels = np.empty(len(terms), np.uint8), np.empty((n_long, 3), np.uint8)
        building.best_codes(read_only(self._indptr), read_only(self._codes), highest, levels)
        return Segment(
            ids=ids,
            lengths=read_only(_narrowed(self._lengths)),
            terms=read_only(terms),
            indptr=read_only(self._indptr),
            docs=read_only(self._docs),
            codes=read_only(self._codes),
            limits=read_only(self._book.limits),
            code_freqs=read_only(self._book.freqs),
            large_places=read_only(places[order]),
            large_freqs=read_only(freqs[order]),
            highest_codes=read_only(highest),
            level_codes=read_only(levels),
            documents=documents,
        )


def _narrowed(lengths: NDArray[np.int32]) -> NDArray[np.uint16] | NDArray[np.int32]:
    """Lengths in 16 bits, if they fit."""
    return lengths if lengths.max(initial=0) > np.iinfo(np.uint16).max else lengths.astype(np.uint16)


class _Distinct(NamedTuple):
    """The distinct terms among many.

    Attributes:
        terms: (n_terms,) ascending.
        doc_freqs: (n_terms,) how often each occurs.
        names: (n_terms,) ascending numbers that stand for them; None for 0, 1, ...
        entries: the many, by these numbers.
    """

    terms: NDArray[np.int32]
    doc_freqs: NDArray[np.int64]
    names: NDArray[np.int32] | None
    entries: NDArray[np.int32]


def _distinct(terms: NDArray[np.int32]) -> _Distinct:
    n_numbers = int(terms.max(initial=-1)) + 1
    if len(terms) * 16 < n_numbers:  # a table of all terms costs more
        distinct, entries, counts = np.unique(terms, return_inverse=True, return_counts=True)
        return _Distinct(distinct, counts, None, entries.astype(np.int32))
    counts = _occurrences(terms, n_numbers)
    distinct = np.flatnonzero(counts).astype(np.int32)
    return _Distinct(distinct, counts[distinct], distinct, terms)


def _occurrences(terms: NDArray[np.int32], n_numbers: int) -> NDArray[np.int64]:
    """(n_numbers,) how often each number occurs."""
    if len(terms) < _MANY_POSTINGS:
        return np.bincount(terms, minlength=n_numbers)
    from prorank_plugins.lexical.kernels import building

    counts = np.zeros(n_numbers, np.int64)
    building.count(read_only(terms), counts)
    return counts


def named(
    segments: Sequence[Segment], ids: Sequence[str], documents: Sequence[Document] | None
) -> list[Segment]:
    """The segments with the keys and the documents of theirs, which are given in one sequence for all."""
    ends = np.cumsum([0, *(segment.n_docs for segment in segments)]).tolist()
    return [
        replace(
            segment,
            ids=_part(ids, start, stop),
            documents=None if documents is None else documents[start:stop],
        )
        for segment, start, stop in zip(segments, ends, ends[1:], strict=False)
    ]


def _part(ids: Sequence[str], start: int, stop: int) -> Sequence[str]:
    if isinstance(ids, NumberedIds):
        return NumberedIds(ids.start + start, stop - start)
    return ids[start:stop]


def merge(
    segments: Sequence[Segment],
    deleted: Sequence[NDArray[np.bool_] | None],
    ids: Sequence[str],
    documents: Sequence[Document] | None,
) -> Segment:
    """One segment of the documents of several that are not deleted, in order.

    Args:
        segments: neighbours; at most `MOST_DOCS` documents stay.
        deleted: (n_docs,) of each, None for no deletions.
        ids: of the documents that stay.
        documents: likewise; None for an index that keeps none.
    """
    from prorank_plugins.lexical.kernels import building

    union, places = _union([segment.terms for segment in segments])
    doc_freqs = np.zeros(len(union), np.int64)
    kept, new_docs, n_docs = [], [], 0
    for segment, gone, at in zip(segments, deleted, places, strict=True):
        stays = np.ones(segment.n_docs, np.bool_) if gone is None else ~gone
        staying = stays[segment.docs]
        before = np.zeros(len(staying) + 1, np.int64)
        np.cumsum(staying, out=before[1:])
        doc_freqs[at] += np.diff(before[segment.indptr])
        kept.append((stays, segment.term_freqs()[staying]))
        numbers = np.where(stays, np.cumsum(stays) - 1 + n_docs, -1).astype(np.int32)
        new_docs.append(read_only(numbers))
        n_docs += int(stays.sum())
    left = doc_freqs > 0
    number_of = np.where(left, np.cumsum(left) - 1, -1).astype(np.int32)
    lengths = [segment.lengths[stays] for segment, (stays, _) in zip(segments, kept, strict=True)]
    freqs = np.concatenate([freqs for _, freqs in kept])
    lists = _Lists(doc_freqs[left], np.concatenate(lengths, dtype=np.int32), freqs)
    for segment, numbers, at in zip(segments, new_docs, places, strict=True):
        new_terms, freqs = read_only(number_of[at]), read_only(segment.term_freqs())
        lists.n_large = building.append_lists(
            new_terms, segment.indptr, segment.docs, freqs, numbers, *lists.arguments(), lists.n_large
        )
    return lists.segment(ids, union[left], documents)


def _union(parts: Sequence[NDArray[np.int32]]) -> tuple[NDArray[np.int32], list[NDArray[Any]]]:
    """All numbers of ascending arrays, each once and ascending, and where those of each array stand."""
    n_numbers = max((int(part[-1]) + 1 for part in parts if len(part)), default=0)
    if sum(map(len, parts)) * 16 < n_numbers:
        distinct = np.unique(np.concatenate(parts))
        return distinct, [np.searchsorted(distinct, part) for part in parts]
    seen = np.zeros(n_numbers, np.bool_)
    for part in parts:
        seen[part] = True
    place_of = np.cumsum(seen) - 1
    return np.flatnonzero(seen).astype(np.int32), [place_of[part] for part in parts]
