"""Attention over packed rows, each of which may begin with what all of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Rectangle:
    """Packed tokens in a grid of right-padded rows; being causal, no token looks at the padding.

    Attributes:
        positions: (n_tokens,) position of each token in its whole row.
        last: (n_rows,) packed index of each row's last token.
        slots: (n_tokens,) place of each token among n_rows · width.
        visible: (n_rows, 1, 1, width) what each row's last token may look at; None for a single row.
        shared, width, n_rows: length of the shared part, of the longest whole row, number of rows.
    """

    positions: torch.Tensor
    last: torch.Tensor
    slots: torch.Tensor
    visible: torch.Tensor | None
    shared: int
    width: int
    n_rows: int

    @classmethod
    def of(cls, lengths: Sequence[int], shared: int, device: torch.device) -> Rectangle:
        """The grid of rows with ``lengths`` tokens of their own after ``shared`` common ones."""
        sizes = torch.tensor(lengths)
        row_of = torch.repeat_interleave(torch.arange(len(lengths)), sizes)
        ends = sizes.cumsum(0)
        positions = torch.arange(int(ends[-1])) - (ends - sizes)[row_of] + shared
        width = max(lengths) + shared
        visible = None
        if len(lengths) > 1:
            visible = (torch.arange(width)[None] < (sizes + shared)[:, None])[:, None, None].to(device)
        slots = (row_of * width + positions).to(device)
        return cls(positions.to(device), (ends - 1).to(device), slots, visible, shared, width, len(lengths))

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """(n_rows, heads, width, head_dim) of (n_tokens, heads, head_dim).

        Args:
            packed: of the rows' own tokens.
            before: (shared, heads, head_dim) of what all rows begin with; None for zeros.
        """
        if self.n_rows == 1 and self.shared == 0:
            return packed.transpose(0, 1)[None]
        heads, size = packed.shape[1:]
        grid = packed.new_zeros(self.n_rows * self.width, heads, size)
        grid[self.slots] = packed
        grid = grid.view(self.n_rows, self.width, heads, size)
        if before is not None:
            grid[:, : self.shared] = before
        return grid.transpose(1, 2)

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_tokens, heads, head_dim) causal attention; the rows are made square by unused queries."""
        mixed = F.scaled_dot_product_attention(
            self.spread(query, None), keys, values, is_causal=True, enable_gqa=True
        )
        return mixed.transpose(1, 2).reshape(-1, *mixed.shape[1::2])[self.slots]

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_rows, heads, head_dim) attention of the last positions."""
        mixed = F.scaled_dot_product_attention(
            query[:, :, None], keys, values, attn_mask=self.visible, enable_gqa=True
        )
        return mixed[:, :, 0]
