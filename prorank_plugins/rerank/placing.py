"""Which attention a batch of rows gets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from prorank_plugins.rerank.attention import Kernel, Placement, Ragged, Rectangle
from prorank_plugins.rerank.grouped import Grouped


def place_rows(
    lengths: Sequence[int],
    shared: int,
    device: torch.device,
    dtype: torch.dtype,
    kernel: Kernel | None = None,
) -> Placement:
    """Rows with ``lengths`` tokens of their own after ``shared`` common ones.

    Args:
        lengths: of each row.
        shared: tokens that all rows begin with.
        device: where the states are.
        dtype: of the states.
        kernel: attention of rows of varying length, where there is one.
    """
    if kernel is not None:
        return Ragged.of(lengths, shared, device, kernel)
    if Grouped.fits(lengths, shared, device, dtype):
        return Grouped.of(lengths, shared)
    return Rectangle.of(lengths, shared, device)
