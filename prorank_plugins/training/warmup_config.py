"""What `warm_up` can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.config import TrainingConfig, check_choice, check_count, check_number
from prorank_plugins.training.rewards import DEFAULT_REWARDS, RewardFunction


@dataclass(frozen=True, kw_only=True)
class WarmupConfig(TrainingConfig):
    """Settings of `warm_up`; those of `TrainingConfig` and more.

    Attributes:
        group_size: answers drawn for each prompt, G.
        estimator: ``"group"`` draws G answers from the one row of logits a prompt has, faithful to GRPO at
            1/G of its cost; ``"exact"`` is the limit of large groups, without drawing.
        loss: ``"grpo"``, or for comparison ``"reinforce"`` (no standard deviation, no clipping) or ``"sft"``
            (cross-entropy of the right answer).
        rewards: name → (function, weight); see `prorank_plugins.training.rewards`.
        scale_rewards: what advantages are divided by: the standard deviation of the ``"group"``, of the
            ``"batch"``, or nothing, ``"none"``; the last is Dr. GRPO.
        iterations: optimizer steps for each batch of drawn answers; above 1 the ratio to the policy that
            answered is clipped.
        clip_eps: its distance from 1.
        kl_beta: weight of KL(policy ‖ model before training); 0 does without the second model.
        temperature: of the drawn answers.
        balance: share of relevant examples in a batch; None draws them as they come. Without it a model
            that always answers "0" is right on all but a few pairs.
    """

    group_size: int = 8
    estimator: str = "group"
    loss: str = "grpo"
    rewards: Mapping[str, tuple[RewardFunction, float]] = field(default_factory=lambda: dict(DEFAULT_REWARDS))
    scale_rewards: Literal["group", "batch", "none"] = "group"
    iterations: int = 1
    clip_eps: float = 0.2
    kl_beta: float = 0.04
    temperature: float = 1.0
    balance: float | None = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("group_size", self.group_size)
        check_count("iterations", self.iterations)
        check_choice("estimator", self.estimator, ("group", "exact"))
        check_choice("loss", self.loss, ("grpo", "reinforce", "sft"))
        check_choice("scale_rewards", self.scale_rewards, ("group", "batch", "none"))
        check_number("clip_eps", self.clip_eps, least=0.0)
        check_number("kl_beta", self.kl_beta, least=0.0)
        check_number("temperature", self.temperature, above=0.0)
        if self.estimator == "group" and self.loss == "grpo" and self.group_size < 2:
            raise ConfigError("a group needs at least 2 answers, found group_size=1; use estimator='exact'")
        if self.iterations > 1 and self.loss != "grpo":
            raise ConfigError(f"iterations above 1 are for loss='grpo', found loss={self.loss!r}")
