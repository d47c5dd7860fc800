"""One immutable state of an index: what a search reads from beginning to end."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import UnknownIdError
from prorank_plugins.lexical.postings import Postings, TermCounts, append, invert, keep_rows, read_only
from prorank_plugins.lexical.queries import UNSEEN
from prorank_plugins.lexical.statistics import CorpusStats, corpus_stats
from prorank_plugins.lexical.vocabulary import Vocabulary


@dataclass(frozen=True, eq=False)
class Segment:
    """Documents in order of insertion with their postings and statistics.

    Attributes:
        ids: (n_docs,) the callers' keys.
        lengths: (n_docs,) |D| in tokens.
        postings: over the terms that the vocabulary held at the time.
        stats: of these documents.
        vocabulary: numbers the terms; shared with later states and may have grown since.
    """

    ids: Sequence[str]
    lengths: NDArray[np.int32]
    postings: Postings
    stats: CorpusStats
    vocabulary: Vocabulary

    @classmethod
    def make(
        cls, ids: Sequence[str], lengths: NDArray[np.int32], postings: Postings, vocabulary: Vocabulary
    ) -> Segment:
        """A segment with its statistics computed."""
        return cls(ids, read_only(lengths), postings, corpus_stats(postings, lengths), vocabulary)

    @classmethod
    def from_counts(cls, ids: Sequence[str], counts: TermCounts, vocabulary: Vocabulary) -> Segment:
        """A segment of freshly analysed documents."""
        return cls.make(ids, counts.lengths, invert(counts, len(vocabulary)), vocabulary)

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Row of each id. Built on first use: a search without an id filter does not need it."""
        return {doc_id: row for row, doc_id in enumerate(self.ids)}

    def rows_of(self, ids: Iterable[str]) -> list[int]:
        """Rows of distinct ids.

        Raises:
            UnknownIdError: an id is not among the documents.
        """
        rows = []
        for key in dict.fromkeys(ids):
            row = self.row_of.get(key)
            if row is None:
                raise UnknownIdError(f"id {key!r} is not among the {len(self.ids)} documents of the index")
            rows.append(row)
        return rows

    @cached_property
    def has_unused_terms(self) -> bool:
        """Whether some term of the vocabulary is in no document any more."""
        return not self.stats.doc_freqs.all()

    def term_numbers(self, terms: Sequence[str]) -> NDArray[np.int64]:
        """(n,) numbers of the terms that some document contains, `UNSEEN` for the others."""
        numbers = np.fromiter(map(self.vocabulary.get, terms), np.int64, len(terms))
        # A term may be newer than this state, or be left from documents since deleted.
        if len(self.vocabulary) > self.postings.n_terms:
            numbers[numbers >= self.postings.n_terms] = UNSEEN
        if self.has_unused_terms:
            numbers[self.stats.doc_freqs[numbers] == 0] = UNSEEN
        return numbers

    def followed_by(self, ids: Sequence[str], counts: TermCounts) -> Segment:
        """These documents, then the given ones, which were counted with the same vocabulary."""
        added = invert(counts, len(self.vocabulary))
        lengths = np.concatenate((self.lengths, counts.lengths))
        postings = append(self.postings, added, len(self.ids))
        return Segment.make([*self.ids, *ids], lengths, postings, self.vocabulary)

    def without(self, rows: Sequence[int]) -> Segment:
        """These documents but for the given rows, renumbered in order."""
        kept = np.ones(len(self.ids), np.bool_)
        kept[list(rows)] = False
        ids = [doc_id for doc_id, stays in zip(self.ids, kept.tolist(), strict=True) if stays]
        return Segment.make(ids, self.lengths[kept], keep_rows(self.postings, kept), self.vocabulary)

    def compacted(self) -> Segment:
        """The same documents over a vocabulary without the terms that none of them contains."""
        used = np.flatnonzero(self.stats.doc_freqs)
        names = list(self.vocabulary)
        indptr = read_only(np.append(self.postings.indptr[used], self.postings.indptr[-1]))
        postings = Postings(indptr, self.postings.rows, self.postings.term_freqs)
        return Segment.make(self.ids, self.lengths, postings, Vocabulary(names[i] for i in used))
