"""Linear layers in int8: how far off they may be, with each of torch's two products."""

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from prorank_plugins.rerank import linear
from prorank_plugins.rerank.linear import has_vnni, make_linear

EXACT = has_vnni() and linear._sums_exactly()
needs_vnni = pytest.mark.skipif(not EXACT, reason="this processor's products of bytes saturate")


@pytest.fixture(params=[pytest.param(True, marks=needs_vnni), False], ids=["onednn", "fbgemm"])
def vnni(request, monkeypatch):
    """Each product that this processor has."""
    monkeypatch.setattr(linear, "has_vnni", lambda: request.param)
    return request.param


def random_layer(n_out=48, n_in=96, n_rows=200, seed=0):
    """(weight, bias, inputs); rows of the inputs differ in size by orders of magnitude."""
    state = np.random.RandomState(seed)
    weight = state.standard_normal((n_out, n_in)) * np.exp(state.standard_normal((n_out, 1)))
    inputs = state.standard_normal((n_rows, n_in)) * np.exp(3 * state.standard_normal((n_rows, 1)))
    bias = state.standard_normal(n_out)
    return [torch.from_numpy(values.astype(np.float32)) for values in (weight, bias, inputs)]


def test_a_float_layer_is_exact():
    weight, bias, inputs = random_layer()
    torch.testing.assert_close(make_linear(weight, bias, int8=False)(inputs), inputs @ weight.T + bias)


@pytest.mark.parametrize("biased", [True, False])
def test_every_row_is_off_by_a_few_percent_of_its_own_size(vnni, biased):
    weight, bias, inputs = random_layer()
    bias = bias if biased else None
    found = make_linear(weight, bias, int8=True)(inputs)
    exact = torch.nn.functional.linear(inputs, weight, bias)
    products = torch.nn.functional.linear(inputs, weight)
    error = (found - exact).norm(dim=1) / products.norm(dim=1)
    assert error.max() < (0.03 if vnni else 0.06)


@needs_vnni
def test_a_row_is_scored_alone_as_among_others_where_products_are_exact(monkeypatch):
    monkeypatch.setattr(linear, "has_vnni", lambda: True)
    weight, bias, inputs = random_layer()
    layer = make_linear(weight, bias, int8=True)
    together = layer(inputs)
    alone = torch.cat([layer(row[None]) for row in inputs])
    torch.testing.assert_close(together, alone, rtol=0, atol=0)


@needs_vnni
def test_integer_products_are_what_their_definition_says(monkeypatch):
    monkeypatch.setattr(linear, "has_vnni", lambda: True)
    weight, bias, inputs = random_layer(seed=1)
    rows = inputs.numpy()
    steps = np.abs(rows).max(1, keepdims=True) / np.float32(127)
    codes = np.rint(rows * (1 / steps))
    scales = np.abs(weight.numpy()).max(1) / np.float32(127)
    weights = np.rint(weight.numpy() / scales[:, None])
    expected = (codes @ weights.T) * scales * steps + bias.numpy()
    found = make_linear(weight, bias, int8=True)(inputs).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_zeros_give_the_bias(vnni):
    weight, bias, inputs = random_layer()
    weight[3] = 0
    found = make_linear(weight, bias, int8=True)(torch.zeros_like(inputs))
    torch.testing.assert_close(found, bias.expand(len(inputs), -1), rtol=0, atol=1e-6)


def test_a_product_that_saturates_is_not_used(monkeypatch):
    monkeypatch.setattr(linear, "has_vnni", lambda: True)
    monkeypatch.setattr(linear, "_sums_exactly", lambda: False)
    monkeypatch.setattr(linear, "_onednn", lambda *_: pytest.fail("it was used"))
    weight, bias, inputs = random_layer()
    assert torch.isfinite(make_linear(weight, bias, int8=True)(inputs)).all()


@pytest.mark.parametrize("answer", [True, False])
def test_the_processor_is_asked_in_the_way_this_torch_has(monkeypatch, answer):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_vnni": answer}, raising=False)
    assert has_vnni() is answer
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: answer, raising=False)
    assert has_vnni() is answer
    monkeypatch.delattr(torch.cpu, "_is_vnni_supported")
    assert has_vnni() is False
