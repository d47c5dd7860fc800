"""The corpus-wide numbers that scores depend on, apart from the index that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.postings import Postings, read_only

_HISTOGRAM_SIZE = 256


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


def corpus_stats(postings: Postings, lengths: NDArray[np.int32]) -> CorpusStats:
    """Statistics of an index over documents of the given (n_docs,) lengths."""
    return CorpusStats(
        n_docs=len(lengths),
        total_length=int(lengths.sum(dtype=np.int64)),
        doc_freqs=read_only(postings.doc_freqs()),
        log_entropies=read_only(log_entropies(postings)),
    )


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


def log_entropy_terms(term_freqs: NDArray[np.int64]) -> NDArray[np.float64]:
    """``ln(-p ln p)`` with ``p = 1 / (1 + exp(-tf))``: one document's share of BMX eq. 5.

    Written with log1p, since ``ln p`` of a rounded sigmoid is 0 from tf = 37 on.
    """
    freqs = term_freqs.astype(np.float64)
    tail = np.exp(-freqs)
    with np.errstate(divide="ignore"):
        # For large tf, ln(log1p(x)) = ln x - x/2 + O(x²) with x = exp(-tf).
        log_minus_log_p = np.where(freqs < 30, np.log(np.log1p(tail)), -freqs - tail / 2)
    return log_minus_log_p - np.log1p(tail)


def log_entropies(postings: Postings) -> NDArray[np.float64]:
    """(n_terms,) ln of the raw entropy of each term (BMX eq. 5), summed over its documents.

    Summed by term frequency, in ascending order, from integer counts: the result does not depend on
    the order of the documents.
    """
    from prorank_plugins.lexical import kernels

    table = log_entropy_terms(np.arange(_HISTOGRAM_SIZE))
    result = np.empty(postings.n_terms, np.float64)
    kernels.log_entropies(postings.indptr, postings.term_freqs, table, result)
    if int(postings.term_freqs.max(initial=0)) >= _HISTOGRAM_SIZE:
        large = np.flatnonzero(postings.term_freqs >= _HISTOGRAM_SIZE)
        for term in np.unique(np.searchsorted(postings.indptr, large, side="right") - 1):
            freqs, counts = np.unique(postings.of(term)[1], return_counts=True)
            shares = log_entropy_terms(freqs.astype(np.int64))
            result[term] = shares[0] + np.log(sum(counts * np.exp(shares - shares[0])))
    return result
