"""Logits after each row's last token, whatever a model of transformers has around its output embedding.

Most families multiply the last state by the output embedding, and two rows of it are all that a score needs.
Some transform the state first, or scale or cap the logits afterwards, and no attribute tells them all. So the
model is asked: on a few ids the short way is compared with the logits that the model itself gives, and taken
only if it gives the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch

from prorank_plugins.core.errors import ModelError

# Rows of the output embedding that the short way is tried on, besides the answers.
_TRIED_TOKENS = 64
# Largest difference in units of the largest logit; half precision rounds states and logits.
_EXACT, _ROUNDED = 1e-3, 0.05


class LastLogits:
    """Asks a model for the logits of last positions. Safe from many threads.

    Args:
        model: a causal language model of transformers.
        answers: the ids that scores are made of.

    Raises:
        ModelError: the model has no such ids.
    """

    def __init__(self, model: Any, answers: Sequence[int]) -> None:
        self._model, self._answers = model, list(answers)
        self._lock = threading.Lock()
        self._wanted: torch.Tensor | None = None
        body = model.base_model
        if body is not model:
            body.register_forward_hook(self._cut)
        self._n_tokens = model.get_input_embeddings().num_embeddings
        rows = _trial_rows(self._n_tokens, model.config.pad_token_id)
        vocabulary = self._whole(rows)
        if vocabulary.shape[1] <= max(self._answers):
            raise ModelError(
                f"the model has {vocabulary.shape[1]} tokens, its tokenizer more; they are of two models"
            )
        tried = sorted(
            {*self._answers, *range(0, vocabulary.shape[1], -(-vocabulary.shape[1] // _TRIED_TOKENS))}
        )
        tolerance = _EXACT if model.dtype == torch.float32 else _ROUNDED
        expected = vocabulary[:, tried]

        def agrees(find: Callable[[], torch.Tensor]) -> bool:
            try:
                difference = (find() - expected).abs().max()
            except (AttributeError, TypeError, RuntimeError, IndexError):
                return False  # built otherwise than most
            return bool(difference <= tolerance * expected.abs().max())

        self.is_linear = agrees(lambda: self._linear(rows, tried))
        self._cuts = body is not model and agrees(lambda: self._behind_body(rows)[:, tried])

    @torch.inference_mode()
    def of_answers(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """(n_rows, n_answers) float32 logits of the answers."""
        return self._linear(rows, self._answers) if self.is_linear else self._own(rows)[:, self._answers]

    @torch.inference_mode()
    def of_vocabulary(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """(n_rows, n_tokens) float32 logits of all tokens."""
        return self._own(rows)

    @torch.inference_mode()
    def _linear(self, rows: Sequence[Sequence[int]], tokens: list[int]) -> torch.Tensor:
        """The last state times some rows of the output embedding, in float32."""
        ids, mask, last = self._tensors(rows)
        with self._lock:
            states = self._model.base_model(
                input_ids=ids, attention_mask=mask, use_cache=False
            ).last_hidden_state
        states = states[torch.arange(len(rows), device=states.device), last].float()
        head, config = self._model.get_output_embeddings(), self._model.config
        logits: torch.Tensor = states @ head.weight[tokens].float().T
        if getattr(head, "bias", None) is not None:
            logits = logits + head.bias[tokens].float()
        logits = logits * (getattr(config, "logit_scale", None) or 1.0)
        logits = logits / (getattr(config, "logits_scaling", None) or 1.0)
        if cap := getattr(config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    def _own(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        return self._behind_body(rows) if self._cuts else self._whole(rows)

    @torch.inference_mode()
    def _behind_body(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """What the model's own head makes of the last states alone."""
        ids, mask, last = self._tensors(rows)
        with self._lock:
            self._wanted = last
            try:
                logits = self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            finally:
                self._wanted = None
        return torch.as_tensor(logits[:, 0]).float()

    @torch.inference_mode()
    def _whole(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Logits of all positions, of which the last are kept; one row at a time, for they are many."""
        found = []
        for row in rows:
            ids, mask, _ = self._tensors([row])
            with self._lock:
                found.append(self._model(input_ids=ids, attention_mask=mask, use_cache=False).logits[0, -1])
        return torch.stack(found).float()

    def _tensors(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        # Right padding: causal attention never looks at it, and positions count from 0 in every row.
        largest = max(map(max, rows))
        if largest >= self._n_tokens:  # on a GPU an index out of bounds would end the process
            raise ModelError(
                f"the tokenizer gives the id {largest}, the model has {self._n_tokens} tokens; "
                "the two are not of the same model"
            )
        device, longest = self._model.device, max(map(len, rows))
        ids = torch.tensor([[*row, *([0] * (longest - len(row)))] for row in rows], device=device)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        mask = (torch.arange(longest, device=device)[None] < lengths[:, None]).long()
        return ids, mask, lengths - 1

    def _cut(self, module: torch.nn.Module, inputs: Any, output: Any) -> Any:
        """Leave only the last positions to what comes after the body."""
        if self._wanted is None:
            return None
        states = output.last_hidden_state
        rows = torch.arange(len(states), device=states.device)
        output.last_hidden_state = states[rows, self._wanted][:, None]
        return output


def _trial_rows(n_tokens: int, padding: int | None) -> list[list[int]]:
    """Two short rows of different length without padding tokens."""
    ids = [token for token in range(min(6, n_tokens)) if token != padding]
    return [ids, ids[1:][::-1] or ids]
