"""Queries to plans, all queries of a call at once: numpy's cost per call is shared between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.asking import Asked
from prorank_plugins.lexical.exhaustive import length_slope
from prorank_plugins.lexical.lookup import Seen
from prorank_plugins.lexical.queries import QueryTerms
from prorank_plugins.lexical.ready import Ready
from prorank_plugins.lexical.scorers.plan import ScorePlan, Scorer
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import CorpusStats


@dataclass(frozen=True, eq=False)
class PlannedQueries:
    """What the kernels need to know of queries.

    Attributes:
        terms: the queries' terms, those that no document contains included.
        plan: rows of all queries, one query after the other; its terms are places in ``terms``.
        numbers: for each row of the plan, its term's number in the index.
        ends: (n_queries + 1,) query ``i`` owns the plan's rows ``ends[i]:ends[i + 1]``.
        scales: (n_queries,) what scores are multiplied by to normalise them; None for nothing.
        scored: the plan with these factors in it. Multiplying scores instead could make two of them equal
            that were not, after their order was decided.
        state: the documents at the moment of planning.
        stats: theirs, for the queries' terms, in the same order.
        slope: what a token of a document's length adds to its norm.
    """

    terms: QueryTerms
    plan: ScorePlan
    numbers: NDArray[np.int64]
    ends: NDArray[np.int64]
    scales: NDArray[np.float64] | None
    scored: ScorePlan
    state: State
    stats: CorpusStats
    slope: float

    def ready(self) -> Ready:
        """For the kernel."""
        scored = self.scored
        groups = read_only(np.ascontiguousarray(scored.groups, np.int64))
        if not len(self.numbers) == len(groups) == len(scored.numbers):
            raise ConfigError(
                "the scorer's plan has columns of different lengths; each needs one entry a row"
            )
        return Ready(self.state, self.ends, self.numbers, groups, scored.numbers, self.slope)

    def scale(self, query: int) -> float:
        """What a query's scores are multiplied by."""
        return 1.0 if self.scales is None else float(self.scales[query])


def plan_queries(asked: Asked, scorer: Scorer, look_up: Callable[[Asked], Seen]) -> PlannedQueries:
    """Let the scorer make a plan of queries.

    Args:
        asked: the queries.
        scorer: folds statistics into plans.
        look_up: what the index knows of the queries' terms at one moment.
    """
    state, terms, numbers, stats = look_up(asked)
    plan = scorer.plan(terms, stats)
    if asked.factors is not None:
        plan = plan.weighted(asked.factors)
    owners = plan.groups if asked.owners is None else asked.owners[plan.groups]
    ends = owners.searchsorted(np.arange(asked.n_queries + 1))
    most = scorer.score_max(terms, stats)
    scales = None if most is None else _scales(most, asked)
    scored = plan
    if scales is not None:
        scored = plan.weighted(scales if asked.owners is None else scales[asked.owners])
    slope = length_slope(plan.slope, stats.average_length)
    numbers = read_only(numbers[plan.terms])
    return PlannedQueries(terms, plan, numbers, read_only(ends), scales, scored, state, stats, slope)


def _scales(most: NDArray[np.float64], asked: Asked) -> NDArray[np.float64]:
    """(n_queries,) 1 / the queries' normalisers; 1 where there is nothing to normalise."""
    weighted = most if asked.factors is None else most * asked.factors
    owners = np.arange(asked.n_groups) if asked.owners is None else asked.owners
    totals = np.bincount(owners, weighted, asked.n_queries)
    return np.divide(1.0, totals, out=np.ones(asked.n_queries), where=totals > 0)
