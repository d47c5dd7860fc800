"""What both stages of training can be told."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.prompt import Prompt

_OF_THE_PLACE = frozenset({
    "steps", "output_dir", "checkpoint_every", "keep_checkpoints", "resume", "evaluate_every", "patience",
    "device", "progress",
})  # fmt: skip
"""Settings that do not change what step n computes, and so may change when a run is resumed.

``steps`` is among them only where the learning rate does not depend on it; see `fingerprint`.
"""


@dataclass(frozen=True)
class LoraOptions:
    """Train low-rank additions to linear layers, not the weights (Hu et al., ICLR 2022); needs peft.

    Attributes:
        rank: of the additions.
        alpha: they are scaled by ``alpha / rank``.
        dropout: before them.
        target_modules: names of the layers; ``"all-linear"`` is all but the output embedding.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    target_modules: str | Sequence[str] = "all-linear"


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings shared by `WarmupConfig`, `ScoreLearningConfig` and `LanguageModellingConfig`.

    The defaults are ours: the paper's values are not known to us.

    Attributes:
        steps: optimizer steps.
        batch_size: items a step: examples, groups or windows of text.
        learning_rate: its peak.
        warmup_ratio: share of the steps in which it rises from 0.
        schedule: what it does afterwards: ``"cosine"`` falls to ``final_ratio`` of the peak, ``"constant"``.
        final_ratio: see ``schedule``.
        weight_decay: of the matrices; vectors (norms, biases) have none.
        betas: of AdamW.
        max_grad_norm: longer gradients are scaled down to this; None for never.
        max_batch_tokens: tokens whose activations are held at a time. A step with more is computed in
            parts whose gradients add up to those of the whole.
        seed: of everything drawn at random. Step n draws from (seed, n), so that a resumed run goes on as
            if it had never stopped.
        device: as in `ProRankReranker.from_pretrained`.
        dtype: ``"float32"``, or ``"bfloat16"`` for mixed precision; weights, scores and losses stay float32.
        prompt: None takes what is saved with the model, else the preset its name asks for.
        max_length: tokens of query and document; None takes what is saved with the model, else 512.
        allow_special_tokens: read control tokens in queries and documents as such.
        dropout: in place of the model's own; None keeps that.
        lora: train low-rank additions, merged into the weights when saved.
        gradient_checkpointing: keep only the layers' inputs and compute the rest again: less memory, slower.
        output_dir: where the trained model is saved, with checkpoints in ``checkpoints/``; None for nowhere.
        checkpoint_every: steps between checkpoints, with one at the end; None for none.
        keep_checkpoints: how many of the newest stay.
        resume: go on from the newest checkpoint in ``output_dir``, if there is one.
        evaluate_every: steps between measurements on the development groups, if those are given.
        patience: measurements without a new best after which to stop; the best weights are kept.
            None runs all steps and keeps the last.
        progress: show a progress bar.
    """

    steps: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-5
    warmup_ratio: float = 0.1
    schedule: str = "cosine"
    final_ratio: float = 0.1
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    max_grad_norm: float | None = 1.0
    max_batch_tokens: int = 8192
    seed: int = 0
    device: str | None = None
    dtype: str = "float32"
    prompt: Prompt | None = None
    max_length: int | None = None
    allow_special_tokens: bool = False
    dropout: float | None = 0.0
    lora: LoraOptions | None = None
    gradient_checkpointing: bool = False
    output_dir: str | Path | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 2
    resume: bool = True
    evaluate_every: int | None = None
    patience: int | None = None
    progress: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "max_batch_tokens", "keep_checkpoints"):
            check_count(name, getattr(self, name))
        for name in ("checkpoint_every", "evaluate_every", "patience"):
            if getattr(self, name) is not None:
                check_count(name, getattr(self, name))
        check_number("learning_rate", self.learning_rate, above=0.0)
        check_number("warmup_ratio", self.warmup_ratio, least=0.0, most=1.0)
        check_number("final_ratio", self.final_ratio, least=0.0, most=1.0)
        check_number("weight_decay", self.weight_decay, least=0.0)
        if self.max_grad_norm is not None:
            check_number("max_grad_norm", self.max_grad_norm, above=0.0)
        if self.dropout is not None:
            check_number("dropout", self.dropout, least=0.0, most=0.99)
        check_choice("schedule", self.schedule, ("cosine", "constant"))
        check_choice("dtype", self.dtype, ("float32", "bfloat16"))
        if self.prompt is not None and not isinstance(self.prompt, Prompt):
            raise ConfigError(f"prompt must be None or a Prompt, found {type(self.prompt).__name__}")
        if self.lora is not None and not isinstance(self.lora, LoraOptions):
            raise ConfigError(f"lora must be None or LoraOptions, found {type(self.lora).__name__}")
        if self.checkpoint_every is not None and self.output_dir is None:
            raise ConfigError("checkpoint_every needs an output_dir to put the checkpoints in")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON data, for the record; callables by their names."""
        data = asdict(self)
        if self.prompt is not None:
            data["prompt"] = self.prompt.to_json()
        return {name: _plain(value) for name, value in data.items()}

    def fingerprint(self) -> str:
        """A digest of what decides the outcome of a step; a run resumes only under the same."""
        left_out = _OF_THE_PLACE - ({"steps"} if self.schedule == "cosine" or self.warmup_ratio else set())
        kept = {name: value for name, value in self.to_json().items() if name not in left_out}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of step ``step``, the first being 1."""
        rising = math.ceil(self.warmup_ratio * self.steps)
        if step <= rising:
            return self.learning_rate * step / rising
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / max(1, self.steps - rising)
        falling = self.final_ratio + (1 - self.final_ratio) * 0.5 * (1 + math.cos(math.pi * done))
        return self.learning_rate * falling


@dataclass(frozen=True)
class StepReport:
    """What one optimizer step did.

    Attributes:
        step: its number; the first is 1.
        loss: what was minimised, the mean over the batch.
        learning_rate: of this step.
        metrics: further measurements by name; ``"dev_ndcg@10"`` after steps that were measured.
    """

    step: int
    loss: float
    learning_rate: float
    metrics: Mapping[str, float]


def check_count(name: str, value: Any) -> None:
    """Raise `ConfigError` unless ``value`` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name} must be a whole number of at least 1, found {value!r}")


def check_number(
    name: str, value: Any, least: float | None = None, most: float | None = None, above: float | None = None
) -> None:
    """Raise `ConfigError` unless ``value`` is a finite number within the bounds."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    low = above is not None and is_number and value <= above
    low |= least is not None and is_number and value < least
    if is_number and not low and (most is None or value <= most):
        return
    wanted = "above 0" if above is not None else f"at least {least:g}"
    wanted += "" if most is None else f" and at most {most:g}"
    raise ConfigError(f"{name} must be a number {wanted}, found {value!r}")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless ``value`` is one of the names."""
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(choices)}, found {value!r}")


def setting_names(kind: type[TrainingConfig]) -> list[str]:
    """Names of a configuration's settings."""
    return [field.name for field in fields(kind)]


def _plain(value: Any) -> Any:
    if callable(value):
        return f"{value.__module__}.{value.__qualname__}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
