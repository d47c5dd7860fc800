"""Queries to plans, all queries of a call at once: numpy's cost per call is shared between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.queries import Query, QueryTerms, WeightedQuery, check_query
from prorank_plugins.lexical.scorers.plan import ScorePlan, Scorer
from prorank_plugins.lexical.segment import Segment


@dataclass(frozen=True, eq=False)
class PlannedQueries:
    """What the kernels need to know of queries.

    Attributes:
        terms: the queries' terms, those that no document contains included.
        plan: rows of all queries, one query after the other.
        ends: (n_queries + 1,) query ``i`` owns the plan's rows ``ends[i]:ends[i + 1]``.
        scales: (n_queries,) what scores are multiplied by; 1 unless they are normalised.
    """

    terms: QueryTerms
    plan: ScorePlan
    ends: NDArray[np.int64]
    scales: NDArray[np.float64]


def plan_queries(
    queries: Iterable[Query | WeightedQuery], scorer: Scorer, segment: Segment, analyzer: Analyzer | None
) -> PlannedQueries:
    """Analyse queries and let the scorer make a plan of them.

    Raises:
        ConfigError: a query of the wrong type.
    """
    names: list[str] = []
    counts: list[int] = []
    weights: list[float] = []
    groups: list[int] = []
    group_weights: list[float] = []
    query_of_group: list[int] = []
    n_queries = 0
    for query in queries:
        for parts, group_weight in _groups_of(query):
            tokens: dict[tuple[str, float], int] = {}
            for part, weight in parts:
                for term in _terms_of(part, analyzer):
                    tokens[term, weight] = tokens.get((term, weight), 0) + 1
            names += [term for term, _ in tokens]
            weights += [weight for _, weight in tokens]
            counts += tokens.values()
            groups += repeat(len(query_of_group), len(tokens))
            group_weights.append(group_weight)
            query_of_group.append(n_queries)
        n_queries += 1
    terms = QueryTerms(
        terms=tuple(names),
        ids=segment.term_numbers(names),
        counts=np.array(counts, np.float64),
        weights=np.array(weights, np.float64),
        groups=np.array(groups, np.int64),
        n_groups=len(query_of_group),
    )
    owners, factors = np.array(query_of_group, np.int64), np.array(group_weights)
    plan = scorer.plan(terms, segment.stats)
    if group_weights.count(1.0) != len(group_weights):
        plan = plan.weighted(factors)
    if n_queries == 1:
        ends = np.array([0, len(plan.terms)])
    else:
        ends = np.searchsorted(owners[plan.groups], np.arange(n_queries + 1))
    scales = _scales(scorer.score_max(terms, segment.stats), owners, factors, n_queries)
    return PlannedQueries(terms, plan, ends, scales)


def _groups_of(query: Query | WeightedQuery) -> Iterator[tuple[Iterable[tuple[Query, float]], float]]:
    """What is scored as one query, and the weight of its score."""
    if not isinstance(query, WeightedQuery):
        yield ((query, 1.0),), 1.0
    elif query.joint:
        yield query.parts, 1.0
    else:
        # A part without weight would still let documents match.
        yield from ((((part, 1.0),), weight) for part, weight in query.parts if weight > 0)


def _terms_of(query: Query, analyzer: Analyzer | None) -> Iterable[str]:
    check_query(query, takes_text=analyzer is not None)
    return query if analyzer is None else analyzer.terms(str(query))


def _scales(
    most: NDArray[np.float64] | None, owners: NDArray[np.int64], factors: NDArray[np.float64], n_queries: int
) -> NDArray[np.float64]:
    """1 / the queries' normalisers; 1 where there is none or nothing to normalise."""
    if most is None:
        return np.ones(n_queries)
    totals = np.bincount(owners, most * factors, n_queries)
    return np.divide(1.0, totals, out=np.ones(n_queries), where=totals > 0)
