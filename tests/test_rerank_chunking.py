"""Windows over long documents, and one score from many."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.chunking import Chunking, Span, aggregate_scores, split_spans


@st.composite
def chunkings(draw):
    max_tokens = draw(st.integers(1, 20))
    return Chunking(
        max_tokens,
        draw(st.integers(0, max_tokens - 1)),
        draw(st.sampled_from(["max", "first", "mean_top"])),
        draw(st.integers(1, 4)),
    )


@st.composite
def token_offsets(draw):
    """Offsets of tokens with gaps (spaces) and shared characters (an emoji of several tokens)."""
    offsets, position = [], 0
    for gap, length, repeats in draw(
        st.lists(st.tuples(st.integers(0, 2), st.integers(1, 5), st.integers(1, 3)), max_size=60)
    ):
        offsets += [(position + gap, position + gap + length)] * repeats
        position += gap + length
    return offsets, position + draw(st.integers(0, 3))


def letters(n):
    return [(i, i + 1) for i in range(n)]


def test_ten_tokens_in_windows_of_five_that_share_two_are_three_windows():
    spans = split_spans(letters(10), Chunking(max_tokens=5, overlap=2))
    assert [span[:2] for span in spans] == [(0, 4), (2, 7), (5, 10)]


def test_one_token_too_many_gives_two_halves_and_no_tiny_rest():
    assert split_spans(letters(101), Chunking(max_tokens=100, overlap=0)) == [
        Span(0, 50, 0, 50),
        Span(50, 101, 50, 101),
    ]


def test_spans_give_the_characters_of_their_tokens():
    text = "the cat sat on a mat"
    offsets = [(0, 3), (4, 7), (8, 11), (12, 14), (15, 16), (17, 20)]
    spans = split_spans(offsets, Chunking(max_tokens=3, overlap=0))
    assert [text[span.start_char : span.end_char] for span in spans] == ["the cat sat", "on a mat"]


def test_a_document_that_fits_is_one_span_over_the_whole_text():
    assert split_spans([(1, 4), (5, 8)], Chunking(max_tokens=2, overlap=1), n_chars=9) == [Span(0, 2, 0, 9)]


def test_an_empty_document_is_one_empty_span():
    assert split_spans([], Chunking()) == [Span(0, 0, 0, 0)]


def test_text_without_a_token_is_still_a_span_of_its_characters():
    assert split_spans([], Chunking(), n_chars=3) == [Span(0, 0, 0, 3)]


@given(token_offsets(), chunkings())
def test_windows_ascend_cover_every_token_and_overlap_exactly(document, chunking):
    offsets, n_chars = document
    spans = split_spans(offsets, chunking, n_chars)
    assert spans[0].first_token == 0
    assert spans[-1].end_token == len(offsets)
    for left, right in pairwise(spans):
        assert left.first_token < right.first_token
        assert left.end_token < right.end_token
        assert left.end_token - right.first_token == chunking.overlap


@given(token_offsets(), chunkings())
def test_windows_are_within_the_limit_and_as_even_as_whole_tokens_allow(document, chunking):
    offsets, n_chars = document
    sizes = [span.end_token - span.first_token for span in split_spans(offsets, chunking, n_chars)]
    assert max(sizes) <= chunking.max_tokens
    assert max(sizes) - min(sizes) <= 1


@given(token_offsets(), chunkings())
def test_no_smaller_number_of_windows_would_do(document, chunking):
    offsets, n_chars = document
    n_spans = len(split_spans(offsets, chunking, n_chars))
    reach = chunking.max_tokens + (n_spans - 2) * (chunking.max_tokens - chunking.overlap)
    assert n_spans == 1 or reach < len(offsets)


@given(token_offsets(), chunkings())
def test_characters_ascend_within_the_text_and_hold_those_of_the_tokens(document, chunking):
    offsets, n_chars = document
    spans = split_spans(offsets, chunking, n_chars)
    assert spans[0].start_char == 0
    assert spans[-1].end_char == n_chars
    for span in spans:
        assert 0 <= span.start_char <= span.end_char <= n_chars
        for start, end in offsets[span.first_token : span.end_token]:
            assert span.start_char <= start <= end <= span.end_char
    for left, right in pairwise(spans):
        assert left.start_char <= right.start_char
        assert left.end_char <= right.end_char


SCORES = np.array([1.0, 3.0, 2.0, -4.0, 0.5, 0.5], np.float32)
COUNTS = [3, 1, 2]


@pytest.mark.parametrize(
    ("chunking", "expected", "best"),
    [
        (Chunking(aggregate="max"), [3.0, -4.0, 0.5], [1, 0, 0]),
        (Chunking(aggregate="first"), [1.0, -4.0, 0.5], [0, 0, 0]),
        (Chunking(aggregate="mean_top", top=2), [2.5, -4.0, 0.5], [1, 0, 0]),
        (Chunking(aggregate="mean_top", top=9), [2.0, -4.0, 0.5], [1, 0, 0]),
    ],
)
def test_scores_of_three_documents_are_aggregated_by_hand(chunking, expected, best):
    scores, best_spans = aggregate_scores(SCORES, COUNTS, chunking)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected)
    assert best_spans.tolist() == best


def test_no_documents_have_no_scores():
    scores, best_spans = aggregate_scores(np.zeros(0, np.float32), [], Chunking())
    assert (len(scores), len(best_spans)) == (0, 0)


documents = st.lists(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=6), max_size=8)


@given(documents, chunkings())
def test_every_document_is_aggregated_as_if_it_were_alone(windows, chunking):
    flat = np.array([score for document in windows for score in document], np.float32)
    together, best = aggregate_scores(flat, [len(document) for document in windows], chunking)
    for row, document in enumerate(windows):
        alone, best_alone = aggregate_scores(np.array(document, np.float32), [len(document)], chunking)
        assert together[row] == alone[0]
        assert best[row] == best_alone[0]


@given(documents)
def test_the_best_window_has_the_best_score_and_aggregates_stay_within_the_windows(windows):
    flat = np.array([score for document in windows for score in document], np.float32)
    counts = [len(document) for document in windows]
    highest, best = aggregate_scores(flat, counts, Chunking())
    means, best_of_means = aggregate_scores(flat, counts, Chunking(aggregate="mean_top", top=2))
    np.testing.assert_array_equal(best, best_of_means)
    for row, document in enumerate(windows):
        assert document[best[row]] == highest[row] == max(document)
        assert min(document) <= means[row] <= max(document)


@given(documents, st.integers(1, 4))
def test_one_window_per_document_changes_no_score(windows, top):
    flat = np.array([document[0] for document in windows], np.float32)
    for aggregate in ("max", "first", "mean_top"):
        scores, _ = aggregate_scores(flat, [1] * len(flat), Chunking(aggregate=aggregate, top=top))
        np.testing.assert_array_equal(scores, flat)


@pytest.mark.parametrize("counts", [[3, 1], [3, 1, 3], [6, 0], [7, -1]])
def test_counts_that_are_not_those_of_the_scores_are_refused(counts):
    with pytest.raises(ConfigError, match="6 scores do not match spans_per_document"):
        aggregate_scores(SCORES, counts, Chunking())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1, found 0"),
        ({"max_tokens": 2.5}, "max_tokens"),
        ({"overlap": -1}, "overlap must be a whole number of at least 0"),
        ({"max_tokens": 64, "overlap": 64}, "overlap is 64 and max_tokens 64"),
        ({"top": 0}, "top"),
        ({"top": True}, "top"),
        ({"aggregate": "median"}, "expected one of max, first, mean_top"),
    ],
)
def test_chunking_that_cannot_work_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Chunking(**options)
