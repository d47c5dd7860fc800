"""What the ablation measures of a model, on candidates that BMX finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.evaluation.datasets import load_beir
from prorank_plugins.evaluation.measures import ndcg
from prorank_plugins.rerank.calibration import Sigmoid, expected_calibration_error
from prorank_plugins.training.candidates import candidate_groups
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.model import TrainableModel

_DEPTH = 20


@dataclass(frozen=True)
class DevelopmentSet:
    """Queries of a collection with their candidates.

    Attributes:
        name: of the collection.
        groups: best of BMX for each query that has a relevant document among them.
    """

    name: str
    groups: Sequence[RankingGroup]

    SIZES: ClassVar[dict[str, int]] = {"squad-rt-dev": 100, "scifact": 40, "liveqa-med": 40, "cranfield": 40}
    """Collections and how many queries of each are drawn; the first is held out, the others are transfer."""

    @classmethod
    def load(cls, collections: Path, name: str) -> DevelopmentSet:
        """Draw the queries and search them."""
        groups = candidate_groups(load_beir(collections / name, "test"), _DEPTH, cls.SIZES[name], seed=7)
        return cls(name, [group for group in groups if group.positives])


def measure(model: TrainableModel, sets: Sequence[DevelopmentSet]) -> dict[str, dict[str, float]]:
    """Measurements by collection and name.

    ``format_rate`` is p("0") + p("1"); ``accuracy`` the balanced share of right answers; ``auc`` over all
    pairs of the collection; ``calibration_error`` of the sigmoid of the score; ``ndcg@10`` among the
    candidates; ``effective_rank`` and ``mean_cosine`` of the last hidden states (how wide they spread).
    """
    import torch

    found = {}
    for development in sets:
        scores, format_rates, states, gains = [], [], [], []
        model.network.eval()
        for group in development.groups:
            with torch.no_grad():
                logits = model.network(*model.tensors(model.rows(group.query, group.documents)))
            score = model.score_of(logits).cpu().numpy()
            answers = [model.labels.positive, model.labels.negative or 0]
            format_rates += logits.softmax(-1)[:, answers].sum(-1).tolist()
            states.append(model.network.states[:, 0].cpu().numpy())
            scores.append(score)
            order = [str(place) for place in np.argsort(-score, kind="stable")]
            gains.append(ndcg(order, {str(i): round(grade) for i, grade in enumerate(group.grades)}, 10))
        labels = np.array([grade > 0 for group in development.groups for grade in group.grades])
        found[development.name] = {
            "ndcg@10": float(np.mean(gains)),
            "format_rate": float(np.mean(format_rates)),
            **_of_pairs(np.concatenate(scores), labels),
            **_spread(np.concatenate(states)),
        }
    return found


def _of_pairs(scores: NDArray[Any], labels: NDArray[np.bool_]) -> dict[str, float]:
    from sklearn.metrics import balanced_accuracy_score, roc_auc_score

    probabilities = Sigmoid()(scores)
    return {
        "accuracy": float(balanced_accuracy_score(labels, scores > 0)),
        "auc": float(roc_auc_score(labels, scores)),
        "calibration_error": float(expected_calibration_error(probabilities, labels.astype(int))),
    }


def _spread(states: NDArray[Any]) -> dict[str, float]:
    """Effective rank, the exponential of the entropy of the singular values (Roy and Vetterli, 2007)."""
    values = np.linalg.svd(states - states.mean(0), compute_uv=False)
    shares = values[values > 1e-12] / values.sum()
    directions = states / np.linalg.norm(states, axis=1, keepdims=True)
    n = len(states)
    return {
        "effective_rank": float(np.exp(-(shares * np.log(shares)).sum())),
        "mean_cosine": float((np.square(directions.sum(0)).sum() - n) / (n * (n - 1))),
    }
