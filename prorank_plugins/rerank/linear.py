"""Linear layers: exact in the model's number format, or int8 for CPUs, marked approximate.

In int8, each row of the weight and each row of the input has a scale of its own: a token with large numbers
does not take precision from the others. Which of torch's two int8 products runs is a matter of the
processor: oneDNN's where there are VNNI instructions, and fbgemm's elsewhere, where the other is slower than
float32.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F

from prorank_plugins.rerank.prepacked import prepack

Linear: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
Pair: TypeAlias = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]

_LEAST = 1e-12
# Numbers of the input that are quantised at a time: they stay in the cache from one step to the next.
_QUANTISED_AT_A_TIME = 65_536


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None, int8: bool) -> Linear:
    """``x ↦ x Wᵀ + b``.

    Args:
        weight: (n_out, n_in); kept as it is where it can neither be packed nor quantised.
        bias: (n_out,) or None.
        int8: quantise the weight by row and the input as it comes. Approximate.
    """
    weight = weight.contiguous()
    if not int8:
        return prepack(weight, bias) or (lambda inputs: F.linear(inputs, weight, bias))
    scales = weight.abs().amax(1).clamp_min_(_LEAST).div_(127.0)
    if has_vnni() and _sums_exactly():
        return _onednn(weight, scales, bias)
    return _fbgemm(weight, scales, bias)


def make_pair(weight: torch.Tensor, int8: bool) -> Pair:
    """Two linear layers with the same input and no bias; their outputs as two tensors.

    Args:
        weight: (2 · n_out, n_in), one above the other.
        int8: as in `make_linear`.
    """
    if int8 or weight.device.type != "cpu":
        both = make_linear(weight, None, int8)
        return lambda inputs: both(inputs).chunk(2, -1)
    # Halves of the rows of one output are no contiguous memory: on a CPU, what is done to them number by
    # number takes twice as long.
    first, second = (make_linear(half, None, int8) for half in weight.chunk(2))
    return lambda inputs: (first(inputs), second(inputs))


def has_vnni() -> bool:
    """Whether the processor multiplies 8-bit numbers into 32-bit sums in one instruction."""
    capabilities: Callable[[], dict[str, Any]] | None = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return bool(capabilities().get("avx512_vnni", False))
    supported: Callable[[], bool] = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return supported()


@cache
def _sums_exactly() -> bool:
    """Whether oneDNN's product is one of integers: without VNNI, or kept from it, it saturates at 16 bits."""
    largest = torch.full((16, 64), 127.0)
    return bool((_onednn(largest, torch.ones(16), None)(largest) == 64 * 127 * 127).all())


def _onednn(weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    codes = (weight / scales[:, None]).round_().to(torch.int8)
    packed = torch.ops.onednn.qlinear_prepack(codes, None)
    zeros = torch.zeros(len(weight), dtype=torch.long)
    product = torch.ops.onednn.qlinear_pointwise

    def run(inputs: torch.Tensor) -> torch.Tensor:
        rows, steps = _quantised_rows(inputs)
        # Scale 1 and zero point 0 of the input and of the output: what is left is the integer product,
        # times the weight's scales.
        result: torch.Tensor = product(
            rows, 1.0, 0, packed, scales, zeros, None, 1.0, 0, torch.float32, "none", [], ""
        )
        result.mul_(steps)
        return result if bias is None else result.add_(bias)

    return run


def _quantised_rows(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n_rows, n_in) int8 codes and (n_rows, 1) scales."""
    codes = torch.empty(inputs.shape, dtype=torch.int8)
    scales = torch.empty(len(inputs), 1)
    at_a_time = max(1, _QUANTISED_AT_A_TIME // inputs.shape[1])
    for start in range(0, len(inputs), at_a_time):
        part = inputs[start : start + at_a_time]
        scale = part.abs().amax(1, keepdim=True).clamp_min_(_LEAST).div_(127.0)
        codes[start : start + at_a_time] = (part * scale.reciprocal()).round_()
        scales[start : start + at_a_time] = scale
    return codes, scales


def _fbgemm(weight: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Linear:
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # Quantised tensors are deprecated without a successor that is as fast on these processors.
        warnings.simplefilter("ignore", UserWarning)
        quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(quantised, None)

    def run(inputs: torch.Tensor) -> torch.Tensor:
        # The product has one scale for all rows: brought to the same size, each has its own.
        sizes = inputs.abs().amax(1, keepdim=True).clamp_min_(_LEAST)
        # The last argument keeps the activations to 7 bits: AVX2 sums of 8-bit products overflow.
        result: torch.Tensor = torch.ops.quantized.linear_dynamic(inputs / sizes, packed, True)
        result.mul_(sizes)
        return result if bias is None else result.add_(bias)

    return run
