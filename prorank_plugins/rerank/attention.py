"""Attention over packed rows, each of which may begin with what all of them share.

Two ways to the same numbers: `Rectangle` pads rows on the right and runs anywhere; `Ragged` gives the packed
tokens as they are to a kernel for rows of varying length, on CUDA in half precision. Which one runs is found
out on the machine (`find_kernel`): not a kernel that is missing or aligns its causal mask otherwise. A third,
for float32 on a CPU, is `prorank_plugins.rerank.grouped`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import torch
import torch.nn.functional as F

from prorank_plugins.core.extras import require

_LOG = logging.getLogger(__name__)

Kernel: TypeAlias = Callable[..., torch.Tensor]
"""Called like `torch.nn.attention.varlen.varlen_attn`."""

# Half precision rounds each sum of products: of numbers about 1, to three digits.
_AGREES = 0.02


class Placement(Protocol):
    """Where the tokens of a batch are, and how they look at each other.

    Attributes:
        positions: (n_tokens,) position of each token in its whole row.
        last: (n_rows,) packed index of each row's last token.
        width: length of the longest whole row.
    """

    @property
    def positions(self) -> torch.Tensor:
        """See above."""
        ...

    @property
    def last(self) -> torch.Tensor:
        """See above."""
        ...

    @property
    def width(self) -> int:
        """See above."""
        ...

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """Keys or values of whole rows, laid out as the other methods take them.

        Args:
            packed: (n_tokens, heads, head_dim) of the rows' own tokens.
            before: (shared, heads, head_dim) of what all rows begin with; None for nothing.
        """
        ...

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_tokens, heads, head_dim) causal attention of all own tokens.

        Args:
            query: (n_tokens, heads, head_dim).
            keys: from `spread`.
            values: likewise.
        """
        ...

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_rows, heads, head_dim) attention of each row's last token; ``query`` holds those alone."""
        ...


@dataclass(frozen=True)
class Rectangle:
    """Packed tokens in a grid of right-padded rows; being causal, no token looks at the padding.

    Attributes:
        positions, last, width: see `Placement`.
        slots: (n_tokens,) place of each token among n_rows · width.
        visible: (n_rows, 1, 1, width) what each row's last token may look at; None for a single row.
        shared, n_rows: length of the shared part, number of rows.
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
        """Rows with ``lengths`` tokens of their own after ``shared`` common ones."""
        sizes = torch.tensor(lengths)
        row_of, positions, last = packing(sizes, shared)
        width = max(lengths) + shared
        visible = None
        if len(lengths) > 1:
            visible = (torch.arange(width)[None] < (sizes + shared)[:, None])[:, None, None].to(device)
        slots = (row_of * width + positions).to(device)
        return cls(positions.to(device), last.to(device), slots, visible, shared, width, len(lengths))

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """(n_rows, heads, width, head_dim); see `Placement`."""
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
        """See `Placement`; the rows are made square by unused queries."""
        mixed = F.scaled_dot_product_attention(
            self.spread(query, None), keys, values, is_causal=True, enable_gqa=True
        )
        return mixed.transpose(1, 2).reshape(-1, *mixed.shape[1::2])[self.slots]

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`."""
        mixed = F.scaled_dot_product_attention(
            query[:, :, None], keys, values, attn_mask=self.visible, enable_gqa=True
        )
        return mixed[:, :, 0]


@dataclass(frozen=True)
class Ragged:
    """Packed tokens as they are; whole rows of keys one after the other, the shared part copied into each.

    Attributes:
        positions, last, width: see `Placement`.
        kernel: attention of rows of varying length.
        own, common: (n_tokens,) and (n_rows · shared,) places of the rows' own and of the shared keys.
        query_ends, key_ends, single_ends: (n_rows + 1,) int32 sums of the lengths of own tokens, whole rows,
            and rows of one token, from 0.
        longest_query: most own tokens of a row.
    """

    positions: torch.Tensor
    last: torch.Tensor
    kernel: Kernel
    own: torch.Tensor
    common: torch.Tensor
    query_ends: torch.Tensor
    key_ends: torch.Tensor
    single_ends: torch.Tensor
    longest_query: int
    width: int

    @classmethod
    def of(cls, lengths: Sequence[int], shared: int, device: torch.device, kernel: Kernel) -> Ragged:
        """Rows with ``lengths`` tokens of their own after ``shared`` common ones."""
        sizes = torch.tensor(lengths)
        row_of, positions, last = packing(sizes, shared)
        starts = (sizes + shared).cumsum(0) - (sizes + shared)

        def sums(counts: torch.Tensor) -> torch.Tensor:
            return F.pad(counts.cumsum(0), (1, 0)).to(device, torch.int32)

        return cls(
            positions=positions.to(device),
            last=last.to(device),
            kernel=kernel,
            own=(starts[row_of] + positions).to(device),
            common=(starts[:, None] + torch.arange(shared)).flatten().to(device),
            query_ends=sums(sizes),
            key_ends=sums(sizes + shared),
            single_ends=sums(torch.ones_like(sizes)),
            longest_query=max(lengths),
            width=max(lengths) + shared,
        )

    def spread(self, packed: torch.Tensor, before: torch.Tensor | None) -> torch.Tensor:
        """(total length of whole rows, heads, head_dim); see `Placement`."""
        if before is None:
            return packed
        whole = packed.new_empty(len(self.own) + len(self.common), *packed.shape[1:])
        whole[self.own] = packed
        whole[self.common] = before.repeat(len(self.last), 1, 1)
        return whole

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`; the last query of a row is aligned with its last key."""
        return self._call(query, keys, values, self.query_ends, self.longest_query, (-1, 0))

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """See `Placement`; a row's last token may look at all of it."""
        return self._call(query, keys, values, self.single_ends, 1, (-1, -1))

    def _call(
        self,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        ends: torch.Tensor,
        longest: int,
        window: tuple[int, int],
    ) -> torch.Tensor:
        return self.kernel(
            query, keys, values, ends, self.key_ends, longest, self.width,
            window_size=window, enable_gqa=query.shape[1] != keys.shape[1],
        )  # fmt: skip


def packing(sizes: torch.Tensor, shared: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row and position of each packed token, and the packed index of each row's last one."""
    row_of = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
    ends = sizes.cumsum(0)
    positions = torch.arange(int(ends[-1])) - (ends - sizes)[row_of] + shared
    return row_of, positions, ends - 1


def find_kernel(query: torch.Tensor, key: torch.Tensor) -> Kernel | None:
    """The kernel of torch for rows of varying length, where it is to be had and gives what `Rectangle` gives.

    Args:
        query: (n_tokens, heads, head_dim) states of the model, on its device and in its number format.
        key: likewise; perhaps of fewer heads.
    """
    if query.device.type != "cuda" or query.dtype not in (torch.bfloat16, torch.float16):
        return None
    try:
        kernel: Kernel = require("torch.nn.attention.varlen", "rerank", "Attention").varlen_attn
    except (ImportError, AttributeError):
        return None
    return kernel if agrees(kernel, query, key) else None


def agrees(kernel: Kernel, query: torch.Tensor, key: torch.Tensor) -> bool:
    """Whether a kernel gives what `Rectangle` gives for two rows behind a shared beginning.

    Args:
        kernel: to be tried.
        query: (n_tokens, heads, head_dim), for number format, device and shape.
        key: likewise.
    """
    lengths, shared = [5, 2], 3
    states = torch.Generator().manual_seed(0)

    def some(count: int, like: torch.Tensor) -> torch.Tensor:
        return torch.randn(count, *like.shape[1:], generator=states).to(like.device, like.dtype)

    queries, keys, values = some(7, query), some(7, key), some(7, key)
    shared_keys, shared_values = some(shared, key), some(shared, key)

    def run(place: Any) -> torch.Tensor:
        all_keys, all_values = place.spread(keys, shared_keys), place.spread(values, shared_values)
        whole = place.attend(queries, all_keys, all_values)
        last = place.attend_last(queries[place.last], all_keys, all_values)
        return torch.cat((whole, last)).float()

    try:
        found = run(Ragged.of(lengths, shared, query.device, kernel))
    except Exception as error:
        # What a kernel raises that does not know a head size, a processor or an argument is its own affair.
        _LOG.info("no attention kernel for rows of varying length (%s)", error)
        return False
    expected = run(Rectangle.of(lengths, shared, query.device))
    return bool((found - expected).abs().max() < _AGREES)
