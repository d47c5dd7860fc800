"""Weights in the order in which MKL multiplies them, brought into it once instead of by every product.

MKL copies both matrices of a product into blocks that its inner loop reads in order. Here the weight is kept
as such blocks and in no other form. The product is the same sum in float32. With few rows it saves the most,
for then copying the weight is much of the work.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch

Product: TypeAlias = Callable[[torch.Tensor], torch.Tensor]

# MKL sizes its blocks for this many rows of the input: from about 100 on they are the same, and for a single
# row it would pack nothing.
_ROWS = 256
_TRIED_ROWS = (1, 19, 300)


def prepack(weight: torch.Tensor, bias: torch.Tensor | None) -> Product | None:
    """``x ↦ x Wᵀ + b`` with a packed copy of the weight; None where this torch or processor has none.

    Args:
        weight: (n_out, n_in); not kept.
        bias: (n_out,) or None.
    """
    n_out, n_in = weight.shape
    if weight.device.type != "cpu" or not can_prepack(n_out, n_in, weight.dtype):
        return None
    return _packed(weight, bias)


def can_prepack(n_out: int, n_in: int, dtype: torch.dtype) -> bool:
    """Whether `prepack` packs such a weight on a CPU."""
    return dtype == torch.float32 and _multiplies(n_out, n_in)


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Product:
    packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), _ROWS)
    # Only the shape of the original is looked at when the number of rows is said to be the one that the
    # weight was packed for. MKL's blocks know their own sizes, so any number may be said.
    shape = torch.empty(()).expand(weight.shape)
    product = torch.ops.mkl._mkl_linear

    def run(inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = product(inputs, packed, shape, bias, len(inputs))
        return result

    return run


@cache
def _multiplies(n_out: int, n_in: int) -> bool:
    """Whether packed products of this size are right for all numbers of rows that are tried.

    Small integers, whose sums float32 holds exactly in any order, and a weight of rank 1, so that what is
    right is known without a second product.
    """
    chance = torch.Generator().manual_seed(0)

    def some(count: int, largest: int) -> torch.Tensor:
        return torch.randint(-largest, largest + 1, (count,), generator=chance).float()

    outputs, inputs, column = some(n_out, 3), some(n_in, 3), some(n_in, 3)
    try:
        run = _packed(torch.outer(outputs, inputs), None)
        for rows in (some(count, 7) for count in _TRIED_ROWS):
            expected = torch.outer(rows, outputs).mul_(column @ inputs)
            if not torch.equal(run(torch.outer(rows, column)), expected):
                return False
    except (RuntimeError, AttributeError, NotImplementedError, TypeError):
        return False  # no MKL, or another torch's idea of these operations
    return True
