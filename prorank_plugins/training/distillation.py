"""Learn the scores of a stronger reranker: any function, a `ProRankReranker`, or a file of scored groups."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.config import StepReport
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.reading import read_groups
from prorank_plugins.training.score_config import DistillationConfig, ScoreLearningConfig
from prorank_plugins.training.score_learning import learn_scores

Teacher: TypeAlias = Callable[[str, Sequence[str]], Iterable[float]]
"""(query, documents) → one score a document, on any scale."""


def distill(
    model: Any,
    groups: Iterable[RankingGroup] | str | Path,
    teacher: Teacher | Any | None = None,
    config: ScoreLearningConfig | None = None,
    *,
    dev: Sequence[RankingGroup] | None = None,
) -> Iterator[StepReport]:
    """Train a model's score on a teacher's scores.

    Args:
        model: as in `learn_scores`.
        groups: queries with documents, or a JSONL file of them; grades serve losses other than ``mse`` and
            ``margin_mse``.
        teacher: a function of a query and its documents, or an object with such a ``score``. None takes the
            groups' own ``teacher_scores``. Each group is scored once, when it is first read.
        config: settings; None for those of `DistillationConfig`.
        dev: as in `learn_scores`.

    Raises:
        ConfigError: no teacher and no scores, or a teacher that gives something else than a finite number
            for each document.
        DataFormatError: a file that cannot be read.
    """
    known: Iterable[RankingGroup] = (
        list(read_groups(groups)) if isinstance(groups, (str, os.PathLike)) else groups
    )
    score = None if teacher is None else getattr(teacher, "score", teacher)
    if score is not None and not callable(score):
        raise ConfigError(
            f"the teacher must be a function of (query, documents) or have such a score, found "
            f"{type(teacher).__name__}"
        )
    if isinstance(known, Sequence):
        known = [scored(group, score) for group in known]
    else:
        known = _Scored(known, score)
    return learn_scores(model, known, config or DistillationConfig(), dev=dev)


def scored(group: RankingGroup, score: Teacher | None) -> RankingGroup:
    """The group with a teacher's scores.

    Raises:
        ConfigError: see `distill`.
    """
    if score is None:
        if group.teacher_scores is None:
            raise ConfigError(
                f"the group of {group.query!r} has no teacher_scores; give a teacher, or score the groups"
            )
        return group
    return replace(group, teacher_scores=[float(value) for value in score(group.query, group.documents)])


class _Scored:
    """Groups read again and again, of which the latest keep their scores."""

    _MOST = 100_000

    def __init__(self, groups: Iterable[RankingGroup], score: Teacher | None) -> None:
        self._groups, self._score = groups, score
        self._known: OrderedDict[tuple[str, tuple[str, ...]], RankingGroup] = OrderedDict()

    def __iter__(self) -> Iterator[RankingGroup]:
        for group in self._groups:
            key = (group.query, tuple(group.documents))
            if key not in self._known:
                self._known[key] = scored(group, self._score)
                if len(self._known) > self._MOST:
                    self._known.popitem(last=False)
            yield self._known[key]
