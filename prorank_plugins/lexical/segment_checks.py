"""Whether the kernels can trust the arrays of a segment that was read from a file."""

from __future__ import annotations

import numpy as np

from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.segment import LONG_LIST, MOST_DOCS, Segment


def check_segment(segment: Segment, n_terms: int) -> None:
    """Everything the kernels take for granted: numbers in range and in order, bounds that bound.

    Args:
        segment: with arrays of the right types and lengths.
        n_terms: terms of the index.

    Raises:
        ValueError: what is wrong.
    """
    from prorank_plugins.lexical.kernels import building

    if segment.n_docs > MOST_DOCS:
        raise ValueError(f"there are {segment.n_docs} documents, expected at most {MOST_DOCS}")
    terms, indptr, n_postings = segment.terms, segment.indptr, len(segment.docs)
    if indptr[0] != 0 or indptr[-1] != n_postings or (indptr[1:] < indptr[:-1]).any():
        raise ValueError("indptr does not divide the postings into terms")
    if len(terms) and (terms[0] < 0 or terms[-1] >= n_terms or (terms[1:] <= terms[:-1]).any()):
        raise ValueError(f"terms do not ascend within the {n_terms} of the index")
    if segment.lengths.min(initial=0) < 0:
        raise ValueError("lengths holds a negative length")
    places, freqs = segment.large_places, segment.large_freqs
    if len(places) and (places[-1] >= n_postings or (places[1:] <= places[:-1]).any()):
        raise ValueError("large_places do not ascend within the postings")
    if segment.code_freqs.min(initial=0) < 0 or freqs.min(initial=1) < 1:
        raise ValueError("a term frequency is below 1")
    n_long = int(np.count_nonzero(segment.doc_freqs >= LONG_LIST))
    highest, levels = np.empty(len(terms), np.uint8), np.empty((n_long, 3), np.uint8)
    building.best_codes(indptr, segment.codes, highest, levels)
    if not np.array_equal(highest, segment.highest_codes):
        raise ValueError("highest_codes are not those of the lists")
    if not np.array_equal(levels, segment.level_codes):
        raise ValueError("level_codes are not those of the lists")
    lengths = read_only(segment.lengths.astype(np.int32))
    fault = building.first_fault(
        indptr, segment.docs, segment.codes, segment.term_freqs(), lengths, segment.limits
    )
    if fault >= 0:
        raise ValueError(f"the list of term {terms[fault]} has documents or codes out of order or range")
