"""Our own forward pass for the Qwen2, Qwen2.5 and Qwen3 families.

Rows of a batch are *packed*: linear layers see the real tokens only, one after the other. Attention sees the
rows right-padded; being causal, no token looks at the padding. The last layer runs for the last position
only, and no vocabulary logit is ever computed: the score is one dot product with the difference of two rows
of the output embedding, in float32. The model of transformers is the oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.linear import Linear, make_linear
from prorank_plugins.rerank.weights import read_tensors

FAMILIES = ("qwen2", "qwen3")
# Most rows of the MLP computed at a time on a CPU: the wide intermediate stays in the cache.
_MLP_ROWS = 512
# Rows of the output embedding that are held in float32 at a time.
_VOCABULARY_ROWS = 16_384


def runs_packed(config: dict[str, Any]) -> bool:
    """Whether a configuration is one that this module computes exactly."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain_rope = rope.get("rope_type", rope.get("type", "default")) == "default"
    return (
        config.get("model_type") in FAMILIES
        and config.get("hidden_act", "silu") == "silu"
        and not config.get("use_sliding_window", False)
        and plain_rope
    )


@dataclass(frozen=True)
class _Layer:
    input_norm: torch.Tensor
    qkv: Linear
    query_norm: torch.Tensor | None
    key_norm: torch.Tensor | None
    output: Linear
    mlp_norm: torch.Tensor
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class SharedPrefix:
    """Keys and values of the ids that all rows begin with.

    Attributes:
        keys, values: one (n_kv_heads, length, head_dim) tensor a layer.
        length: how many ids.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int


class PackedModel:
    """A Qwen2 or Qwen3 decoder that scores rows; a `ScoringModel`.

    Args:
        folder: with ``*.safetensors``.
        config: ``config.json`` of it.
        labels: ids of the answers.
        device: a torch device.
        dtype: a name in `prorank_plugins.rerank.devices.DTYPES`; int8 is approximate.

    Raises:
        ModelError: a weight is missing, or not finite.
    """

    can_share = True

    def __init__(
        self, folder: Path, config: dict[str, Any], labels: Labels, device: torch.device, dtype: str
    ) -> None:
        self.device = device
        self.dtype = torch.float32 if dtype == "int8" else getattr(torch, dtype)
        try:
            self._read_sizes(config)
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{folder}/config.json lacks a size or holds a wrong one ({error!r})") from error
        weights = dict(read_tensors(folder))
        self._layers = [self._layer(weights, number, dtype == "int8") for number in range(self.n_layers)]
        # Kept as stored, which may be half as large: rows are converted when they are looked up.
        self.embedding = self._take(weights, "embed_tokens.weight").to(device)
        _check_width("embed_tokens", self.embedding, 1, self.hidden)
        self.norm = self._take(weights, "norm.weight").to(device, self.dtype)
        head = None if config.get("tie_word_embeddings") else weights.get("lm_head.weight")
        head = self.embedding if head is None else head
        self._answers = [label for label in (labels.positive, labels.negative) if label is not None]
        if len(head) <= max(self._answers):
            raise ModelError(f"{folder} has {len(head)} tokens, its tokenizer more; they are of two models")
        rows = head[self._answers].to(device, torch.float32)
        self.direction = rows[0] - rows[1] if len(rows) == 2 else rows[0]
        if not bool(torch.isfinite(self.direction).all()):
            raise ModelError(
                f"the output embedding of {folder} is not finite; download or export the model again"
            )
        self._head = head
        self._rope = self._rope_table(0)

    def _read_sizes(self, config: dict[str, Any]) -> None:
        self.n_layers = int(config["num_hidden_layers"])
        self.hidden = int(config["hidden_size"])
        self.heads = int(config["num_attention_heads"])
        self.kv_heads = int(config.get("num_key_value_heads") or self.heads)
        self.head_dim = int(config.get("head_dim") or self.hidden // self.heads)
        self.eps = float(config["rms_norm_eps"])
        rope = config.get("rope_parameters") or {}
        self.theta = float(rope.get("rope_theta") or config.get("rope_theta") or 10_000.0)

    def _take(self, weights: dict[str, torch.Tensor], name: str) -> torch.Tensor:
        found = weights.get(f"model.{name}", weights.get(name))
        if found is None:
            raise ModelError(f"the weights lack {name}; download or export the model again")
        return found

    def _layer(self, weights: dict[str, torch.Tensor], number: int, int8: bool) -> _Layer:
        def take(name: str, required: bool = True) -> torch.Tensor | None:
            full = f"layers.{number}.{name}"
            if not required and f"model.{full}" not in weights and full not in weights:
                return None
            return self._take(weights, full).to(self.device, self.dtype)

        def fused(names: Sequence[str]) -> Linear:
            stored = [self._take(weights, f"layers.{number}.{name}.weight") for name in names]
            if len(stored) == 1:
                weight = stored[0].to(self.device, self.dtype)
            else:  # joined and converted in one step, without a copy between
                size = (sum(map(len, stored)), *stored[0].shape[1:])
                weight = torch.cat(stored, out=torch.empty(size, dtype=self.dtype)).to(self.device)
            biases = [take(f"{name}.bias", required=False) for name in names]
            bias = None if biases[0] is None else torch.cat([part for part in biases if part is not None])
            return make_linear(weight, bias, int8)

        input_norm, mlp_norm = take("input_layernorm.weight"), take("post_attention_layernorm.weight")
        assert input_norm is not None
        assert mlp_norm is not None
        for name, heads in (("q", self.heads), ("k", self.kv_heads), ("v", self.kv_heads)):
            projection = self._take(weights, f"layers.{number}.self_attn.{name}_proj.weight")
            _check_width(f"{name}_proj", projection, 0, heads * self.head_dim)
        return _Layer(
            input_norm=input_norm,
            qkv=fused([f"self_attn.{name}_proj" for name in "qkv"]),
            query_norm=take("self_attn.q_norm.weight", required=False),
            key_norm=take("self_attn.k_norm.weight", required=False),
            output=fused(["self_attn.o_proj"]),
            mlp_norm=mlp_norm,
            gate_up=fused(["mlp.gate_proj", "mlp.up_proj"]),
            down=fused(["mlp.down_proj"]),
        )

    def _rope_table(self, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(length, head_dim) cosines and sines."""
        even = torch.arange(0, self.head_dim, 2, dtype=torch.float32) / self.head_dim
        angles = torch.outer(torch.arange(length, dtype=torch.float32), 1.0 / self.theta**even)
        angles = torch.cat((angles, angles), 1)
        return angles.cos().to(self.device, self.dtype), angles.sin().to(self.device, self.dtype)

    def _rope_at(self, positions: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        table = self._rope  # another thread may put a table of another length there at any time
        if len(table[0]) < longest:
            table = self._rope = self._rope_table(max(1024, 2 * longest))
        cos, sin = table
        return cos[positions][:, None], sin[positions][:, None]  # (n_tokens, 1, head_dim)

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> SharedPrefix:
        """Keys and values of ``ids``; nothing after the last layer's keys is computed."""
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        n = len(ids)
        hidden = self._embed(ids)
        rope = self._rope_at(torch.arange(n, device=self.device), n)
        for number, layer in enumerate(self._layers):
            query, key, value = self._qkv(layer, hidden, rope)
            keys.append(key.transpose(0, 1).contiguous())
            values.append(value.transpose(0, 1).contiguous())
            if number < len(self._layers) - 1:
                mixed = F.scaled_dot_product_attention(
                    query.transpose(0, 1)[None],
                    keys[-1][None],
                    values[-1][None],
                    is_causal=True,
                    enable_gqa=True,
                )[0]
                hidden = self._after_attention(layer, hidden, mixed.transpose(0, 1))
        return SharedPrefix(keys, values, n)

    @torch.inference_mode()
    def score(self, rows: Sequence[Sequence[int]], shared: SharedPrefix | None = None) -> NDArray[np.float32]:
        """(n_rows,) scores; see `ScoringModel.score`."""
        last = self._last_hidden(rows, shared)
        scores: NDArray[np.float32] = (last @ self.direction).cpu().numpy()
        return scores

    @torch.inference_mode()
    def answer_mass(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n_rows,) probability of the answers; the one place where the whole vocabulary is looked at."""
        last = self._last_hidden(rows, None)
        parts = self._head.split(_VOCABULARY_ROWS)
        logits = torch.cat([last @ part.to(self.device, torch.float32).T for part in parts], -1)
        mass: NDArray[np.float32] = logits.softmax(-1)[:, self._answers].sum(-1).cpu().numpy()
        return mass

    def _last_hidden(self, rows: Sequence[Sequence[int]], shared: SharedPrefix | None) -> torch.Tensor:
        """(n_rows, hidden) normalised states of the last positions in float32."""
        place = _Placement.of([len(row) for row in rows], 0 if shared is None else shared.length, self.device)
        hidden = self._embed([token for row in rows for token in row])
        rope = self._rope_at(place.positions, place.width)
        for number, layer in enumerate(self._layers):
            query, key, value = self._qkv(layer, hidden, rope)
            keys = place.spread(key, None if shared is None else shared.keys[number])
            values = place.spread(value, None if shared is None else shared.values[number])
            if number < len(self._layers) - 1:
                hidden = self._after_attention(layer, hidden, place.attend(query, keys, values))
            else:
                mixed = place.attend_last(query[place.last], keys, values)
                hidden = self._after_attention(layer, hidden[place.last], mixed)
        return _rms_norm(hidden, self.norm, self.eps).float()

    def _embed(self, ids: Sequence[int]) -> torch.Tensor:
        if max(ids) >= len(self.embedding):  # on a GPU an index out of bounds would end the process
            raise ModelError(
                f"the tokenizer gives the id {max(ids)}, the model has {len(self.embedding)} tokens; "
                "the two are not of the same model"
            )
        return self.embedding[torch.tensor(ids, device=self.device)].to(self.dtype)

    def _qkv(
        self, layer: _Layer, hidden: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(n_tokens, heads, head_dim) queries, keys and values, rotated."""
        n = len(hidden)
        sizes = (self.heads * self.head_dim, self.kv_heads * self.head_dim, self.kv_heads * self.head_dim)
        query, key, value = layer.qkv(_rms_norm(hidden, layer.input_norm, self.eps)).split(sizes, -1)
        query, key = query.view(n, self.heads, self.head_dim), key.view(n, self.kv_heads, self.head_dim)
        if layer.query_norm is not None and layer.key_norm is not None:
            query, key = (
                _rms_norm(query, layer.query_norm, self.eps),
                _rms_norm(key, layer.key_norm, self.eps),
            )
        return _rotate(query, rope), _rotate(key, rope), value.view(n, self.kv_heads, self.head_dim)

    def _after_attention(self, layer: _Layer, hidden: torch.Tensor, mixed: torch.Tensor) -> torch.Tensor:
        hidden = layer.output(mixed.reshape(len(hidden), -1)).add_(hidden)
        n_parts = -(-len(hidden) // _MLP_ROWS) if self.device.type == "cpu" else 1
        for part in hidden.tensor_split(n_parts):
            part += self._mlp(layer, part)
        return hidden

    def _mlp(self, layer: _Layer, hidden: torch.Tensor) -> torch.Tensor:
        gate, up = layer.gate_up(_rms_norm(hidden, layer.mlp_norm, self.eps)).chunk(2, -1)
        return layer.down(F.silu(gate, inplace=True).mul_(up))


@dataclass(frozen=True)
class _Placement:
    """Where packed tokens sit in the grid of right-padded rows.

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
    def of(cls, lengths: Sequence[int], shared: int, device: torch.device) -> _Placement:
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
        """(n_rows, heads, width, head_dim) of (n_tokens, heads, head_dim), after what all rows share."""
        if self.n_rows == 1 and before is None:
            return packed.transpose(0, 1)[None]
        if self.n_rows == 1 and before is not None:
            return torch.cat((before, packed.transpose(0, 1)), 1)[None]
        heads, size = packed.shape[1:]
        grid = packed.new_zeros(self.n_rows * self.width, heads, size)
        grid[self.slots] = packed
        grid = grid.view(self.n_rows, self.width, heads, size)
        if before is not None:
            grid[:, : self.shared] = before.transpose(0, 1)
        return grid.transpose(1, 2)

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_tokens, heads, head_dim) causal attention; the rows are made square by unused queries."""
        unused = None if self.shared == 0 else query.new_zeros(query.shape[1], self.shared, query.shape[2])
        mixed = F.scaled_dot_product_attention(
            self.spread(query, unused), keys, values, is_causal=True, enable_gqa=True
        )
        return mixed.transpose(1, 2).reshape(-1, *mixed.shape[1::2])[self.slots]

    def attend_last(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """(n_rows, heads, head_dim) attention of the last positions."""
        mixed = F.scaled_dot_product_attention(
            query[:, :, None], keys, values, attn_mask=self.visible, enable_gqa=True
        )
        return mixed[:, :, 0]


def _check_width(name: str, weight: torch.Tensor, axis: int, expected: int) -> None:
    if weight.shape[axis] != expected:
        raise ModelError(
            f"{name} has shape {tuple(weight.shape)}, config.json asks for {expected} at place {axis}; "
            "download or export the model again"
        )


def _rms_norm(hidden: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    return F.rms_norm(hidden, (hidden.shape[-1],), weight, eps)


def _rotate(states: torch.Tensor, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cos, sin = rope
    left, right = states.chunk(2, -1)
    return states * cos + torch.cat((-right, left), -1) * sin
