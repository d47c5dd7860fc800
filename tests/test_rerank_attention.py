"""Attention of ragged rows against the rectangle's, with a kernel of plain loops in place of the GPU's."""

import json
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from prorank_plugins.rerank import attention, grouped
from prorank_plugins.rerank.attention import Ragged, Rectangle, agrees, find_kernel
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.grouped import Grouped
from prorank_plugins.rerank.packed import PackedModel
from prorank_plugins.rerank.placing import place_rows
from prorank_plugins.rerank.scheduling import RowGroup, Scheduler
from tests import tiny_models

CPU = torch.device("cpu")


def loops(
    query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, *,
    return_aux=None, scale=None, window_size=(-1, -1), enable_gqa=False, shift=0,
):  # fmt: skip
    """``torch.nn.attention.varlen.varlen_attn`` by its documentation, one query and head at a time.

    A causal mask is aligned with the end of both rows: query i of n looks at keys up to i + m - n. ``shift``
    moves it away from there.
    """
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert enable_gqa == (query.shape[1] != key.shape[1])
    lengths_q, lengths_k = cu_seq_q.diff().tolist(), cu_seq_k.diff().tolist()
    assert (max_q, max_k) == (max(lengths_q), max(lengths_k))
    assert (sum(lengths_q), sum(lengths_k)) == (len(query), len(key))
    group = query.shape[1] // key.shape[1]
    mixed = torch.empty_like(query)
    for first_q, n, first_k, m in zip(
        cu_seq_q.tolist(), lengths_q, cu_seq_k.tolist(), lengths_k, strict=False
    ):
        for i in range(n):
            seen = m if window_size == (-1, -1) else i + m - n + 1 + shift
            for head in range(query.shape[1]):
                keys = key[first_k : first_k + seen, head // group]
                weights = (keys @ query[first_q + i, head] * query.shape[2] ** -0.5).softmax(0)
                mixed[first_q + i, head] = weights @ value[first_k : first_k + seen, head // group]
    return mixed


def random_states(generator, count, heads, size=8):
    return torch.from_numpy(generator.standard_normal((count, heads, size)).astype(np.float32))


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=5),
    st.integers(0, 6),
    st.sampled_from([(4, 4), (4, 2), (3, 1)]),
    st.sampled_from([4, 96]),
    st.integers(0, 99),
)
def test_ragged_and_grouped_rows_mix_as_in_the_rectangle(lengths, shared, heads, product_rows, seed):
    generator, n = np.random.RandomState(seed), sum(lengths)
    query = random_states(generator, n, heads[0])
    keys, values = (random_states(generator, n, heads[1]) for _ in range(2))
    before = [random_states(generator, shared, heads[1]) if shared else None for _ in range(2)]
    found = []
    for place in (
        Rectangle.of(lengths, shared, CPU),
        Ragged.of(lengths, shared, CPU, loops),
        Grouped.of(lengths, shared),
    ):
        spread = [place.spread(keys, before[0]), place.spread(values, before[1])]
        with patch.object(grouped, "_PRODUCT_ROWS", product_rows):  # one block of queries, or several
            found.append((place.attend(query, *spread), place.attend_last(query[place.last], *spread)))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=2e-6)
    torch.testing.assert_close(found[0], found[2], rtol=0, atol=2e-6)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5), st.integers(0, 6))
def test_all_place_the_same_tokens(lengths, shared):
    grid = place_rows(lengths, shared, CPU, torch.bfloat16)
    ragged = place_rows(lengths, shared, CPU, torch.float32, loops)
    products = place_rows(lengths, shared, CPU, torch.float32)
    assert [type(place) for place in (grid, ragged, products)] == [Rectangle, Ragged, Grouped]
    for other in (ragged, products):
        assert grid.positions.tolist() == other.positions.tolist()
        assert grid.last.tolist() == other.last.tolist()
        assert grid.width == other.width
    assert ragged.key_ends.tolist() == np.cumsum([0, *(length + shared for length in lengths)]).tolist()
    assert sorted([*ragged.own.tolist(), *ragged.common.tolist()]) == list(range(int(ragged.key_ends[-1])))


def test_long_rows_are_left_to_torch():
    assert isinstance(place_rows([1000], 24, CPU, torch.float32), Grouped)
    assert isinstance(place_rows([1000], 25, CPU, torch.float32), Rectangle)


@pytest.mark.parametrize("make", [tiny_models.qwen, tiny_models.bert])
def test_a_model_scores_the_same_with_a_kernel(make, tmp_path):
    folder = make(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    state = np.random.RandomState(3)
    beginning = state.randint(0, 700, 11).tolist()
    rows = [[*beginning, *state.randint(0, 700, length).tolist()] for length in (3, 9, 1, 20, 9)]
    scores = []
    for kernel in (None, loops):
        model = PackedModel(folder, config, Labels(16, 15), CPU, "float32", kernel)
        scores += Scheduler(model, 40).score([RowGroup(rows, lambda n: None)])
        scores.append(model.score(rows))
    for found in scores[1:]:
        np.testing.assert_allclose(found, scores[0], rtol=0, atol=2e-5)


# Which one runs


def test_a_kernel_that_gives_the_same_agrees():
    states = torch.zeros(1, 4, 8)
    assert agrees(loops, states, states[:, :2])


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_kernel_with_another_alignment_does_not_agree(shift):
    states = torch.zeros(1, 4, 8)
    assert not agrees(lambda *args, **options: loops(*args, shift=shift, **options), states, states)


@pytest.mark.parametrize("error", [TypeError, RuntimeError, NotImplementedError])
def test_a_kernel_that_fails_is_not_used(error):
    def fail(*_, **__):
        raise error("head size 24 is not supported")

    assert not agrees(fail, torch.zeros(1, 4, 24), torch.zeros(1, 4, 24))


def test_on_a_cpu_no_kernel_is_looked_for(monkeypatch):
    monkeypatch.setattr(attention, "require", lambda *_: pytest.fail("it was looked for"))
    states = torch.zeros(1, 4, 8, dtype=torch.bfloat16)
    assert find_kernel(states, states) is None


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("make", [tiny_models.qwen, tiny_models.bert])
def test_on_a_gpu_ragged_rows_score_as_the_rectangle_does(make, dtype, tmp_path):
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    folder = make(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    state = np.random.RandomState(3)
    rows = [state.randint(0, 700, length).tolist() for length in state.randint(20, 300, 64)]
    model = PackedModel(folder, config, Labels(16, 15), torch.device("cuda"), dtype)
    if model._kernel is None:
        pytest.skip("this torch has no kernel for rows of varying length on this GPU")
    shared = model.prefill(rows[0][:17])
    ragged = model.score(rows), model.score(rows, shared)
    model._kernel = None
    grid = model.score(rows), model.score(rows, shared)
    for found, expected in zip(ragged, grid, strict=True):
        assert np.abs(found - expected).max() < 0.1 * expected.std()
