"""BERT as a causal decoder (transformers' BertLMHeadModel with ``is_decoder``).

Learned positions, layer norms after each half of a layer, biases everywhere, the exact GELU, and a head
that transforms the state before the output embedding:
``logits = LayerNorm(gelu(h · Aᵀ + a)) · Wᵀ + b``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from prorank_plugins.rerank.families.family import Head, cache_sized
from prorank_plugins.rerank.families.stored import StoredWeights
from prorank_plugins.rerank.linear import Linear


def is_exact(config: Mapping[str, Any]) -> bool:
    """Whether `Bert` computes a configuration exactly.

    Without ``is_decoder`` the model is an encoder, whose tokens look at what follows them.
    """
    return (
        config.get("is_decoder") is True
        and config.get("hidden_act", "gelu") == "gelu"
        and not config.get("add_cross_attention", False)
        and config.get("position_embedding_type", "absolute") == "absolute"
    )


@dataclass(frozen=True)
class _Norm:
    weight: torch.Tensor
    bias: torch.Tensor
    eps: float

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(hidden, (hidden.shape[-1],), self.weight, self.bias, self.eps)


@dataclass(frozen=True)
class _Layer:
    qkv: Linear  # of the last layer keys and values alone
    output: Linear
    attention_norm: _Norm
    up: Linear
    down: Linear
    mlp_norm: _Norm


class Bert:
    """The layers of a BERT decoder; a `Family`.

    Args:
        config: ``config.json``.
        weights: named as ``BertLMHeadModel.save_pretrained`` names them.
    """

    def __init__(self, config: Mapping[str, Any], weights: StoredWeights) -> None:
        self.n_layers = int(config["num_hidden_layers"])
        self.hidden = int(config["hidden_size"])
        self.wide = int(config["intermediate_size"])
        self.heads = int(config["num_attention_heads"])
        self.n_positions: int | None = int(config["max_position_embeddings"])
        self.eps = float(config.get("layer_norm_eps", 1e-12))
        if self.hidden % self.heads:
            raise ValueError(f"hidden_size {self.hidden} is no multiple of {self.heads} heads")
        weights = weights.within("bert.")
        self.dtype = weights.dtype
        # Kept as stored, which may be half as large: rows are converted when they are looked up.
        self.embedding = weights.stored("embeddings.word_embeddings.weight", None, self.hidden)
        self.embedding = self.embedding.to(weights.device)
        self.n_tokens = len(self.embedding)
        positions = weights.tensor("embeddings.position_embeddings.weight", self.n_positions, self.hidden)
        types = weights.tensor("embeddings.token_type_embeddings.weight", None, self.hidden)
        self._places = positions + types[0]  # every token is of the first type
        self._embedding_norm = self._norm(weights, "embeddings.LayerNorm")
        self._layers = [self._layer(weights, number) for number in range(self.n_layers)]
        self._last_query = self._linear(
            weights, self.n_layers - 1, self.hidden, self.hidden, "attention.self.query"
        )
        self._read_head(weights, tied=bool(config.get("tie_word_embeddings", True)))

    def _read_head(self, weights: StoredWeights, tied: bool) -> None:
        def exact(name: str, *shape: int) -> torch.Tensor:
            # A single state a row goes through the transform: float32 costs nothing here.
            return weights.stored(name, *shape).to(weights.device, torch.float32)

        head, transform = "cls.predictions", "cls.predictions.transform"
        self._dense = exact(f"{transform}.dense.weight", self.hidden, self.hidden)
        self._dense_bias = exact(f"{transform}.dense.bias", self.hidden)
        self._head_norm = _Norm(
            exact(f"{transform}.LayerNorm.weight", self.hidden),
            exact(f"{transform}.LayerNorm.bias", self.hidden),
            self.eps,
        )
        decoder = self.embedding
        if not tied:
            decoder = weights.stored(f"{head}.decoder.weight", self.n_tokens, self.hidden)
        self.head = Head(decoder, weights.stored(f"{head}.bias", self.n_tokens))

    def _norm(self, weights: StoredWeights, name: str) -> _Norm:
        weight, bias = (weights.tensor(f"{name}.{part}", self.hidden) for part in ("weight", "bias"))
        return _Norm(weight, bias, self.eps)

    def _linear(self, weights: StoredWeights, number: int, n_in: int, n_out: int, *parts: str) -> Linear:
        outputs = {f"encoder.layer.{number}.{part}": n_out for part in parts}
        return weights.linear(n_in, outputs, list(outputs))

    def _layer(self, weights: StoredWeights, number: int) -> _Layer:
        name = f"encoder.layer.{number}"
        linear = partial(self._linear, weights, number)
        attention = [f"attention.self.{part}" for part in ("query", "key", "value")]
        if number == self.n_layers - 1:
            del attention[0]
        return _Layer(
            qkv=linear(self.hidden, self.hidden, *attention),
            output=linear(self.hidden, self.hidden, "attention.output.dense"),
            attention_norm=self._norm(weights, f"{name}.attention.output.LayerNorm"),
            up=linear(self.hidden, self.wide, "intermediate.dense"),
            down=linear(self.wide, self.hidden, "output.dense"),
            mlp_norm=self._norm(weights, f"{name}.output.LayerNorm"),
        )

    def embed(self, ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        return self._embedding_norm(self.embedding[ids].to(self.dtype) + self._places[positions])

    def prepare(self, positions: torch.Tensor, longest: int) -> None:
        """Nothing: positions are part of the embedding."""

    def attention_inputs(
        self, number: int, hidden: torch.Tensor, prepared: None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Family`."""
        joined = self._layers[number].qkv(hidden).view(len(hidden), 3, self.heads, -1)
        return joined[:, 0], joined[:, 1], joined[:, 2]

    def last_attention_inputs(
        self, hidden: torch.Tensor, prepared: None, last: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See `Family`."""
        query = self._last_query(hidden[last]).view(len(last), self.heads, -1)
        key, value = self._layers[-1].qkv(hidden).view(len(hidden), 2, self.heads, -1).unbind(1)
        return query, key, value

    def after_attention(self, number: int, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        layer = self._layers[number]
        hidden = layer.attention_norm(layer.output(mixed.reshape(len(hidden), -1)).add_(hidden))
        for part in cache_sized(hidden):
            part.copy_(layer.mlp_norm(layer.down(F.gelu(layer.up(part))).add_(part)))
        return hidden

    def final(self, hidden: torch.Tensor) -> torch.Tensor:
        """See `Family`."""
        return self._head_norm(F.gelu(F.linear(hidden.float(), self._dense, self._dense_bias)))
