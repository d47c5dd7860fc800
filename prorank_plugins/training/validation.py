"""How well a model in training ranks groups that it does not learn from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.measures import ndcg
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.model import TrainableModel


@dataclass(frozen=True)
class Validation:
    """Mean nDCG at a cutoff over development groups, such as `candidate_groups` makes from BMX's best.

    Relevant documents that a group does not hold are not counted against the model.

    Attributes:
        groups: queries with candidates and grades; at least one has a relevant document.
        k: the cutoff.

    Raises:
        ConfigError: no group has a relevant document.
    """

    groups: Sequence[RankingGroup]
    k: int = 10

    def __post_init__(self) -> None:
        if not any(group.positives for group in self.groups):
            raise ConfigError("no development group has a relevant document; nDCG would be 0 for every model")

    @property
    def measure_name(self) -> str:
        """The measurement that decides which model is best."""
        return f"dev_ndcg@{self.k}"

    @torch.no_grad()
    def measure(self, model: TrainableModel) -> dict[str, float]:
        """The measurements by name."""
        gains = []
        for group in self.groups:
            if not group.positives:
                continue
            scores = model.scores(model.rows(group.query, group.documents)).cpu().numpy()
            order = np.argsort(-scores, kind="stable").tolist()
            ranking = [str(place) for place in order]
            grades = {str(place): round(grade) for place, grade in enumerate(group.grades)}
            gains.append(ndcg(ranking, grades, self.k))
        return {self.measure_name: float(np.mean(gains))}
