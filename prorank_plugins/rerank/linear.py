"""Linear layers: exact in the model's number format, or int8 for CPUs, marked approximate."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.nn.functional as F

Linear: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


def make_linear(weight: torch.Tensor, bias: torch.Tensor | None, int8: bool) -> Linear:
    """``x ↦ x Wᵀ + b``.

    Args:
        weight: (n_out, n_in).
        bias: (n_out,) or None.
        int8: quantise the weight by row and the input as it comes. Approximate.
    """
    weight = weight.contiguous()
    if not int8:
        return lambda inputs: F.linear(inputs, weight, bias)
    scales = weight.abs().amax(1).clamp_min(1e-8) / 127.0
    zeros = torch.zeros(len(weight), dtype=torch.long)
    quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    packed = torch.ops.quantized.linear_prepack(quantised, bias)

    def run(inputs: torch.Tensor) -> torch.Tensor:
        # The last argument keeps the activations to 7 bits: AVX2 sums of 8-bit products overflow.
        result: torch.Tensor = torch.ops.quantized.linear_dynamic(inputs, packed, True)
        return result

    return run
