"""Stage 2, fine-grained score learning: the score of inference, ``logit("1") - logit("0")``, learns to rank.

Li et al., arXiv:2506.03487: "without introducing additional layers". The paper's loss is not known to us;
the authors' posts name contrastive and preference learning, both of which are here among others.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from prorank_plugins.training.config import StepReport
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.fingerprint import data_fingerprint
from prorank_plugins.training.loop import Begun, Run
from prorank_plugins.training.losses import combined_loss
from prorank_plugins.training.model import TrainableModel, open_model
from prorank_plugins.training.sampling import GroupBatches
from prorank_plugins.training.score_config import ScoreLearningConfig
from prorank_plugins.training.validation import Validation


def learn_scores(
    model: Any,
    groups: Iterable[RankingGroup],
    config: ScoreLearningConfig | None = None,
    *,
    dev: Sequence[RankingGroup] | None = None,
) -> Iterator[StepReport]:
    """Train a model's score to rank.

    A generator like `warm_up`, whose trained model it goes on with.

    Args:
        model: a folder, a hub name, a `ProRankReranker` or a `TrainableModel` from `open_model`.
        groups: queries with graded documents; a list, or anything that can be read again and again.
        config: settings; None for the defaults.
        dev: groups to measure nDCG@10 on every ``evaluate_every`` steps, for early stopping.

    Returns:
        one `StepReport` a step, with each loss by name, ``pair_accuracy`` (relevant above irrelevant),
        ``score_positive``, ``score_negative`` and ``format_rate``.

    Raises:
        ConfigError: settings or groups that cannot be.
        ModelError: the model cannot be loaded, or lacks the answers as single tokens.
        TrainingError: while running: a loss that is not finite, or a disk that is full.
    """
    config = config or ScoreLearningConfig()
    batches = GroupBatches(
        groups, config.batch_size, config.n_documents, config.seed, config.in_batch_negatives
    )
    trained = open_model(model, config)
    validation = None if dev is None else Validation(dev)
    objective = _ScoreLearning(config)
    run = Run(trained, config, batches, objective, "score learning", data_fingerprint(groups), validation)
    return run.reports()


class _ScoreLearning:
    """The loss of stage 2; an `Objective`."""

    passes = 1
    whole = False

    def __init__(self, config: ScoreLearningConfig) -> None:
        self._config = config

    def begin(self, model: TrainableModel, items: Sequence[RankingGroup]) -> Begun:
        return {"rows": [model.rows(group.query, group.documents) for group in items], "group": list(items)}

    def sizes(self, begun: Begun) -> list[int]:
        return [sum(map(len, rows)) for rows in begun["rows"]]

    def loss(self, model: TrainableModel, begun: Begun) -> tuple[torch.Tensor, dict[str, float]]:
        groups: list[RankingGroup] = begun["group"]
        rows = [row for of_group in begun["rows"] for row in of_group]
        logits = model.logits(rows)
        counts = torch.tensor([len(group.documents) for group in groups], device=model.device)
        mask = torch.arange(int(counts.max()), device=model.device)[None] < counts[:, None]
        scores = _spread(model.score_of(logits), mask)
        grades = _spread(_flat(groups, "grades", model), mask)
        teacher = None
        if all(group.teacher_scores is not None for group in groups):
            teacher = _spread(_flat(groups, "teacher_scores", model), mask)
        loss, parts = combined_loss(
            self._config.weights, scores, grades, mask, teacher, temperature=self._config.temperature
        )
        return loss, parts | _ranking_metrics(scores, grades, mask) | _format_rate(model, logits)


def _flat(groups: Sequence[RankingGroup], name: str, model: TrainableModel) -> torch.Tensor:
    return torch.tensor([value for group in groups for value in getattr(group, name)], device=model.device)


def _spread(flat: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(n_groups, width) of the values of all groups one after the other; 0 where there is no document."""
    return flat.new_zeros(mask.shape).masked_scatter(mask, flat)


@torch.no_grad()
def _ranking_metrics(scores: torch.Tensor, grades: torch.Tensor, mask: torch.Tensor) -> dict[str, float]:
    better = (grades[:, :, None] > grades[:, None, :]) & mask[:, :, None] & mask[:, None, :]
    right = (scores[:, :, None] > scores[:, None, :]) & better
    positive, negative = mask & (grades > 0), mask & (grades == 0)
    return {
        "pair_accuracy": float(right.sum() / better.sum().clamp_min(1)),
        "score_positive": float((scores * positive).sum() / positive.sum().clamp_min(1)),
        "score_negative": float((scores * negative).sum() / negative.sum().clamp_min(1)),
    }


@torch.no_grad()
def _format_rate(model: TrainableModel, logits: torch.Tensor) -> dict[str, float]:
    answers = [label for label in (model.labels.positive, model.labels.negative) if label is not None]
    return {"format_rate": float(logits.softmax(-1)[:, answers].sum(-1).mean())}
