"""Attention for mixed precision on CPUs, where two products of matrices are the fastest way back.

The fused kernel's backward pass does not use the CPU's bfloat16 units, and transformers' own plain attention
adds a float32 mask to bfloat16 weights, which converts all of them there and back.
"""

from __future__ import annotations

from typing import Any

import torch

from prorank_plugins.core.extras import require

NAME = "prorank_products"


def register() -> str:
    """Make the attention known to transformers; its name."""
    library = require("transformers", "train", "Training")
    masks = require("transformers.masking_utils", "train", "Training")
    library.AttentionInterface.register(NAME, _attend)
    library.AttentionMaskInterface.register(NAME, masks.sdpa_mask)
    return NAME


def _attend(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """(n_rows, length, n_heads, head_dim) of (n_rows, n_heads, length, head_dim) queries, keys and values.

    Args:
        module: the layer, which says whether it is training.
        query: of every position.
        key: of every position, perhaps of fewer heads.
        value: likewise.
        attention_mask: bool, True where a query may look; None for causal.
        scaling: of the products; None for ``head_dim ** -0.5``.
        dropout: share of weights left out in training.
        options: of other attentions; a cap of the products is honoured.
    """
    shared = query.shape[1] // key.shape[1]
    if shared > 1:
        key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    with torch.autocast(query.device.type, enabled=False):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        # Rotated queries and keys may have been promoted to float32.
        products = torch.matmul((query * scale).to(value.dtype), key.to(value.dtype).transpose(2, 3))
        if options.get("softcap"):
            products = torch.tanh(products / options["softcap"]) * options["softcap"]
        if attention_mask is None:
            length = query.shape[2]
            attention_mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        products = products.masked_fill_(~attention_mask, torch.finfo(products.dtype).min)
        weights = torch.nn.functional.dropout(products.softmax(-1), dropout, module.training)
        return torch.matmul(weights, value).transpose(1, 2).contiguous(), None
