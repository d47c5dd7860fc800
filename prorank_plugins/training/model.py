"""A causal language model to be trained at the last position of a prompt, and nowhere else.

The rows are the reranker's own (`PairEncoder`), so training sees the ids that inference sees. The hidden
states are cut to each row's last token *before* the output embedding: of n rows only (n, vocabulary) logits
exist, not (n, length, vocabulary), which at 0.5B would be most of the memory.
"""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.batching import plan_batches
from prorank_plugins.rerank.causal_lm import load_causal_lm
from prorank_plugins.rerank.devices import pick_device
from prorank_plugins.rerank.encoding import PairEncoder, find_labels
from prorank_plugins.rerank.prompt import preset_for
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.settings import Settings, read_settings
from prorank_plugins.rerank.tokens import PieceTokenizer
from prorank_plugins.rerank.weights import find_folder, model_positions, read_config
from prorank_plugins.training import attention
from prorank_plugins.training.config import LoraOptions, TrainingConfig
from prorank_plugins.training.launch import own_device

Pair: TypeAlias = tuple[str, str]

_DEFAULT_LENGTH = 512
_TOKENIZER_FILES = (
    "tokenizer*", "special_tokens_map.json", "vocab.*", "merges.txt", "added_tokens.json", "spiece.model",
    "chat_template*",
)  # fmt: skip


class LastPosition(torch.nn.Module):
    """Vocabulary logits after each row's last token, in float32.

    Args:
        model: of transformers, or of peft around one.
        mixed: run the layers in bfloat16; the states, the output embedding and the logits are float32.
    """

    def __init__(self, model: torch.nn.Module, mixed: bool) -> None:
        super().__init__()
        self.model = model
        self.states = torch.empty(0)
        self._wanted: tuple[torch.Tensor, torch.Tensor] | None = None
        inner: Any = model
        if hasattr(inner, "get_base_model"):
            inner = inner.get_base_model()
        body = inner.base_model
        if body is inner:
            raise ModelError(f"{type(inner).__name__} has no body apart from its output embedding")
        run_body = body.forward

        def forward(*args: Any, **options: Any) -> Any:
            device = next(inner.parameters()).device.type
            with torch.autocast(device, torch.bfloat16, enabled=mixed):
                output = run_body(*args, **options)
            states = output.last_hidden_state
            if self._wanted is not None:
                rows, last = self._wanted
                states = states[rows, last][:, None]
            output.last_hidden_state = states.float()
            self.states = output.last_hidden_state.detach()
            return output

        # The model's own code goes on with these states: whatever it has between its last layer and its
        # logits (a transform, a scale, a cap) needs no word here.
        body.forward = forward
        self._body, self._mixed = body, mixed

    def frozen(self) -> LastPosition:
        """A copy that is not trained."""
        patched = self._body.__dict__.pop("forward")  # it would go on calling this body
        try:
            copied = copy.deepcopy(self.model)
        finally:
            self._body.forward = patched
        still = LastPosition(copied, self._mixed)
        still.requires_grad_(False)
        return still.eval()

    def forward(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(n_rows, vocabulary) logits of right-padded (n_rows, longest) ids."""
        rows = torch.arange(len(ids), device=ids.device)
        mask = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
        self._wanted = (rows, lengths - 1)
        logits: torch.Tensor = self.model(input_ids=ids, attention_mask=mask.long(), use_cache=False).logits
        return logits[:, 0].float()

    def everywhere(self, ids: torch.Tensor) -> torch.Tensor:
        """(n_rows, length, vocabulary) logits of rows of one length, for language modelling."""
        self._wanted = None
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=self._mixed):
            logits: torch.Tensor = self.model(input_ids=ids, use_cache=False).logits
        return logits


class TrainableModel:
    """What the stages of training work on. Made by `open_model`; its weights change in place.

    Attributes:
        folder: the local model folder it came from.
        network: ids to logits; a plain torch module.
        encoder: pairs to rows of ids.
        labels: ids of the answers.
        device: where it is.
        max_batch_tokens: see `TrainingConfig`.
    """

    def __init__(self, source: str | Path, config: TrainingConfig) -> None:
        self.name = str(source)
        self.folder = find_folder(self.name)
        self.max_batch_tokens = config.max_batch_tokens
        settings = read_settings(self.folder)
        prompt = config.prompt or (settings.prompt if settings else preset_for(self.name))
        max_length = config.max_length or (settings.max_length if settings else _DEFAULT_LENGTH)
        tokenizer = PieceTokenizer.from_folder(self.folder)
        self.labels = find_labels(prompt, tokenizer)
        longest = model_positions(self.folder, read_config(self.folder))
        self.encoder = PairEncoder(prompt, tokenizer, max_length, longest, config.allow_special_tokens)
        self.device = pick_device(own_device(config.device))
        mixed = config.dtype == "bfloat16"
        model: Any = load_causal_lm(self.folder, torch.float32, self.device)
        if mixed and self.device.type == "cpu":
            model.set_attn_implementation(attention.register())
        if config.dropout is not None:
            _set_dropout(model, config.dropout)
        if config.gradient_checkpointing:
            # transformers 5 renamed it.
            name = "activation" if hasattr(model, "activation_checkpointing_enable") else "gradient"
            getattr(model, f"{name}_checkpointing_enable")({"use_reentrant": False})
        self._lora = config.lora is not None
        if config.lora is not None:
            model = _with_lora(model, config.lora)
        self.network = LastPosition(model, mixed)

    def rows(self, query: str, documents: Sequence[str]) -> list[list[int]]:
        """Ids of each pair, as inference has them."""
        head = self.encoder.head(query, None)
        return [self.encoder.row(head, ids) for ids in self.encoder.documents(documents)]

    def logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """(n_rows, vocabulary) float32 logits after each row, in the order of the rows.

        Rows of similar length go through the network together; the result does not depend on it.
        """
        return self._run(self.network, rows)

    def reference(self) -> Callable[[Sequence[Sequence[int]]], torch.Tensor]:
        """`logits` of the model as it is now, without gradient, whatever training does to it later."""
        if self._lora:
            return self._without_additions
        frozen = self.network.frozen()

        @torch.no_grad()
        def run(rows: Sequence[Sequence[int]]) -> torch.Tensor:
            return self._run(frozen, rows)

        return run

    @torch.no_grad()
    def _without_additions(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        model: Any = self.network.model
        with model.disable_adapter():
            return self._run(self.network, rows)

    def _run(self, network: torch.nn.Module, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        batches = plan_batches([len(row) for row in rows], self.max_batch_tokens)
        parts = [network(*self.tensors([rows[place] for place in batch])) for batch in batches]
        order = torch.tensor([place for batch in batches for place in batch], device=self.device)
        return torch.cat(parts)[order.argsort()]

    def scores(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """(n_rows,) ``logit(positive) - logit(negative)``: the score of inference, with a gradient."""
        return self.score_of(self.logits(rows))

    def score_of(self, logits: torch.Tensor) -> torch.Tensor:
        """(n_rows,) scores of (n_rows, vocabulary) logits."""
        positive = logits[:, self.labels.positive]
        return positive if self.labels.negative is None else positive - logits[:, self.labels.negative]

    def tensors(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """(n_rows, longest) right-padded ids and (n_rows,) lengths: what the network takes."""
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *([0] * (longest - len(row)))] for row in rows], device=self.device)
        return ids, torch.tensor([len(row) for row in rows], device=self.device)

    def state(self) -> dict[str, torch.Tensor]:
        """The parameters that are trained, by name; not copies."""
        named = self.network.model.named_parameters()
        return {name: parameter for name, parameter in named if parameter.requires_grad}

    def restore(self, state: Mapping[str, torch.Tensor]) -> None:
        """Put parameters that `state` gave back in place.

        Raises:
            ModelError: they are not those of this model.
        """
        own = self.state()
        if own.keys() != state.keys() or any(own[name].shape != state[name].shape for name in own):
            raise ModelError(f"the saved parameters are not those of {self.name}")
        with torch.no_grad():
            for name, parameter in own.items():
                parameter.copy_(state[name])

    def write(self, folder: Path, training: Mapping[str, Any] | None = None) -> None:
        """Write what `ProRankReranker.from_pretrained` loads into an existing folder.

        Args:
            folder: to write to.
            training: how it was trained, kept in ``prorank.json``.
        """
        model: Any = self.network.model
        weights = None
        if self._lora:
            # The additions are merged in a copy of the weights: training may go on after a checkpoint.
            weights = _merged(model)
            model = model.get_base_model()
        model.save_pretrained(str(folder), state_dict=weights, safe_serialization=True)
        for pattern in _TOKENIZER_FILES:
            for file in self.folder.glob(pattern):
                shutil.copy2(file, folder / file.name)
        if not (folder / "tokenizer.json").is_file():
            (folder / "tokenizer.json").write_text(self.encoder.tokenizer.definition, "utf-8")
        Settings(self.encoder.prompt, self.encoder.max_length, None, training).write(folder)


def open_model(source: Any, config: TrainingConfig) -> TrainableModel:
    """The model to train: loaded from a folder or hub name, or the one that an earlier stage worked on.

    Args:
        source: a folder, a hub name, a `ProRankReranker` (its folder is read again; it stays as it is) or a
            `TrainableModel`.
        config: how to load it. A `TrainableModel` keeps what it was opened with.

    Raises:
        ConfigError: none of these.
        ModelError: it cannot be loaded, or its answers are not single tokens.
    """
    require("torch", "train", "Training")
    if isinstance(source, TrainableModel):
        return source
    if isinstance(source, ProRankReranker):
        return TrainableModel(source.name, config)
    if isinstance(source, (str, Path)):
        return TrainableModel(source, config)
    raise ConfigError(
        "the model must be a folder, a hub name, a ProRankReranker or a TrainableModel, found "
        f"{type(source).__name__}"
    )


def _set_dropout(model: Any, share: float) -> None:
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = share
        # Some families keep the share of their attention as a number.
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = share


def _with_lora(model: Any, options: LoraOptions) -> Any:
    peft = require("peft", "train", "LoRA")
    targets = options.target_modules
    settings = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        task_type="CAUSAL_LM",
    )
    return peft.get_peft_model(model, settings)


def _merged(model: Any) -> dict[str, torch.Tensor]:
    """Weights of a peft model with the additions in them, under the names of the plain model."""
    prefix = "base_model.model."
    weights: dict[str, torch.Tensor] = {}
    for name, value in model.state_dict().items():
        plain = name.removeprefix(prefix)
        if ".lora_" in plain:
            continue
        weights[plain.replace(".base_layer.", ".")] = value
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            key = name.removeprefix(prefix) + ".weight"
            for adapter in module.active_adapters:
                weights[key] = weights[key] + module.get_delta_weight(adapter)
    return weights
