"""What a model family computes; packing, attention and the score are the same for all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch

# Most rows of the MLP computed at a time on a CPU: a bound on memory. Fewer rows make slower products.
_MLP_ROWS = 1024


@dataclass(frozen=True)
class Head:
    """The output embedding: ``logits = final · weightᵀ + bias``.

    Attributes:
        weight: (n_tokens, hidden) as stored.
        bias: (n_tokens,) as stored, or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None = None


class Family(Protocol):
    """The layers of a causal decoder over packed tokens.

    Attributes:
        dtype: of the states.
        n_layers: how many.
        n_tokens: rows of the embedding.
        n_positions: the longest row there are positions for; None for any.
        head: what turns final states to logits.
    """

    dtype: torch.dtype
    n_layers: int
    n_tokens: int
    n_positions: int | None
    head: Head

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """(n_tokens, hidden) states before the first layer."""
        ...

    def prepare(self, positions: torch.Tensor, longest: int) -> Any:
        """What all layers need of the positions, all below ``longest``: rotations, say, or nothing."""
        ...

    def attention_inputs(
        self, number: int, hidden: torch.Tensor, prepared: Any
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(n_tokens, heads, head_dim) queries, keys and values of a layer; keys may have fewer heads.

        Never asked of the last layer.
        """
        ...

    def last_attention_inputs(
        self, hidden: torch.Tensor, prepared: Any, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The same of the last layer, with (n_rows, heads, head_dim) queries of the tokens ``last`` alone."""
        ...

    def after_attention(self, number: int, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """(n_tokens, hidden) states after a layer, from those before it and what attention mixed."""
        ...

    def final(self, hidden: torch.Tensor) -> torch.Tensor:
        """(n_rows, hidden) float32 states that `head` is applied to."""
        ...


def cache_sized(hidden: torch.Tensor) -> Iterator[torch.Tensor]:
    """Parts of the rows that go through an MLP one after the other; views."""
    n_parts = -(-len(hidden) // _MLP_ROWS) if hidden.device.type == "cpu" else 1
    yield from torch.tensor_split(hidden, n_parts)
