"""Our own forward pass: the part that is the same for every family of `prorank_plugins.rerank.families`.

Rows of a batch are *packed*: linear layers see the real tokens only, one after the other. What all rows
begin with is computed once. The last layer runs for the last position only, and no vocabulary logit is ever
computed: the score is one dot product with the difference of two rows of the output embedding, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank.attention import Kernel, Placement, find_kernel
from prorank_plugins.rerank.devices import keep_freed_memory
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.families import find_family
from prorank_plugins.rerank.families.stored import StoredWeights
from prorank_plugins.rerank.placing import place_rows
from prorank_plugins.rerank.weights import StoredTensors

# Rows of the output embedding that are held in float32 at a time.
_VOCABULARY_ROWS = 4_096


@dataclass(frozen=True)
class SharedPrefix:
    """Keys and values of the ids that all rows begin with.

    Attributes:
        keys, values: one (length, n_kv_heads, head_dim) tensor a layer.
        length: how many ids.
    """

    keys: list[torch.Tensor]
    values: list[torch.Tensor]
    length: int


class PackedModel:
    """A causal decoder that scores rows; a `ScoringModel`.

    Args:
        folder: with ``*.safetensors``.
        config: ``config.json`` of it, of a family that `find_family` finds.
        labels: ids of the answers.
        device: a torch device.
        dtype: a name in `prorank_plugins.rerank.devices.DTYPES`; int8 is approximate.
        kernel: attention of rows of varying length; None takes what torch has, if anything.

    Raises:
        ModelError: a weight is missing, of another shape than the configuration says, or not finite.
    """

    can_share = True

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        labels: Labels,
        device: torch.device,
        dtype: str,
        kernel: Kernel | None = None,
    ) -> None:
        make = find_family(config)
        assert make is not None
        self.device = device
        if device.type == "cpu":
            keep_freed_memory()
        try:
            self._family = make(config, StoredWeights(folder, StoredTensors(folder), device, dtype))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ModelError(f"{folder}/config.json lacks a size or holds a wrong one ({error!r})") from error
        self._answers = [label for label in (labels.positive, labels.negative) if label is not None]
        head = self._family.head
        if len(head.weight) <= max(self._answers):
            raise ModelError(
                f"{folder} has {len(head.weight)} tokens, its tokenizer more; they are of two models"
            )
        self._direction = self._difference(head.weight)
        self._offset = None if head.bias is None else self._difference(head.bias)
        parts = [self._direction] if self._offset is None else [self._direction, self._offset]
        if not all(bool(torch.isfinite(part).all()) for part in parts):
            raise ModelError(
                f"the output embedding of {folder} is not finite; download or export the model again"
            )

        self._kernel = kernel or self._find_kernel()

    @torch.inference_mode()
    def _find_kernel(self) -> Kernel | None:
        ids = torch.zeros(1, dtype=torch.long, device=self.device)
        hidden, prepared = self._family.embed(ids, ids), self._family.prepare(ids, 1)
        query, key, _ = self._family.last_attention_inputs(hidden, prepared, ids)
        return find_kernel(query, key)

    def _difference(self, rows: torch.Tensor) -> torch.Tensor:
        """Row of the positive answer less that of the negative one, in float32."""
        answers = rows[self._answers].to(self.device, torch.float32)
        return answers[0] - answers[1] if len(answers) == 2 else answers[0]

    @torch.inference_mode()
    def prefill(self, ids: Sequence[int]) -> SharedPrefix:
        """Keys and values of ``ids``; nothing after the last layer's keys is computed."""
        family = self._family
        place, hidden, prepared = self._start([ids], 0)
        keys: list[torch.Tensor] = []
        values: list[torch.Tensor] = []
        for number in range(family.n_layers - 1):
            query, key, value = family.attention_inputs(number, hidden, prepared)
            # Of their own, or the keys would keep what they are a part of.
            keys.append(key.contiguous())
            values.append(value.contiguous())
            mixed = place.attend(query, place.spread(key, None), place.spread(value, None))
            hidden = family.after_attention(number, hidden, mixed)
        _, key, value = family.last_attention_inputs(hidden, prepared, place.last)
        return SharedPrefix([*keys, key.contiguous()], [*values, value.contiguous()], len(ids))

    @torch.inference_mode()
    def score(self, rows: Sequence[Sequence[int]], shared: SharedPrefix | None = None) -> NDArray[np.float32]:
        """(n_rows,) scores; see `ScoringModel.score`."""
        difference = self._final(rows, shared) @ self._direction
        if self._offset is not None:
            difference += self._offset
        scores: NDArray[np.float32] = difference.cpu().numpy()
        return scores

    @torch.inference_mode()
    def answer_mass(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n_rows,) probability of the answers; the one place where the whole vocabulary is looked at."""
        final, head = self._final(rows, None), self._family.head
        parts = torch.split(head.weight, _VOCABULARY_ROWS)
        logits = torch.cat([final @ part.to(self.device, torch.float32).T for part in parts], -1)
        if head.bias is not None:
            logits += head.bias.to(self.device, torch.float32)
        mass: NDArray[np.float32] = logits.softmax(-1)[:, self._answers].sum(-1).cpu().numpy()
        return mass

    def _final(self, rows: Sequence[Sequence[int]], shared: SharedPrefix | None) -> torch.Tensor:
        """(n_rows, hidden) float32 states of the last positions, ready for the output embedding."""
        family = self._family
        place, hidden, prepared = self._start(rows, 0 if shared is None else shared.length)

        def spread(number: int, key: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            before = (None, None) if shared is None else (shared.keys[number], shared.values[number])
            return place.spread(key, before[0]), place.spread(value, before[1])

        for number in range(family.n_layers - 1):
            query, key, value = family.attention_inputs(number, hidden, prepared)
            mixed = place.attend(query, *spread(number, key, value))
            hidden = family.after_attention(number, hidden, mixed)
        query, key, value = family.last_attention_inputs(hidden, prepared, place.last)
        mixed = place.attend_last(query, *spread(family.n_layers - 1, key, value))
        hidden = family.after_attention(family.n_layers - 1, hidden[place.last], mixed)
        return family.final(hidden)

    def _start(self, rows: Sequence[Sequence[int]], shared: int) -> tuple[Placement, torch.Tensor, Any]:
        """Where the tokens of the rows are, their states before the first layer, their positions."""
        family = self._family
        ids = [token for row in rows for token in row]
        if max(ids) >= family.n_tokens:  # on a GPU an index out of bounds would end the process
            raise ModelError(
                f"the tokenizer gives the id {max(ids)}, the model has {family.n_tokens} tokens; "
                "the two are not of the same model"
            )
        place = place_rows([len(row) for row in rows], shared, self.device, family.dtype, self._kernel)
        if family.n_positions is not None and place.width > family.n_positions:
            raise ModelError(
                f"a row has {place.width} tokens, the model {family.n_positions} positions; lower max_length"
            )
        hidden = family.embed(torch.tensor(ids, device=self.device), place.positions)
        return place, hidden, family.prepare(place.positions, place.width)
