"""Any causal language model, through transformers: for families without a forward pass of our own.

Still last position only and, where the output embedding is all there is after it, two rows of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prorank_plugins.core.errors import ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.last_logits import LastLogits
from prorank_plugins.rerank.weights import has_quantised_weights, read_tensors


def load_causal_lm(folder: Path, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """The model of transformers for a folder, in evaluation mode.

    No code that comes with the model is run and no pickle is read.

    Args:
        folder: with ``config.json`` and ``*.safetensors``, quantised or not.
        dtype: of all weights.
        device: where it is put.

    Raises:
        ModelError: transformers cannot load it, a weight is missing or of another shape, or the model is an
            encoder, whose tokens look at what follows them.
        MissingExtraError: transformers is not installed.
    """
    damaged = require("safetensors", "rerank", "A model").SafetensorError
    library = require("transformers", "rerank", "A model of a family without a forward pass of our own")
    given = {"dtype": dtype, "use_safetensors": True, "output_loading_info": True}
    try:
        if has_quantised_weights(folder):
            config = library.AutoConfig.from_pretrained(str(folder), trust_remote_code=False)
            kind = library.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
            model, report = kind.from_pretrained(
                None, config=config, state_dict=dict(read_tensors(folder)), **given
            )
        else:
            model, report = library.AutoModelForCausalLM.from_pretrained(
                str(folder), trust_remote_code=False, **given
            )
    except ModelError:
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError, damaged) as error:
        raise ModelError(f"transformers cannot load {folder} ({error})") from error
    if missing := sorted(report["missing_keys"]):
        # transformers would go on with random numbers in their place.
        raise ModelError(f"the weights in {folder} lack {missing[0]}; download or export the model again")
    model = model.to(device).eval()
    if _looks_ahead(model):
        raise ModelError(
            f"{folder} is an encoder ({model.config.model_type}): its tokens look at what follows them. Give "
            'a causal model; the config.json of a BERT that was trained as a decoder has "is_decoder": true'
        )
    loaded: torch.nn.Module = model
    return loaded


@torch.inference_mode()
def _looks_ahead(model: Any) -> bool:
    """Whether the first position's state depends on the tokens after it."""
    n_tokens, padding = model.get_input_embeddings().num_embeddings, model.config.pad_token_id
    ids = [number for number in range(min(4, n_tokens)) if number != padding]
    if len(ids) < 3:
        return False
    first, one, other = ids[:3]
    rows = torch.tensor([[first, one, one], [first, other, other]], device=model.device)
    try:
        states = model.base_model(input_ids=rows, use_cache=False).last_hidden_state[:, 0].float()
    except (TypeError, AttributeError):
        return False  # built otherwise than most, such as without a body of its own
    difference, size = (states[0] - states[1]).abs().max(), states[0].abs().max()
    return bool(difference > 0.01 * size)


class TransformersModel:
    """A `ScoringModel` over ``AutoModelForCausalLM``.

    Args:
        folder: of the model.
        labels: ids of the answers.
        device: a torch device.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``.

    Raises:
        ModelError: transformers cannot load it, or int8 is asked for.
    """

    can_share = False

    def __init__(self, folder: Path, labels: Labels, device: torch.device, dtype: str) -> None:
        if dtype == "int8":
            raise ModelError(
                "dtype 'int8' is for families with a forward pass of our own; use 'float32' for this model"
            )
        self.device = device
        self._answers = [label for label in (labels.positive, labels.negative) if label is not None]
        model = load_causal_lm(folder, getattr(torch, dtype), device)
        try:
            self._logits = LastLogits(model, self._answers)
        except (TypeError, AttributeError) as error:
            raise ModelError(
                f"{type(model).__name__} in {folder} is built otherwise and cannot be scored ({error})"
            ) from error

    def prefill(self, ids: Sequence[int]) -> Any:
        """Not offered; see `can_share`."""
        raise NotImplementedError("transformers models are run on whole rows")

    def score(self, rows: Sequence[Sequence[int]], shared: Any | None = None) -> NDArray[np.float32]:
        """(n_rows,) scores; see `ScoringModel.score`."""
        assert shared is None
        logits = self._logits.of_answers(rows)
        scores = logits[:, 0] - logits[:, 1] if len(self._answers) == 2 else logits[:, 0]
        return np.asarray(scores.cpu().numpy(), np.float32)

    def answer_mass(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n_rows,) probability of the answers."""
        mass = self._logits.of_vocabulary(rows).softmax(-1)[:, self._answers].sum(-1)
        return np.asarray(mass.cpu().numpy(), np.float32)
