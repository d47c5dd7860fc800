"""Concurrent calls in common passes; what is shared computed once; batches halved when memory runs out."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import ModelError
from prorank_plugins.rerank.combining import Combiner
from prorank_plugins.rerank.scheduling import RowGroup, Scheduler, common_length


class FakeModel:
    """Scores a row by the sum of its ids; remembers what it was asked, and how much fits."""

    def __init__(self, can_share=True, most_rows=10**6):
        self.can_share, self.most_rows = can_share, most_rows
        self.prefilled, self.batches = [], []

    def prefill(self, ids):
        self.prefilled.append(list(ids))
        return sum(ids)

    def score(self, rows, shared=None):
        self.batches.append([list(row) for row in rows])
        if len(rows) > self.most_rows:
            raise torch.OutOfMemoryError("too many rows")
        assert all(len(row) for row in rows)
        return np.array([sum(row) + (shared or 0) for row in rows], np.float32)


def groups_of(rows_of_groups, done=None):
    counts = [] if done is None else done
    return [RowGroup(rows, counts.append) for rows in rows_of_groups]


ROWS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), max_size=6)


@given(st.lists(ROWS, max_size=4), st.integers(1, 40), st.booleans())
def test_every_row_gets_its_own_score_whatever_is_shared(groups, budget, can_share):
    done = []
    results = Scheduler(FakeModel(can_share), budget).score(groups_of(groups, done))
    assert [result.tolist() for result in results] == [[sum(row) for row in rows] for rows in groups]
    assert sum(done) == sum(map(len, groups))


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=6), min_size=1, max_size=6))
def test_the_common_beginning_leaves_every_row_something_of_its_own(rows):
    length = common_length(rows)
    assert all(row[:length] == rows[0][:length] and len(row) > length for row in rows)
    assert length == min(map(len, rows)) - 1 or len({tuple(row[: length + 1]) for row in rows}) > 1


def test_what_the_rows_of_a_query_share_is_computed_once():
    model = FakeModel()
    Scheduler(model, 100).score(groups_of([[[1, 2, 3, 4], [1, 2, 5, 6]], [[9, 9]]]))
    assert model.prefilled == [[1, 2]]
    assert [[3, 4], [5, 6]] in model.batches
    assert [[9, 9]] in model.batches


def test_single_rows_of_several_queries_share_a_batch():
    model = FakeModel()
    Scheduler(model, 100).score(groups_of([[[1, 1]], [[2, 2]], [[3, 3]]]))
    assert len(model.batches) == 1


def test_a_batch_is_halved_for_as_long_as_memory_does_not_suffice(caplog):
    model = FakeModel(can_share=False, most_rows=2)
    rows = [[i, 1] for i in range(7)]
    (result,) = Scheduler(model, 1000).score(groups_of([rows]))
    assert result.tolist() == [sum(row) for row in rows]
    assert "halving the batch" in caplog.text


def test_a_single_row_that_does_not_fit_is_an_error_that_says_what_to_do():
    with pytest.raises(ModelError, match="lower max_length"):
        Scheduler(FakeModel(most_rows=0), 10).score(groups_of([[[1, 2, 3]]]))


def test_calls_that_come_during_a_pass_share_the_next():
    passes, first, go = [], threading.Event(), threading.Event()

    def run(works):
        passes.append(list(works))
        first.set()
        assert go.wait(5)
        return [work * 2 for work in works]

    combined = Combiner(run)
    with ThreadPoolExecutor(9) as pool:
        early = pool.submit(combined, 0)
        assert first.wait(5)
        late = [pool.submit(combined, i) for i in range(1, 9)]
        while len(combined._gathered) < 8:
            time.sleep(0.001)
        go.set()
        assert early.result() == 0
        assert [future.result() for future in late] == [2 * i for i in range(1, 9)]
    assert passes[0] == [0]
    assert sorted(passes[1]) == list(range(1, 9))
    assert len(passes) == 2


def test_an_error_reaches_every_call_of_the_pass_and_the_next_pass_works():
    def run(works):
        if "bad" in works:
            raise ValueError("no")
        return works

    combined = Combiner(run)
    with pytest.raises(ValueError, match="no"):
        combined("bad")
    assert combined("good") == "good"


def test_many_threads_get_their_own_results():
    combined = Combiner(lambda works: [work + 1 for work in works])
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(combined, range(2000))) == list(range(1, 2001))
