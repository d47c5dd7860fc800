"""Segments: what they hold, what their codes promise, what merging keeps."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.lexical import segment
from prorank_plugins.lexical.codes import MOST_TOLD, _buckets, make_codebook
from prorank_plugins.lexical.histograms import Histograms
from prorank_plugins.lexical.repeats import histograms_of
from prorank_plugins.lexical.segment import Segment, merge
from prorank_plugins.lexical.segment_checks import check_segment
from prorank_plugins.lexical.term_counts import TermCounts

N_TERMS = 6
FREQUENCIES = st.sampled_from([1, 1, 2, 3, MOST_TOLD, MOST_TOLD + 1, 200, 70_000])
DOCUMENTS = st.lists(st.dictionaries(st.integers(0, N_TERMS - 1), FREQUENCIES, max_size=5), max_size=12)


def counts_of(documents):
    """Counts of documents given as {term: tf}."""
    return TermCounts(
        np.array([term for document in documents for term in document], np.int32),
        np.array([freq for document in documents for freq in document.values()], np.int32),
        np.array([len(document) for document in documents], np.int32),
        np.array([sum(document.values()) for document in documents], np.int32),
    )


def build(documents):
    return Segment.build([str(i) for i in range(len(documents))], counts_of(documents))


def listed(segment):
    """{term: [(document, tf)]}."""
    lists = {term: [array.tolist() for array in segment.of(term)] for term in range(N_TERMS)}
    return {term: list(zip(docs, freqs, strict=True)) for term, (docs, freqs) in lists.items()}


def expected(documents):
    return {
        term: [(i, document[term]) for i, document in enumerate(documents) if term in document]
        for term in range(N_TERMS)
    }


@given(DOCUMENTS)
def test_a_segment_is_its_counts_grouped_by_term(documents):
    segment = build(documents)
    assert listed(segment) == expected(documents)
    check_segment(segment, N_TERMS)


@given(DOCUMENTS)
def test_the_histograms_of_a_segment_are_those_of_its_postings(documents):
    segment = build(documents)
    found, expected = (
        histograms_of(segment),
        Histograms.of(np.repeat(segment.terms, segment.doc_freqs), segment.term_freqs()),
    )
    for name in ("terms", "term_freqs", "counts"):
        assert getattr(found, name).dtype == np.int32
        assert getattr(found, name).tolist() == getattr(expected, name).tolist()


@pytest.mark.parametrize("many", [0, 10**9])
@given(DOCUMENTS)
def test_terms_with_any_numbers_are_listed_in_their_order(many, documents):
    spread = [{term * 7 + 3: freq for term, freq in document.items()} for document in documents]
    far = [{10_000 * term: freq for term, freq in document.items()} for document in documents]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segment, "_MANY_POSTINGS", many)
        near, spread, far = build(documents), build(spread), build(far)
    assert spread.terms.tolist() == (near.terms * 7 + 3).tolist()
    assert far.terms.tolist() == (near.terms * 10_000).tolist()
    for name in ("indptr", "docs", "codes", "best_codes"):
        expected_array = getattr(near, name).tolist()
        assert getattr(spread, name).tolist() == getattr(far, name).tolist() == expected_array


@given(DOCUMENTS, st.data())
def test_the_postings_of_documents_are_found_without_knowing_their_terms(documents, data):
    segment = build(documents)
    chosen = data.draw(st.sets(st.integers(0, len(documents) - 1)) if documents else st.just(set()))
    terms, freqs = segment.postings_of(sorted(chosen))
    assert Counter(zip(terms.tolist(), freqs.tolist(), strict=True)) == Counter(
        pair for doc in chosen for pair in documents[doc].items()
    )


@given(st.lists(DOCUMENTS, min_size=1, max_size=4), st.data())
def test_merged_segments_hold_the_documents_that_stay_in_order(parts, data):
    kept = [
        np.array(data.draw(st.lists(st.booleans(), min_size=len(part), max_size=len(part))), bool)
        for part in parts
    ]
    staying = [
        document
        for part, stays in zip(parts, kept, strict=True)
        for document, there in zip(part, stays.tolist(), strict=True)
        if there
    ]
    deleted = [None if stays.all() else ~stays for stays in kept]
    merged = merge([build(part) for part in parts], deleted, [str(i) for i in range(len(staying))], None)
    assert listed(merged) == expected(staying)
    assert merged.lengths.tolist() == [sum(document.values()) for document in staying]
    fresh = build(staying)
    for name in ("terms", "indptr", "docs", "codes", "limits", "large_places", "large_freqs", "best_codes"):
        assert getattr(merged, name).tolist() == getattr(fresh, name).tolist()


@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=400),
    st.integers(1, 10**6),
    st.floats(0, 3),
    st.floats(0, 3),
)
def test_codes_bound_every_share_of_a_score_from_both_sides(lengths, freq, slope, offset):
    lengths = np.array(lengths, np.int32)
    book = make_codebook(lengths, max(freq, MOST_TOLD + 1))
    codes = book.code_of[min(freq, MOST_TOLD + 1) - 1, book.buckets]
    high_freq, low_length, low_freq, high_length = book.limits[:, codes].astype(np.float64)
    share = freq / (freq + slope * lengths + offset)
    assert (share <= high_freq / (high_freq + slope * low_length + offset) * (1 + 1e-6)).all()
    assert (share >= low_freq / (low_freq + slope * high_length + offset) * (1 - 1e-6)).all()
    assert (np.isin(book.freqs[codes], [0, freq])).all()


@given(st.lists(st.integers(2, 50), max_size=9))
def test_a_length_is_in_the_same_bucket_among_few_documents_and_among_many(lengths):
    starts = np.array([2, 5, 9])
    many = np.array([*lengths, *range(2, 51), 2, 2], np.int32)
    expected_buckets = np.searchsorted(starts, many, side="right") - 1
    assert _buckets(starts, many).tolist() == expected_buckets.tolist()
    assert _buckets(starts, many[: len(lengths)]).tolist() == expected_buckets[: len(lengths)].tolist()


def test_lengths_that_all_differ_share_codes_and_equal_ones_have_their_own():
    few = make_codebook(np.repeat(np.arange(10, 60, dtype=np.int32), 3), 5)
    assert (few.limits[1] == few.limits[3])[few.code_of[0]].all()
    many = make_codebook(np.arange(60_000, dtype=np.int32), 5)
    assert len(np.unique(many.code_of)) <= 256
    widths = (many.limits[3] - many.limits[1])[many.code_of[0]]
    assert widths.max() < 700
