"""Attention in float32 on a CPU, for rows of up to a thousand tokens: blocks of queries, as matrix products.

Query heads that share keys are stacked, so that products are taller; a block of queries looks at the keys up
to its own end only; and what all rows begin with asks nothing. Torch's attention makes rows square and
multiplies head by head, which no longer matters where rows are long: `Grouped.fits` leaves them to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F

from prorank_plugins.rerank.attention import packing

_LONGEST = 1024
# Rows of a product: all heads of a group for this many queries, rounded up to whole queries.
_PRODUCT_ROWS = 96
# Numbers of a cache line.
_LINE = 16


@dataclass(frozen=True)
class Grouped:
    """Keys and values of whole rows, right-padded with some token of the row; see `Placement`.

    Attributes:
        positions, last, width: see `Placement`.
        own: (n_rows · longest,) packed index of each row's own tokens, its last one repeated as padding.
        whole: (n_rows · padded,) likewise of whole rows, up to whole cache lines; the shared part holds any
            index.
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
        padded = -(-width // _LINE) * _LINE
        starts, ends = (last + 1 - sizes)[:, None], last[:, None]
        visible = None
        if len(lengths) > 1:
            visible = (torch.arange(width) < (sizes + shared)[:, None])[:, None, None]
        return cls(
            positions=positions,
            last=last,
            own=torch.minimum(starts + torch.arange(longest), ends).flatten(),
            whole=torch.minimum(starts + (torch.arange(padded) - shared).clamp_min(0), ends).flatten(),
            slots=row_of * longest + positions - shared,
            visible=visible,
            shared=shared,
            longest=longest,
            width=width,
            n_rows=len(lengths),
        )

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """(heads, n_rows, width in whole cache lines, head_dim); see `Placement`."""
        heads, size = packed.shape[1:]
        grid = packed.transpose(0, 1).index_select(1, self.whole).view(heads, self.n_rows, -1, size)
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
        stacked = stacked.view(groups * self.n_rows, -1, size)
        # Turned, as one matrix, products are faster by a third; and keys are fewer to scale than queries.
        turned = keys.reshape(-1, size).t().contiguous().mul_(size**-0.5)
        turned = turned.view(size, len(stacked), -1).transpose(0, 1)
        values = values.flatten(0, 1)
        mixed = [
            self._block(stacked[:, start * per_group : end * per_group], turned, values, start, end)
            for start, end in _blocks(self.longest, per_group, self.shared)
        ]
        rows = torch.cat(mixed, 1).view(groups, self.n_rows * self.longest, per_group, size)
        return rows.transpose(0, 1).index_select(0, self.slots).flatten(1, 2)

    def _block(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, end: int
    ) -> torch.Tensor:
        """What own tokens ``start`` to ``end`` of all rows mix."""
        seen = self.shared + end
        scores = torch.bmm(query, keys[..., :seen])
        scores[..., self.shared + start :] += _ahead(end - start, query.shape[1] // (end - start))
        return torch.bmm(scores.softmax(-1), values[:, :seen])

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`."""
        mixed = F.scaled_dot_product_attention(
            query[:, :, None],
            keys[:, :, : self.width].transpose(0, 1),
            values[:, :, : self.width].transpose(0, 1),
            attn_mask=self.visible,
            enable_gqa=True,
        )
        return mixed[:, :, 0]


def _blocks(longest: int, per_group: int, shared: int) -> list[tuple[int, int]]:
    """Start and end of each block of queries; all but the last see whole cache lines of keys."""
    n_queries = max(_LINE, _PRODUCT_ROWS // per_group // _LINE * _LINE)
    edges = [0, *range(n_queries - shared % _LINE, longest, n_queries), longest]
    return list(pairwise(edges))


@cache
def _ahead(n_queries: int, per_group: int) -> torch.Tensor:
    """(n_queries · per_group, n_queries) minus infinity where a query of a block would look ahead."""
    return torch.full((n_queries, n_queries), -torch.inf).triu_(1).repeat_interleave(per_group, 0)
