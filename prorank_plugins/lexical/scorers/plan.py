"""What a scorer hands to the kernels: a few numbers for each query term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.queries import QueryTerms
from prorank_plugins.lexical.statistics import CorpusStats

ROUNDING = 1.0 + 1e-12
"""Widens a bound so that no rounding carries a score above it."""


@dataclass(frozen=True, eq=False)
class ScorePlan:
    """A query as arithmetic, one row for each distinct term that some document contains.

    With ``r = |D| / avgdl`` and ``M`` the rows whose term occurs in D::

        score(D) = scale · ( Σ_{i∈M} [ weight_i · tf_i / (tf_i + slope·r + offset_i) + floor_i ]
                             + Σ_groups ( Σ_{i∈M∩group} bonus_i ) · ( Σ_{i∈M∩group} count_i ) )

    A plain query is one group. A sum of queries has one group each, since BMX's coverage and mean
    entropy belong to a query.

    Attributes:
        terms: (q,) term numbers.
        groups: (q,) which of the summed queries the row belongs to; ascending.
        counts: (q,) occurrences in the query.
        weights, offsets, floors, bonuses: (q,) as in the formula, all at least 0.
        slope: as in the formula, at least 0.
        scale: positive; 1 unless scores are normalised.
        idfs, entropies: (q,) kept for `explain`; entropies are normalised to the query's largest.
        query_length: m, the query terms counted by the scorer.
    """

    terms: NDArray[np.int64]
    groups: NDArray[np.int64]
    counts: NDArray[np.float64]
    weights: NDArray[np.float64]
    offsets: NDArray[np.float64]
    floors: NDArray[np.float64]
    bonuses: NDArray[np.float64]
    idfs: NDArray[np.float64]
    entropies: NDArray[np.float64]
    slope: float
    query_length: float
    scale: float = 1.0

    def scaled(self, factor: float) -> ScorePlan:
        """The plan whose scores are ``factor`` times these, by its rows (``scale`` stays)."""
        if factor == 1.0:
            return self
        return replace(
            self, weights=self.weights * factor, floors=self.floors * factor, bonuses=self.bonuses * factor
        )


class Scorer(Protocol):
    """A scoring function. `BMX` and `BM25` are the two that come with the package."""

    def plan(self, query: QueryTerms, stats: CorpusStats) -> ScorePlan:
        """Fold the corpus statistics and one query into numbers for the kernels."""
        ...

    def score_max(self, query: QueryTerms, stats: CorpusStats) -> float:
        """What a normalised score is divided by; 1 when scores are not normalised."""
        ...


def sum_plans(plans: Sequence[ScorePlan], scale: float) -> ScorePlan:
    """One plan whose scores are the sum of the scores of ``plans``, times ``scale``.

    All plans come from one scorer and so share their slope.
    """
    if len(plans) == 1:
        return plans[0] if scale == 1.0 else replace(plans[0], scale=scale)
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(plan, name) for plan in plans])
        for name in ("terms", "counts", "weights", "offsets", "floors", "bonuses", "idfs", "entropies")
    }
    groups = np.repeat(np.arange(len(plans)), [len(plan.terms) for plan in plans])
    length = sum(plan.query_length for plan in plans)
    return ScorePlan(**arrays, groups=groups, slope=plans[0].slope, query_length=length, scale=scale)


def check_parameter(name: str, value: float, low: float = 0.0, high: float = float("inf")) -> None:
    """Reject a scorer parameter outside [low, high] or not finite.

    Raises:
        ConfigError: with the name, the value and the range.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not np.isfinite(value) or not low <= value <= high:
        raise ConfigError(f"{name} must be a finite number in [{low}, {high}], found {value!r}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Reject an option that is not among ``choices``.

    Raises:
        ConfigError: with the name, the value and the choices.
    """
    if value not in choices:
        raise ConfigError(f"{name} must be one of {', '.join(map(repr, choices))}, found {value!r}")
