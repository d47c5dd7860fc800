"""Which rows go through the model together."""

from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.rerank.batching import plan_batches
from prorank_plugins.rerank.scheduling import common_length

lengths = st.lists(st.integers(1, 300), max_size=60)
rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=8)


@given(lengths, st.integers(1, 1000), st.integers(0, 200))
def test_every_row_is_in_one_batch(lengths, budget, shared):
    planned = plan_batches(lengths, budget, shared)
    assert sorted(row for batch in planned for row in batch) == list(range(len(lengths)))


@given(lengths, st.integers(1, 1000), st.integers(0, 200))
def test_a_batch_with_its_padding_stays_within_the_budget_unless_it_is_one_row(lengths, budget, shared):
    for batch in plan_batches(lengths, budget, shared):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@given(lengths, st.integers(1, 1000), st.integers(0, 200))
def test_rows_of_a_batch_are_of_similar_length_and_longest_first(lengths, budget, shared):
    planned = plan_batches(lengths, budget, shared)
    in_order = [lengths[row] for batch in planned for row in batch]
    assert in_order == sorted(lengths, reverse=True)
    for batch in planned:
        assert lengths[batch[0]] + shared <= 1.25 * (lengths[batch[-1]] + shared)


def test_no_rows_make_no_batch():
    assert plan_batches([], 100) == []


def test_a_row_above_the_budget_is_a_batch_of_its_own():
    assert plan_batches([500, 90, 80], 100) == [[0], [1], [2]]


@given(rows)
def test_the_common_beginning_is_the_longest_there_is(rows):
    longer = common_length(rows) + 1
    assert longer == min(map(len, rows)) or len({tuple(row[:longer]) for row in rows}) > 1
