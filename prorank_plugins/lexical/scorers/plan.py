"""What a scorer hands to the kernels: a few numbers for each query term."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.queries import QueryTerms
from prorank_plugins.lexical.statistics import CorpusStats

ROUNDING = 1.0 + 1e-12
"""Widens a bound so that no rounding carries a score above it."""


@dataclass(frozen=True, eq=False)
class ScorePlan:
    """Queries as arithmetic, one row for each distinct term that some document contains.

    With ``r = |D| / avgdl`` and ``M`` the rows of a query whose term occurs in D, a query's score is::

        Σ_{i∈M} [ weight_i · tf_i / (tf_i + slope·r + offset_i) + floor_i ]
        + Σ_groups ( Σ_{i∈M∩group} bonus_i ) · ( Σ_{i∈M∩group} count_i )

    A plain query is one group. A sum of queries has one group each, since BMX's coverage and mean
    entropy belong to a query.

    Attributes:
        terms: (q,) term numbers.
        groups: (q,) which group of the `QueryTerms` the row belongs to; ascending.
        counts: (q,) occurrences in the query.
        weights, offsets, floors, bonuses: (q,) as in the formula, all at least 0.
        idfs, entropies: (q,) kept for `explain`; entropies are normalised to the group's largest.
        query_lengths: (n_groups,) m, the query tokens that the scorer counts.
        slope: as in the formula, at least 0.
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
    query_lengths: NDArray[np.float64]
    slope: float

    @cached_property
    def numbers(self) -> NDArray[np.float64]:
        """(q, 5) counts, weights, offsets, floors and bonuses, row by row as the kernels read them."""
        columns = (self.counts, self.weights, self.offsets, self.floors, self.bonuses)
        return read_only(np.ascontiguousarray(np.stack(columns, axis=1), np.float64))

    def weighted(self, group_weights: NDArray[np.float64]) -> ScorePlan:
        """The plan whose scores count each group with its weight, (n_groups,)."""
        factors = group_weights[self.groups]
        return replace(
            self, weights=self.weights * factors, floors=self.floors * factors, bonuses=self.bonuses * factors
        )


class PlanRoom(NamedTuple):
    """What the kernels of `prorank_plugins.lexical.kernels.plans` fill in.

    Attributes:
        integers: (2, q) term numbers and groups.
        numbers: (q, 5) as in `ScorePlan`.
        shown: (2, q) inverse document frequencies and entropies.
        lengths: (n_groups,) m.
    """

    integers: NDArray[np.int64]
    numbers: NDArray[np.float64]
    shown: NDArray[np.float64]
    lengths: NDArray[np.float64]

    @classmethod
    def of(cls, query: QueryTerms) -> PlanRoom:
        """Room for all rows of the queries."""
        n = len(query.ids)
        return cls(np.empty((2, n), np.int64), np.empty((n, 5)), np.empty((2, n)), np.zeros(query.n_groups))

    def plan(self, n_rows: int, slope: float) -> ScorePlan:
        """The plan of the rows that were filled in."""
        terms, groups = self.integers[:, :n_rows]
        idfs, entropies = self.shown[:, :n_rows]
        numbers = read_only(self.numbers[:n_rows])
        counts, weights, offsets, floors, bonuses = numbers.T
        plan = ScorePlan(
            terms, groups, counts, weights, offsets, floors, bonuses, idfs, entropies, self.lengths, slope
        )
        plan.__dict__["numbers"] = numbers
        return plan


class Scorer(Protocol):
    """A scoring function. `BMX` and `BM25` are the two that come with the package."""

    def plan(self, query: QueryTerms, stats: CorpusStats) -> ScorePlan:
        """Fold the corpus statistics and the queries into numbers for the kernels."""
        ...

    def score_max(self, query: QueryTerms, stats: CorpusStats) -> NDArray[np.float64] | None:
        """(n_groups,) what scores are divided by to normalise them; None to leave them as they are."""
        ...


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
