"""Queries as callers give them, as one list of tokens that says which token belongs to what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, repeat
from typing import cast

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.queries import Query, WeightedQuery, check_query

# Queries of only these types need no look at each.
_LISTS = frozenset((list, tuple))
_STRINGS = frozenset((str,))


@dataclass(eq=False)
class Asked:
    """The tokens of many queries, one after the other.

    A *group* is what is scored as one query; see `QueryTerms`.

    Attributes:
        tokens: (n_tokens,) analysed terms with their repeats, group after group.
        ends: (n_groups + 1,) group ``g`` owns ``tokens[ends[g]:ends[g + 1]]``.
        weights: (n_tokens,) of the tokens; None if all are 1.
        owners: (n_groups,) the query that each group belongs to; None if each query is a group.
        factors: (n_groups,) what a group's score is multiplied by; None if all are 1.
        n_queries: queries, those without a group included.
    """

    tokens: list[str]
    ends: list[int]
    weights: list[float] | None
    owners: NDArray[np.int64] | None
    factors: NDArray[np.float64] | None
    n_queries: int

    @property
    def longest(self) -> int:
        """Tokens of the longest group."""
        if len(self.ends) == 2:
            return self.ends[1]
        return max(map(int.__sub__, self.ends[1:], self.ends), default=0)

    @property
    def n_groups(self) -> int:
        """Groups, those without a token included."""
        return len(self.ends) - 1


def ask(queries: Iterable[Query | WeightedQuery], analyzer: Analyzer | None) -> Asked:
    """Analyse queries.

    Raises:
        ConfigError: a query of the wrong type.
    """
    tokens: list[str] = []
    ends = [0]
    plain = True
    asked = list(queries)
    if analyzer is None and _LISTS.issuperset(map(type, asked)):
        lists = cast("list[Sequence[str]]", asked)
        tokens = list(chain.from_iterable(lists))
        if _STRINGS.issuperset(map(type, tokens)):
            return Asked(tokens, list(accumulate(map(len, lists), initial=0)), None, None, None, len(lists))
        tokens = []
    for query in asked:
        if isinstance(query, WeightedQuery):
            plain = False
            break
        tokens += _terms_of(query, analyzer)
        ends.append(len(tokens))
    if plain:
        return Asked(tokens, ends, None, None, None, len(asked))
    return _ask_weighted(asked, analyzer)


def _ask_weighted(queries: Sequence[Query | WeightedQuery], analyzer: Analyzer | None) -> Asked:
    tokens: list[str] = []
    weights: list[float] = []
    ends, owners, factors = [0], [], []
    for number, query in enumerate(queries):
        for parts, factor in _groups_of(query):
            for part, weight in parts:
                found = _terms_of(part, analyzer)
                tokens += found
                weights += repeat(weight, len(found))
            ends.append(len(tokens))
            owners.append(number)
            factors.append(factor)
    different = weights.count(1.0) != len(weights)
    scaled = factors.count(1.0) != len(factors)
    return Asked(
        tokens,
        ends,
        weights if different else None,
        np.array(owners, np.int64),
        np.array(factors) if scaled else None,
        len(queries),
    )


def _groups_of(query: Query | WeightedQuery) -> Iterable[tuple[Iterable[tuple[Query, float]], float]]:
    """What is scored as one query, and the weight of its score."""
    if not isinstance(query, WeightedQuery):
        return [(((query, 1.0),), 1.0)]
    if query.joint:
        return [(query.parts, 1.0)]
    # A part without weight would still let documents match.
    return [(((part, 1.0),), weight) for part, weight in query.parts if weight > 0]


def _terms_of(query: Query, analyzer: Analyzer | None) -> Sequence[str]:
    if analyzer is None:
        check_query(query, takes_text=False)
        return query
    if type(query) is not str:
        check_query(query, takes_text=True)
    return analyzer.terms(str(query))
