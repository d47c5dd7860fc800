"""What an answer earns during warm-up: reward functions, and their values in one table.

An answer is one token and stands for a *judgement*: 1 for the prompt's positive answer, 0 for its negative
one, None for every other token, outside the finite set. A reward sees nothing else of the answer, so all
the rewards that a batch can ever pay fit into three numbers an example.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.examples import RelevanceExample

if TYPE_CHECKING:
    import torch

RewardFunction: TypeAlias = Callable[[int | None, RelevanceExample], float]
"""What a judgement earns on an example; called for each of the three judgements."""

JUDGEMENTS: tuple[int | None, ...] = (0, 1, None)
"""The columns of every reward table."""


def format_reward(judgement: int | None, example: RelevanceExample) -> float:
    """1 for an answer in the finite set, 0 for any other token."""
    return float(judgement is not None)


def accuracy_reward(judgement: int | None, example: RelevanceExample) -> float:
    """1 for the judgement that equals the label, else 0."""
    return float(judgement == example.label)


DEFAULT_REWARDS: Mapping[str, tuple[RewardFunction, float]] = {
    "format": (format_reward, 1.0),
    "accuracy": (accuracy_reward, 1.0),
}
"""ProRank's two rewards by name, with weights: the paper's weights are not public, equal ones are ours."""


@dataclass(frozen=True, eq=False)
class RewardTable:
    """What each judgement of each example earns.

    Attributes:
        total: (n_examples, 3) weighted sum over the functions for the judgements 0, 1, None; float32.
        by_function: name → (n_examples, 3) that function's own values, without its weight.
    """

    total: torch.Tensor
    by_function: Mapping[str, torch.Tensor]

    def to(self, device: torch.device | str) -> RewardTable:
        """The same table on another device."""
        moved = {name: table.to(device) for name, table in self.by_function.items()}
        return RewardTable(self.total.to(device), moved)


def reward_table(
    examples: Sequence[RelevanceExample],
    rewards: Mapping[str, tuple[RewardFunction, float]] = DEFAULT_REWARDS,
) -> RewardTable:
    """``total[i, j] = Σ_f weight_f · reward_f(judgement_j, example_i)``.

    Args:
        examples: (n_examples,) judged pairs.
        rewards: name → (function, weight). A negative weight makes a penalty.

    Raises:
        ConfigError: no rewards, a weight that is not a finite number, or a function that returned something
            else than a finite number.
    """
    import torch  # here, so that the rewards' names can be known without it

    if not rewards:
        raise ConfigError(
            "rewards are empty; give at least one, such as {'accuracy': (accuracy_reward, 1.0)}"
        )
    total = torch.zeros(len(examples), len(JUDGEMENTS), dtype=torch.float64)
    by_function = {}
    for name, (function, weight) in rewards.items():
        checked_weight = _number(weight, f"the weight of the reward {name!r}")
        values = [[_earned(name, function, j, example) for j in JUDGEMENTS] for example in examples]
        table = torch.tensor(values, dtype=torch.float64).reshape(len(examples), len(JUDGEMENTS))
        total += checked_weight * table
        by_function[name] = table.float()
    return RewardTable(total.float(), by_function)


def _earned(name: str, function: RewardFunction, judgement: int | None, example: RelevanceExample) -> float:
    value = function(judgement, example)
    return _number(value, f"what the reward {name!r} returned for judgement {judgement} of {example!r}")


def _number(value: object, what: str) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # whatever converts is a number, numpy's included
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, str) or not math.isfinite(number):
        raise ConfigError(f"{what} is {value!r}; expected a finite number")
    return number
