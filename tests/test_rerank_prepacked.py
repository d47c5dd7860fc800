"""Weights packed once: the product of torch for any number of rows, or none at all."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch
import torch.nn.functional as F

from prorank_plugins.rerank import linear, prepacked
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.families.stored import StoredWeights, aligned
from prorank_plugins.rerank.packed import PackedModel
from prorank_plugins.rerank.prepacked import prepack
from prorank_plugins.rerank.weights import read_config
from tests import tiny_models

CPU = torch.device("cpu")
packs = pytest.mark.skipif(prepack(torch.ones(3, 2), None) is None, reason="this torch packs no weights")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    # 100 and 24: neither the states nor the width of the MLP end on a cache line.
    made = tmp_path_factory.mktemp("prepacked") / "model"
    return tiny_models.qwen(made, intermediate_size=100, head_dim=24)


@pytest.fixture
def unpacked(monkeypatch):
    """As where torch has no such product."""
    monkeypatch.setattr(prepacked, "_multiplies", lambda *_: False)


def load(folder):
    return PackedModel(folder, read_config(folder), Labels(positive=16, negative=15), CPU, "float32")


def random_rows(lengths):
    state = np.random.RandomState(0)
    return [state.randint(0, 700, length).tolist() for length in lengths]


@packs
@given(st.integers(0, 700), st.integers(1, 70), st.integers(1, 70), st.booleans(), st.integers(0, 9))
def test_any_number_of_rows_gives_the_product_of_torch(n_rows, n_in, n_out, biased, seed):
    state = torch.Generator().manual_seed(seed)
    weight, bias = torch.randn(n_out, n_in, generator=state), torch.randn(n_out, generator=state)
    inputs, bias = torch.randn(n_rows, n_in, generator=state), bias if biased else None
    found = prepack(weight, bias)(inputs)
    assert found.shape == (n_rows, n_out)
    torch.testing.assert_close(found, F.linear(inputs, weight, bias), rtol=1e-5, atol=1e-5)


@packs
@pytest.mark.parametrize("n_rows", [1, 255, 256, 257, 1500])
def test_a_layer_as_wide_as_a_models_gives_the_product_of_torch(n_rows):
    weight, inputs = torch.randn(1111, 384) * 0.05, torch.randn(n_rows, 384)
    torch.testing.assert_close(prepack(weight, None)(inputs), F.linear(inputs, weight), rtol=0, atol=1e-5)


@packs
def test_rows_out_of_another_tensor_are_read_where_they_are():
    weight, wide = torch.randn(8, 5), torch.randn(30, 10)
    run = prepack(weight, None)
    torch.testing.assert_close(run(wide[::2, 5:]), F.linear(wide[::2, 5:], weight))


@packs
def test_the_weight_itself_is_not_kept():
    weight = torch.randn(8, 5)
    run, inputs = prepack(weight, None), torch.randn(4, 5)
    expected = F.linear(inputs, weight)
    weight.zero_()
    torch.testing.assert_close(run(inputs), expected)


@packs
def test_what_threads_change_is_not_the_product():
    weight, inputs = torch.randn(300, 200), torch.randn(400, 200)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        run = prepack(weight, None)
        torch.set_num_threads(2)
        torch.testing.assert_close(run(inputs), F.linear(inputs, weight), rtol=1e-5, atol=1e-4)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_only_float32_is_packed(dtype):
    assert prepack(torch.ones(4, 4, dtype=dtype), None) is None


@pytest.mark.parametrize("wrong", [
    lambda inputs: torch.zeros(len(inputs), 21),
    lambda inputs: torch.zeros(len(inputs), 3),
    lambda inputs: torch.full((len(inputs), 21), torch.nan),
])  # fmt: skip
def test_a_product_that_is_not_right_is_not_used(monkeypatch, wrong):
    monkeypatch.setattr(prepacked, "_packed", lambda *_: wrong)
    assert not prepacked._multiplies.__wrapped__(21, 34)


@pytest.mark.parametrize("error", [RuntimeError, AttributeError, NotImplementedError, TypeError])
def test_where_torch_has_no_such_product_its_own_is_used(monkeypatch, error):
    def missing(*_):
        raise error("no MKL")

    monkeypatch.setattr(prepacked, "_packed", missing)
    monkeypatch.setattr(prepacked, "_multiplies", prepacked._multiplies.__wrapped__)
    weight, inputs = torch.randn(21, 34), torch.randn(5, 34)
    assert prepack(weight, None) is None
    found = linear.make_linear(weight, None, int8=False)(inputs)
    torch.testing.assert_close(found, F.linear(inputs, weight), rtol=0, atol=0)


def test_a_model_scores_the_same_without_packed_weights(folder, request):
    rows = random_rows([5, 40, 41, 300, 1, 2])
    expected = load(folder).score(rows)
    request.getfixturevalue("unpacked")
    np.testing.assert_allclose(load(folder).score(rows), expected, rtol=0, atol=1e-5)


def test_32_threads_at_once_on_one_model_get_the_scores_of_one(folder):
    model = load(folder)
    rows = random_rows(range(1, 65))
    expected = model.score(rows)
    with ThreadPoolExecutor(32) as pool:
        for start, found in enumerate(pool.map(lambda start: model.score(rows[start:]), range(32))):
            np.testing.assert_allclose(found, expected[start:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_layers_made_one_after_the_other_keep_their_own_weights(dtype, tmp_path, request):
    if dtype == "float32":
        request.getfixturevalue("unpacked")
    stored = {f"{name}.weight": torch.randn(20, 30) for name in "abc"}
    weights, inputs = StoredWeights(tmp_path, stored, CPU, dtype), torch.randn(7, 30)
    layers = [weights.linear(30, {name: 20}) for name in "abc"]
    for name, layer in zip("abc", layers, strict=True):
        exact = F.linear(inputs, stored[f"{name}.weight"])
        assert (layer(inputs) - exact).norm() < (1e-5 if dtype == "float32" else 0.05) * exact.norm()


# Widths of whole cache lines


@given(st.integers(1, 10_000), st.sampled_from([torch.float32, torch.bfloat16]))
def test_an_aligned_width_is_the_next_of_64_bytes(width, dtype):
    found = aligned(width, dtype)
    assert width <= found < width + 64 // dtype.itemsize
    assert found * dtype.itemsize % 64 == 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int8"])
def test_what_is_added_to_a_pair_is_zero_and_does_not_count(dtype, tmp_path):
    state = torch.Generator().manual_seed(0)
    stored = {
        "up.weight": torch.randn(21, 6, generator=state),
        "gate.weight": torch.randn(21, 6, generator=state),
        "down.weight": torch.randn(6, 21, generator=state),
    }
    weights = StoredWeights(tmp_path, stored, CPU, dtype)
    inputs = torch.randn(9, 6, generator=state).to(weights.dtype)
    gate, up = weights.pair(6, "gate", "up", 21)(inputs)
    assert gate.shape == up.shape == (9, 32)
    assert not gate[:, 21:].any()
    assert not up[:, 21:].any()
    found = weights.after_pair(21, "down", 6)(gate * up).float()
    exact = (
        F.linear(inputs.float(), stored["gate.weight"]) * F.linear(inputs.float(), stored["up.weight"])
    ) @ (stored["down.weight"].T)
    assert (found - exact).norm() < (1e-5 if dtype == "float32" else 0.05) * exact.norm()
