"""Compiled loops against plain Python."""

import subprocess
import sys
from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.lexical import kernels
from prorank_plugins.lexical.postings import TermCounts, append, invert, keep_rows
from prorank_plugins.lexical.statistics import log_entropies, log_entropy_terms

N_TERMS = 5
DOCUMENTS = st.lists(st.lists(st.integers(0, N_TERMS - 1), max_size=12), max_size=8)
LONG_RUNS = st.lists(
    st.tuples(st.integers(0, N_TERMS - 1), st.sampled_from([1, 2, 200, 255, 256, 300, 70_000])), max_size=4
)


def counts_of(documents):
    lengths = np.array([len(document) for document in documents], np.int32)
    tokens = np.array([term for document in documents for term in document], np.int32)
    terms, freqs = np.empty(len(tokens), np.int32), np.empty(len(tokens), np.int32)
    n_distinct = np.empty(len(documents), np.int32)
    seen_in, seen_at = np.full(N_TERMS, -1, np.int32), np.empty(N_TERMS, np.int64)
    written = kernels.count_terms(tokens, lengths, seen_in, seen_at, terms, freqs, n_distinct)
    return TermCounts(terms[:written], freqs[:written], n_distinct, lengths)


def listed(postings):
    """{term: [(row, tf)]} of postings."""
    return {
        term: list(zip(rows.tolist(), freqs.tolist(), strict=True))
        for term in range(postings.n_terms)
        for rows, freqs in [postings.of(term)]
    }


def expected(documents):
    counted = [Counter(document) for document in documents]
    return {
        term: [(row, counts[term]) for row, counts in enumerate(counted) if counts[term]]
        for term in range(N_TERMS)
    }


@given(DOCUMENTS)
def test_postings_are_the_counts_grouped_by_term(documents):
    counts = counts_of(documents)
    assert listed(invert(counts, N_TERMS)) == expected(documents)
    assert counts.n_distinct.tolist() == [len(set(document)) for document in documents]


@given(DOCUMENTS, DOCUMENTS)
def test_appended_postings_are_those_of_all_documents(first, second):
    joined = append(
        invert(counts_of(first), N_TERMS - 2 if not first else N_TERMS),
        invert(counts_of(second), N_TERMS),
        len(first),
    )
    assert listed(joined) == expected([*first, *second])


@given(DOCUMENTS, st.data())
def test_kept_rows_are_renumbered_in_order(documents, data):
    kept = data.draw(st.lists(st.booleans(), min_size=len(documents), max_size=len(documents)))
    remaining = keep_rows(invert(counts_of(documents), N_TERMS), np.array(kept, bool))
    assert listed(remaining) == expected([d for d, stays in zip(documents, kept, strict=True) if stays])


@given(st.lists(LONG_RUNS, max_size=5))
def test_entropies_are_sums_over_documents_in_any_order(runs):
    documents = [[term for term, times in run for _ in range(times)] for run in runs]
    result = log_entropies(invert(counts_of(documents), N_TERMS))
    backwards = log_entropies(invert(counts_of(documents[::-1]), N_TERMS))
    assert result.tolist() == backwards.tolist()
    for term in range(N_TERMS):
        freqs = [freq for _, freq in expected(documents)[term]]
        if not freqs:
            assert result[term] == -np.inf
        else:
            shares = log_entropy_terms(np.array(freqs))
            np.testing.assert_allclose(result[term], np.logaddexp.reduce(shares), rtol=1e-12, atol=1e-12)


def test_term_frequencies_take_the_narrowest_type():
    for times, dtype in ((255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.int32)):
        postings = invert(counts_of([[0] * times, [1]]), N_TERMS)
        assert postings.term_freqs.dtype == dtype
        assert postings.of(0)[1].tolist() == [times]


def test_a_place_where_nothing_can_be_written_only_costs_the_cache():
    code = (
        "import numba.core.caching as c\n"
        "(getattr(c, 'CacheImpl', None) or c._CacheImpl)._locator_classes = []\n"
        "from prorank_plugins import LexicalIndex; print(LexicalIndex.build(['a cat']).search('cat').ids)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "['0']\n"
