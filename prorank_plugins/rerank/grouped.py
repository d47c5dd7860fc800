"""Attention in float32 on a CPU, for rows of up to a thousand tokens: blocks of queries, as matrix products.

Query heads that share keys are stacked, so that products are taller; a block of queries looks at the keys up
to its own end only; and what all rows begin with asks nothing. Torch's attention makes rows square and
multiplies head by head, which no longer matters where rows are long: `Grouped.fits` leaves them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F

from prorank_plugins.rerank.attention import packing

_LONGEST = 1024
# Rows of a product: all heads of a group for this many queries, rounded up to whole queries.
_PRODUCT_ROWS = 96


@dataclass(frozen=True)
class Grouped:
    """Keys and values of whole rows, right-padded with some token of the row; see `Placement`.

    Attributes:
        positions, last, width: see `Placement`.
        own: (n_rows · longest,) packed index of each row's own tokens, its last one repeated as padding.
        whole: (n_rows · width,) likewise of whole rows; the shared part holds any index.
        slots: (n_tokens,) place of each token in ``own``.
        visible: (n_rows, 1, 1, width) what each row's last token may look at; None for a single row.
        shared, longest, n_rows: tokens of the shared part, most of a row's own, number of rows.
    """

    positions: torch.Tensor
    last: torch.Tensor
    own: torch.Tensor
    whole: torch.Tensor
    slots: torch.Tensor
    visible: torch.Tensor | None
    shared: int
    longest: int
    width: int
    n_rows: int

    @staticmethod
    def fits(lengths: Sequence[int], shared: int, device: torch.device, dtype: torch.dtype) -> bool:
        """Whether rows are better off here."""
        return device.type == "cpu" and dtype == torch.float32 and max(lengths) + shared <= _LONGEST

    @classmethod
    def of(cls, lengths: Sequence[int], shared: int) -> Grouped:
        """Rows with ``lengths`` tokens of their own after ``shared`` common ones."""
        sizes, longest = torch.tensor(lengths), max(lengths)
        row_of, positions, last = packing(sizes, shared)
        width = longest + shared
        starts, ends = (last + 1 - sizes)[:, None], last[:, None]
        visible = None
        if len(lengths) > 1:
            visible = (torch.arange(width) < (sizes + shared)[:, None])[:, None, None]
        return cls(
            positions=positions,
            last=last,
            own=torch.minimum(starts + torch.arange(longest), ends).flatten(),
            whole=torch.minimum(starts + (torch.arange(width) - shared).clamp_min(0), ends).flatten(),
            slots=row_of * longest + positions - shared,
            visible=visible,
            shared=shared,
            longest=longest,
            width=width,
            n_rows=len(lengths),
        )

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """(heads, n_rows, width, head_dim); see `Placement`."""
        heads, size = packed.shape[1:]
        grid = packed.transpose(0, 1).index_select(1, self.whole).view(heads, self.n_rows, self.width, size)
        if before is not None:
            grid[:, :, : self.shared] = before.transpose(0, 1)[:, None]
        return grid

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`."""
        heads, size = query.shape[1:]
        groups = len(keys)
        per_group = heads // groups
        # (groups · n_rows, longest · heads of a group, head_dim): heads of a query below each other.
        stacked = query.view(-1, groups, per_group, size).transpose(0, 1).index_select(1, self.own)
        stacked = stacked.mul_(size**-0.5).view(groups * self.n_rows, -1, size)
        keys, values = keys.flatten(0, 1).mT, values.flatten(0, 1)
        mixed = [
            self._block(stacked[:, start * per_group : end * per_group], keys, values, start, end)
            for start, end in _blocks(self.longest, per_group)
        ]
        rows = torch.cat(mixed, 1).view(groups, self.n_rows * self.longest, per_group, size)
        return rows.transpose(0, 1).index_select(0, self.slots).flatten(1, 2)

    def _block(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, end: int
    ) -> torch.Tensor:
        """What own tokens ``start`` to ``end`` of all rows mix."""
        seen = self.shared + end
        scores = torch.bmm(query, keys[..., :seen])
        ahead = torch.full((end - start, end - start), -torch.inf).triu_(1)
        scores[..., self.shared + start :] += ahead.repeat_interleave(query.shape[1] // (end - start), 0)
        return torch.bmm(scores.softmax(-1), values[:, :seen])

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`."""
        mixed = F.scaled_dot_product_attention(
            query[:, :, None],
            keys.transpose(0, 1),
            values.transpose(0, 1),
            attn_mask=self.visible,
            enable_gqa=True,
        )
        return mixed[:, :, 0]


def _blocks(longest: int, per_group: int) -> list[tuple[int, int]]:
    """Start and end of each block of queries, of about the same size."""
    n_blocks = -(-longest * per_group // _PRODUCT_ROWS)
    edges = [longest * number // n_blocks for number in range(n_blocks + 1)]
    return [(start, end) for start, end in pairwise(edges) if end > start]
