"""Qwen2, Qwen2.5 and Qwen3: RMS norms before each half of a layer, rotated positions, SwiGLU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from prorank_plugins.rerank.families.family import Head, cache_sized
from prorank_plugins.rerank.families.rms_norm import rms_norm
from prorank_plugins.rerank.families.rotary import neighbouring, rotate_, rotations
from prorank_plugins.rerank.families.stored import StoredWeights
from prorank_plugins.rerank.linear import Linear, Pair


def is_exact(config: Mapping[str, Any]) -> bool:
    """Whether `Qwen` computes a configuration exactly."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain_rope = rope.get("rope_type", rope.get("type", "default")) == "default"
    return (
        config.get("hidden_act", "silu") == "silu"
        and not config.get("use_sliding_window", False)
        and plain_rope
    )


@dataclass(frozen=True)
class _Layer:
    input_norm: torch.Tensor
    qkv: Linear  # of the last layer keys and values alone
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Pair
    down: Linear


class Qwen:
    """The layers of a Qwen2 or Qwen3 model; a `Family`.

    Args:
        config: ``config.json``.
        weights: named as transformers names them.
    """

    n_positions: int | None = None

    def __init__(self, config: Mapping[str, Any], weights: StoredWeights) -> None:
        self.n_layers = int(config["num_hidden_layers"])
        self.hidden = int(config["hidden_size"])
        self.wide = int(config["intermediate_size"])
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.head_dim = int(config.get("head_dim") or self.hidden // self.heads)
        if self.head_dim % 2:
            raise ValueError(f"head_dim {self.head_dim} is odd, and positions turn pairs of numbers")
        self.eps = float(config["rms_norm_eps"])
        rope = config.get("rope_parameters") or {}
        self.theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)
        weights = weights.within("model.")
        self.device, self.dtype = weights.device, weights.dtype
        self._layers = [self._layer(weights, number) for number in range(self.n_layers)]
        self._last_query = self._projections(weights, self.n_layers - 1, {"q": self.heads})
        # Kept as stored, which may be half as large: rows are converted when they are looked up.
        self.embedding = weights.stored("embed_tokens.weight", None, self.hidden).to(self.device)
        self.n_tokens = len(self.embedding)
        self.norm = weights.tensor("norm.weight", self.hidden)
        tied = config.get("tie_word_embeddings") or not weights.has("lm_head.weight")
        self.head = Head(
            self.embedding if tied else weights.stored("lm_head.weight", self.n_tokens, self.hidden)
        )
        self._turns = rotations(0, self.head_dim, self.theta).to(self.device)

    def _projections(self, weights: StoredWeights, number: int, heads: Mapping[str, int]) -> Linear:
        """What makes queries, keys or values: ``heads`` of each of the letters q, k and v."""
        names = {f"layers.{number}.self_attn.{letter}_proj": count for letter, count in heads.items()}
        rotated = {name for name in names if not name.endswith("v_proj")}
        # With one bias of a layer there have to be all three.
        biased = any(weights.has(f"layers.{number}.self_attn.{letter}_proj.bias") for letter in "qkv")
        return weights.linear(
            self.hidden,
            {name: count * self.head_dim for name, count in names.items()},
            list(names) if biased else (),
            lambda name, rows: neighbouring(rows, names[name]) if name in rotated else rows,
        )

    def _layer(self, weights: StoredWeights, number: int) -> _Layer:
        name = f"layers.{number}"
        heads = {"q": self.heads, "k": self.kv_heads, "v": self.kv_heads}
        if number == self.n_layers - 1:
            del heads["q"]
        output = f"{name}.self_attn.o_proj"

        def norm(part: str, size: int) -> torch.Tensor:
            return weights.tensor(f"{name}.{part}.weight", size)

        def head_norm(part: str) -> torch.Tensor | None:
            if not weights.has(f"{name}.{part}.weight"):
                return None
            return neighbouring(norm(part, self.head_dim), 1)

        return _Layer(
            input_norm=norm("input_layernorm", self.hidden),
            qkv=self._projections(weights, number, heads),
            query_norm=head_norm("self_attn.q_norm"),
            key_norm=head_norm("self_attn.k_norm"),
            output=weights.linear(
                self.heads * self.head_dim,
                {output: self.hidden},
                [output] if weights.has(f"{output}.bias") else (),
            ),
            mlp_norm=norm("post_attention_layernorm", self.hidden),
            gate_up=weights.pair(self.hidden, f"{name}.mlp.gate_proj", f"{name}.mlp.up_proj", self.wide),
            down=weights.after_pair(self.wide, f"{name}.mlp.down_proj", self.hidden),
        )

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        return self.embedding[ids].to(self.dtype)

    def prepare(self, positions: torch.Tensor, longest: int) -> torch.Tensor:
        """(n_tokens, 1, head_dim / 2, 2) rotations."""
        turns = self._turns  # another thread may put a table of another length there at any time
        if len(turns) < longest:
            turns = rotations(max(1024, 2 * longest), self.head_dim, self.theta).to(self.device)
            self._turns = turns
        return turns[positions]

    def attention_inputs(
        self, number: int, hidden: torch.Tensor, prepared: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Family`; queries and keys are rotated."""
        layer = self._layers[number]
        joined = layer.qkv(self._norm(hidden, layer.input_norm)).view(len(hidden), -1, self.head_dim)
        rotated, value = joined[:, : -self.kv_heads], joined[:, -self.kv_heads :]
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = rotated[:, : self.heads], rotated[:, self.heads :]
            rotated = torch.cat((self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)), 1)
        rotate_(rotated, prepared)
        return rotated[:, : self.heads], rotated[:, self.heads :], value

    def last_attention_inputs(
        self, hidden: torch.Tensor, prepared: torch.Tensor, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Family`."""
        layer = self._layers[-1]
        states = self._norm(hidden, layer.input_norm)
        query = self._last_query(states[last]).view(len(last), -1, self.head_dim)
        key, value = layer.qkv(states).view(len(hidden), -1, self.head_dim).chunk(2, 1)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = self._norm(query, layer.query_norm), self._norm(key, layer.key_norm)
        rotate_(query, prepared[last])
        rotate_(key, prepared)
        return query, key, value

    def after_attention(self, number: int, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        layer = self._layers[number]
        hidden = layer.output(mixed.reshape(len(hidden), -1)).add_(hidden)
        for part in cache_sized(hidden):
            gate, up = layer.gate_up(self._norm(part, layer.mlp_norm))
            part += layer.down(F.silu(gate, inplace=True).mul_(up))
        return hidden

    def final(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        return self._norm(hidden, self.norm).float()

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        return rms_norm(hidden, weight, self.eps)
