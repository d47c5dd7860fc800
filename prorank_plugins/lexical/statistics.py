"""The corpus-wide numbers that scores depend on, apart from the index that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.entropies import log_entropies_of_counts, log_entropy_terms
from prorank_plugins.lexical.histograms import EditedHistogram, Histograms

__all__ = [
    "CorpusStats",
    "TermStatistics",
    "inverse_doc_freqs",
    "log_entropy_terms",
]

MANY_PAIRS = 20_000
"""From so many (term, frequency) pairs on, a change is worked out with arrays, else term by term."""


class DocumentSums(NamedTuple):
    """Documents that come or go, for the statistics.

    Attributes:
        terms: (n,) the distinct terms of each document, in any order.
        term_freqs: (n,) how often the document contains the term, at least 1.
        n_docs: documents, those without a term included.
        total_length: the sum of their |D|.
        sign: 1 for documents that come, -1 for some that go.
    """

    terms: NDArray[np.int32]
    term_freqs: NDArray[Any]
    n_docs: int
    total_length: int
    sign: int


class Change(NamedTuple):
    """What becomes of statistics by an edit, worked out before anything changes.

    Attributes:
        terms: (n,) ascending, of all documents that come or go.
        doc_freqs: (n,) the new ones.
        log_entropies: (n,) the new ones.
        edited: new histograms of some of these terms.
        n_docs: the new number of documents.
        total_length: the new sum of |D|.
    """

    terms: NDArray[np.int64]
    doc_freqs: NDArray[np.int64]
    log_entropies: NDArray[np.float64]
    edited: dict[int, EditedHistogram]
    n_docs: int
    total_length: int


_Entries: TypeAlias = "tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]"


class Sizes(Protocol):
    """How large a corpus is."""

    @property
    def n_docs(self) -> int:
        """N."""
        ...

    @property
    def average_length(self) -> float:
        """Avgdl in tokens."""
        ...


@dataclass(frozen=True, eq=False)
class CorpusStats:
    """Sums over documents; everything a scorer may ask of a corpus.

    Attributes:
        n_docs: N, the number of documents.
        total_length: sum of |D| over all documents, in tokens.
        doc_freqs: (n_terms,) documents containing each term.
        log_entropies: (n_terms,) ln of the raw entropy (BMX eq. 5), -inf for a term without documents.
            Kept as a logarithm because raw entropies fall like exp(-tf) and would vanish in float64
            from tf = 746, leaving 0/0 where queries need the ratio of two of them.
    """

    n_docs: int
    total_length: int
    doc_freqs: NDArray[np.int64]
    log_entropies: NDArray[np.float64]

    @property
    def average_length(self) -> float:
        """Avgdl in tokens; 0.0 for an empty corpus. Documents without a token count."""
        return self.total_length / self.n_docs if self.n_docs else 0.0

    @cached_property
    def idfs(self) -> NDArray[np.float64]:
        """(n_terms,) `inverse_doc_freqs` of all terms, computed once: a query looks up a few of them."""
        return inverse_doc_freqs(self.doc_freqs, self.n_docs)


def inverse_doc_freqs(doc_freqs: NDArray[np.int64], n_docs: int) -> NDArray[np.float64]:
    """Rarity of each term in nats: ``ln(1 + (N - df + 0.5) / (df + 0.5))``.

    The Lucene variant (Kamphuis et al., ECIR 2020); positive for every df <= N.

    Args:
        doc_freqs: (n_terms,) documents containing each term.
        n_docs: N, the number of documents.

    Raises:
        ConfigError: a term occurs in more documents than there are.
    """
    if doc_freqs.max(initial=0) > n_docs:
        raise ConfigError(f"doc_freqs reaches {doc_freqs.max()}, above n_docs={n_docs}")
    return np.log1p((n_docs - doc_freqs + 0.5) / (doc_freqs + 0.5))


def _log_entropies(doc_freqs: NDArray[np.int64], entries: _Entries) -> NDArray[np.float64]:
    """(n,) from document frequencies and the histograms of the same terms.

    Raises:
        ValueError: the histograms hold more documents than contain the term.
    """
    indptr, term_freqs, counts = entries
    before = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=before[1:])
    ones = doc_freqs - np.diff(before[indptr])
    if ones.min(initial=0) < 0 or counts.min(initial=0) < 0:
        raise ValueError("more documents are taken off than there are")
    return log_entropies_of_counts(ones, indptr, term_freqs, counts)


class TermStatistics:
    """The sums of `CorpusStats` over documents that come and go.

    A change costs time for the terms of its documents, not for all terms. Everything follows from integers,
    so equal documents give equal bits, whatever came and went before. One thread at a time: an index
    holds a lock while it changes its statistics or looks them up.

    Attributes:
        n_docs: documents.
        total_length: sum of |D| over them, in tokens.
        n_terms: one more than the highest term number seen.
    """

    def __init__(self) -> None:
        self.n_docs = 0
        self.total_length = 0
        self.n_terms = 0
        # (at least n_terms,) with room for more; not to be written to while they are mapped or shared.
        self._doc_freqs = np.zeros(0, np.int32)
        self._log_entropies = np.zeros(0, np.float64)
        self._writable = False
        # Counts as of some time ago, never written to, and those of the terms whose counts changed since.
        self._histograms = Histograms.of(np.zeros(0, np.int32), np.zeros(0, np.int32))
        # Each is written once: a change has new ones, so that copies can share them.
        self._edited: dict[int, EditedHistogram] = {}

    @property
    def average_length(self) -> float:
        """Avgdl in tokens, as `CorpusStats` has it."""
        return self.total_length / self.n_docs if self.n_docs else 0.0

    @property
    def tables(self) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """(at least n_terms,) the two below with whatever comes after them, to be read only."""
        return self._doc_freqs, self._log_entropies

    @property
    def doc_freqs(self) -> NDArray[np.int32]:
        """(n_terms,) documents containing each term; changes show through."""
        return read_only(self._doc_freqs[: self.n_terms])

    @property
    def log_entropies(self) -> NDArray[np.float64]:
        """(n_terms,) as in `CorpusStats`; changes show through."""
        return read_only(self._log_entropies[: self.n_terms])

    def of(self, terms: NDArray[np.int32] | NDArray[np.int64]) -> CorpusStats:
        """The present state for (n,) term numbers: entry ``i`` of its arrays belongs to ``terms[i]``.

        Numbers outside [0, n_terms) are taken for terms without documents.
        """
        doc_freqs, log_entropies = np.zeros(len(terms), np.int64), np.full(len(terms), -np.inf)
        known = np.flatnonzero((terms >= 0) & (terms < self.n_terms))
        doc_freqs[known] = self._doc_freqs[terms[known]]
        log_entropies[known] = self._log_entropies[terms[known]]
        return CorpusStats(self.n_docs, self.total_length, doc_freqs, log_entropies)

    # Documents come and go

    def change(
        self,
        terms: NDArray[np.int32],
        term_freqs: NDArray[Any],
        n_docs: int,
        total_length: int,
        sign: int,
    ) -> None:
        """Add documents, or remove some that were added.

        Args:
            terms: (n,) the distinct terms of each document, in any order.
            term_freqs: (n,) how often the document contains the term, at least 1.
            n_docs: documents added or removed, those without a term included.
            total_length: the sum of their |D|.
            sign: 1 to add, -1 to remove.

        Raises:
            ValueError: more is removed than there is; nothing is changed then.
        """
        assert sign in (1, -1), sign
        if len(terms) < MANY_PAIRS:
            self.put(self.worked_out([DocumentSums(terms, term_freqs, n_docs, total_length, sign)]))
            return
        n_docs, total_length = self._sizes_after(sign * n_docs, sign * total_length)
        self._change_all(terms, term_freqs, sign)
        self.n_docs, self.total_length = n_docs, total_length

    def worked_out(self, changes: Sequence[DocumentSums]) -> Change:
        """What `change` for all of these would do, term by term; nothing is changed yet.

        Raises:
            ValueError: more is removed than there is.
        """
        n_docs, total_length = self._sizes_after(
            sum(change.sign * change.n_docs for change in changes),
            sum(change.sign * change.total_length for change in changes),
        )
        many = np.concatenate([change.terms for change in changes])
        signs = np.repeat([change.sign for change in changes], [len(change.terms) for change in changes])
        terms, places = np.unique(many.astype(np.int64), return_inverse=True)
        starts, ends = self._histograms.ranges(terms)
        spans = dict(zip(terms.tolist(), map(slice, starts.tolist(), ends.tolist()), strict=True))
        term_freqs = np.concatenate([change.term_freqs for change in changes])
        repeated = np.flatnonzero(term_freqs >= 2)
        edited: dict[int, EditedHistogram] = {}
        for term, freq, sign in zip(
            many[repeated].tolist(), term_freqs[repeated].tolist(), signs[repeated].tolist(), strict=True
        ):
            if term not in edited:
                edited[term] = EditedHistogram(*self._bytes_of(term, spans[term]))
            edited[term].count(freq, sign)
        occurrences = np.bincount(places, signs, len(terms)).astype(np.int64)
        doc_freqs = self.of(terms).doc_freqs + occurrences
        log_entropies = _log_entropies(doc_freqs, self._entries(spans, edited))
        return Change(terms, doc_freqs, log_entropies, edited, n_docs, total_length)

    def put(self, change: Change) -> None:
        """Make a change that was worked out for the present statistics."""
        self._edited.update(change.edited)
        self._write(change.terms, change.doc_freqs, change.log_entropies)
        self.n_docs, self.total_length = change.n_docs, change.total_length

    def _sizes_after(self, n_docs: int, total_length: int) -> tuple[int, int]:
        """Documents and tokens when so many more are there."""
        n_docs, total_length = self.n_docs + n_docs, self.total_length + total_length
        if n_docs < 0 or total_length < 0:
            raise ValueError("more documents or tokens are taken off than there are")
        return n_docs, total_length

    def add_sums(
        self,
        terms: NDArray[np.int32],
        doc_freqs: NDArray[np.int64],
        histograms: Histograms,
        n_docs: int,
        total_length: int,
    ) -> None:
        """`change` for documents that were summed up before.

        Args:
            terms: (n,) the distinct terms of all documents, ascending.
            doc_freqs: (n,) how many of the documents contain each, at least 1.
            histograms: how many contain each how often.
            n_docs: documents added, those without a term included.
            total_length: the sum of their |D|.
        """
        if len(terms):
            self._change_sums(terms.astype(np.int64), doc_freqs, histograms, 1)
        self.n_docs += n_docs
        self.total_length += total_length

    def _change_all(self, terms: NDArray[np.int32], term_freqs: NDArray[Any], sign: int) -> None:
        """`change` with arrays over all histograms."""
        occurrences = np.bincount(terms)
        distinct = np.flatnonzero(occurrences)
        self._change_sums(distinct, occurrences[distinct], Histograms.of(terms, term_freqs), sign)

    def _change_sums(
        self, terms: NDArray[np.int64], doc_freqs: NDArray[np.int64], histograms: Histograms, sign: int
    ) -> None:
        """`change` for distinct ascending terms with these sums over the documents."""
        changed = self._all_histograms().plus(histograms, sign)
        doc_freqs = self.of(terms).doc_freqs + sign * doc_freqs
        self._write(terms, doc_freqs, _log_entropies(doc_freqs, changed.take(terms)))
        self._histograms, self._edited = changed, {}

    def _bytes_of(self, term: int, span: slice) -> tuple[bytes, bytes]:
        """Frequencies and counts of a term with these entries, edited or not, as the bytes of int32."""
        edited = self._edited.get(term)
        if edited is None:
            return self._histograms.bytes_of(span)
        return edited.term_freqs.tobytes(), edited.counts.tobytes()

    def _entries(self, spans: dict[int, slice], changed: Mapping[int, EditedHistogram]) -> _Entries:
        """Offsets, frequencies and counts of terms with these entries, but for those that are changed."""
        term_freqs, counts, indptr = bytearray(), bytearray(), [0]
        for term, span in spans.items():
            edited = changed.get(term) or self._edited.get(term)
            if edited is not None:
                term_freqs += edited.term_freqs
                counts += edited.counts
            elif span.start < span.stop:
                saved = self._histograms.bytes_of(span)
                term_freqs += saved[0]
                counts += saved[1]
            indptr.append(len(counts) // 4)
        return (
            np.array(indptr, np.int64),
            np.frombuffer(term_freqs, np.int32).astype(np.int64),
            np.frombuffer(counts, np.int32).astype(np.int64),
        )

    def _write(
        self, terms: NDArray[np.int64], doc_freqs: NDArray[np.int64], log_entropies: NDArray[np.float64]
    ) -> None:
        """Put numbers of distinct ascending terms in place."""
        if not len(terms):
            return
        self._make_room(int(terms[-1]) + 1)
        self._doc_freqs[terms] = doc_freqs
        self._log_entropies[terms] = log_entropies

    def _make_room(self, n_terms: int) -> None:
        """Have arrays that may be written to and hold so many terms."""
        present, size = self.n_terms, len(self._doc_freqs)
        if n_terms > size or not self._writable:
            size = max(n_terms, 2 * size) if n_terms > size else size
            doc_freqs, log_entropies = np.zeros(size, np.int32), np.full(size, -np.inf)
            doc_freqs[:present] = self._doc_freqs[:present]
            log_entropies[:present] = self._log_entropies[:present]
            self._doc_freqs, self._log_entropies, self._writable = doc_freqs, log_entropies, True
        self.n_terms = max(n_terms, present)

    def _all_histograms(self) -> Histograms:
        """The histograms with what changed since."""
        if not self._edited:
            return self._histograms
        rest = self._histograms.without(np.fromiter(self._edited, np.int64, len(self._edited)))
        return rest.plus(Histograms.of_edited(self._edited), 1)

    # Copies

    def copy(self) -> TermStatistics:
        """Statistics of its own with the same content; arrays are shared until either changes."""
        self._writable = False
        other = TermStatistics()
        other.__dict__.update(self.__dict__, _edited=dict(self._edited))
        return other

    def renumbered(self, kept: NDArray[np.int64]) -> TermStatistics:
        """The same documents with terms ``kept`` (n,), ascending, as terms 0 to n - 1.

        Terms that some document contains must be among them.
        """
        other = self.copy()
        other.n_terms, other._edited = len(kept), {}
        other._doc_freqs, other._log_entropies = self._doc_freqs[kept], self._log_entropies[kept]
        old = self._all_histograms()
        numbers = np.searchsorted(kept, old.terms).astype(np.int32)
        other._histograms = Histograms(numbers, old.term_freqs, old.counts)
        other._writable = True
        return other

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What `from_arrays` takes, for a file; later changes do not show in it."""
        self._histograms, self._edited = self._all_histograms(), {}
        return {
            "doc_freqs": self.doc_freqs.copy(),
            "log_entropies": self.log_entropies.copy(),
            "repeat_terms": self._histograms.terms,
            "repeat_term_freqs": self._histograms.term_freqs,
            "repeat_counts": self._histograms.counts,
        }

    @classmethod
    def from_arrays(
        cls, arrays: Mapping[str, NDArray[Any]], n_docs: int, total_length: int, check: bool = True
    ) -> TermStatistics:
        """Statistics over arrays that `arrays` gave, which may be mapped and are not written to.

        Args:
            arrays: by name.
            n_docs: documents.
            total_length: the sum of their |D|.
            check: read the arrays and see whether they agree; if not now, call `check` before use.

        Raises:
            ValueError: what does not fit together, for a message about the file.
        """
        for name, dtype in ARRAYS.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != 1:
                raise ValueError(f"{name} is {arrays[name].ndim}-dimensional {arrays[name].dtype}")
        statistics = cls()
        statistics.n_docs, statistics.total_length = n_docs, total_length
        statistics.n_terms = len(arrays["doc_freqs"])
        statistics._doc_freqs, statistics._log_entropies = arrays["doc_freqs"], arrays["log_entropies"]
        statistics._histograms = Histograms(
            arrays["repeat_terms"], arrays["repeat_term_freqs"], arrays["repeat_counts"]
        )
        if check:
            statistics.check()
        return statistics

    def check(self) -> None:
        """See whether arrays that were read from a file agree.

        Raises:
            ValueError: what does not fit together.
        """
        doc_freqs, log_entropies = self._doc_freqs, self._log_entropies
        if self.n_docs < 0 or self.total_length < 0:
            raise ValueError(f"there are {self.n_docs} documents of {self.total_length} tokens")
        if len(log_entropies) != len(doc_freqs):
            raise ValueError(f"there are {len(log_entropies)} entropies of {len(doc_freqs)} terms")
        if doc_freqs.min(initial=0) < 0 or doc_freqs.max(initial=0) > self.n_docs:
            raise ValueError(f"a term is not in 0 to {self.n_docs} documents")
        # No share is above that of a term that occurs once in every document, none below -2^31.
        finite = (log_entropies > -(2.0**32)) & (log_entropies < 32)
        if (finite != (doc_freqs > 0)).any() or (log_entropies[~finite] != -np.inf).any():
            raise ValueError("entropies are not finite where a document contains the term, -inf elsewhere")
        self._histograms.check(doc_freqs)


ARRAYS = {
    "doc_freqs": np.dtype(np.int32),
    "log_entropies": np.dtype(np.float64),
    "repeat_terms": np.dtype(np.int32),
    "repeat_term_freqs": np.dtype(np.int32),
    "repeat_counts": np.dtype(np.int32),
}
"""Names and types of the arrays that hold a `TermStatistics` in a file."""
