"""Root mean square norm (Zhang and Sennrich, arXiv:1910.07467)."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def rms_norm(hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """``x / √(mean(x²) + eps) · w`` over the last dimension, as a new tensor.

    In float32 on a CPU, torch's own takes a pass over the states for each sign of the formula; here it is one
    for the size and one for the product.

    Args:
        hidden: (..., size) states.
        weight: (size,) w.
        eps: keeps zeros from being divided by zero.
    """
    size = hidden.shape[-1]
    if hidden.device.type != "cpu" or hidden.dtype != torch.float32:
        return F.rms_norm(hidden, (size,), weight, eps)
    length: torch.Tensor = torch.linalg.vector_norm(hidden, dim=-1, keepdim=True)
    scaled: torch.Tensor = hidden * length.square_().div_(size).add_(eps).rsqrt_()
    return scaled.mul_(weight)
