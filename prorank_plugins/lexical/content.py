"""All that an index is made of: documents, terms and statistics, of one moment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from prorank_plugins.lexical.merging import merge_all
from prorank_plugins.lexical.repeats import histograms_of
from prorank_plugins.lexical.segment import Segment
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import MANY_PAIRS, Change, DocumentSums, TermStatistics
from prorank_plugins.lexical.vocabulary import Vocabulary


@dataclass(frozen=True)
class Edit:
    """Documents that go and documents that come, at once.

    Attributes:
        removed: rows of the state before.
        added: segments that follow it.
    """

    removed: Sequence[int]
    added: Sequence[Segment] = ()


@dataclass(frozen=True, eq=False)
class Content:
    """A state with its vocabulary and statistics.

    Attributes:
        state: immutable.
        vocabulary: numbers the terms; only grows.
        statistics: of the documents in ``state``; changed by edits, under the index's lock.
    """

    state: State
    vocabulary: Vocabulary
    statistics: TermStatistics

    @classmethod
    def empty(cls) -> Content:
        """No document, no term."""
        return cls(State(), Vocabulary(), TermStatistics())

    def with_state(self, state: State) -> Content:
        """The same with other documents; whoever calls changes the statistics."""
        return replace(self, state=state)

    def copy(self) -> Content:
        """The same content, with statistics that can be changed apart."""
        return replace(self, statistics=self.statistics.copy())

    def state_after(self, edit: Edit) -> State:
        """The documents as an edit of ``state`` leaves them."""
        state = self.state.without(edit.removed) if edit.removed else self.state
        for segment in edit.added:
            state = state.followed_by(segment)
        return state

    def edited(self, edit: Edit) -> Content:
        """A copy as an edit of ``state`` leaves it."""
        copy = self.copy()
        copy.count(edit)
        return copy.with_state(self.state_after(edit))

    def count(self, edit: Edit) -> None:
        """Change the statistics as an edit of ``state`` will have it."""
        for gone in self._leaving(edit):
            self.statistics.change(*gone)
        for segment in edit.added:
            if len(segment.docs) >= MANY_PAIRS:
                sums = segment.terms, segment.doc_freqs, histograms_of(segment)
                total_length = int(segment.lengths.sum(dtype=np.int64))
                self.statistics.add_sums(*sums, segment.n_docs, total_length)
            else:
                self.statistics.change(*_sums_of(segment))

    def small_change(self, edit: Edit) -> Change | None:
        """What `count` would do, worked out while searches go on; None for an edit of many documents."""
        n_added = sum(len(segment.docs) for segment in edit.added)
        if n_added >= MANY_PAIRS or len(edit.removed) >= MANY_PAIRS:
            return None
        changes = [*self._leaving(edit), *map(_sums_of, edit.added)]
        if sum(len(change.terms) for change in changes) >= MANY_PAIRS:
            return None
        return self.statistics.worked_out(changes) if changes else None

    def _leaving(self, edit: Edit) -> list[DocumentSums]:
        """The documents that go, by segment."""
        removed = np.sort(np.array(edit.removed, np.int64))
        found = []
        for i, segment in enumerate(self.state.segments):
            start, stop = np.searchsorted(removed, self.state.bases[i : i + 2])
            if start < stop:
                docs = removed[start:stop] - self.state.bases[i]
                total_length = int(segment.lengths[docs].sum(dtype=np.int64))
                found.append(DocumentSums(*segment.postings_of(docs.tolist()), len(docs), total_length, -1))
        return found

    def compacted(self) -> Content:
        """The same documents in full segments, over a vocabulary without the terms that none contains."""
        used = np.flatnonzero(self.statistics.doc_freqs)
        if len(used) == len(self.vocabulary):
            return self.with_state(merge_all(self.state, None))
        names = list(self.vocabulary)
        numbers = np.full(len(names), -1, np.int32)
        numbers[used] = np.arange(len(used), dtype=np.int32)
        vocabulary = Vocabulary(names[number] for number in used.tolist())
        return Content(merge_all(self.state, numbers), vocabulary, self.statistics.renumbered(used))


def _sums_of(segment: Segment) -> DocumentSums:
    """Documents that come."""
    terms = np.repeat(segment.terms, segment.doc_freqs)
    total_length = int(segment.lengths.sum(dtype=np.int64))
    return DocumentSums(terms, segment.term_freqs(), segment.n_docs, total_length, 1)
