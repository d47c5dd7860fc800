"""What is searched for: plain queries, weighted queries, and both as rows of known terms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

Query: TypeAlias = "str | Sequence[str]"
"""Text, or a list of terms for an index built without an analyzer."""

UNSEEN = -1
"""Term number of a query term that no document contains."""


@dataclass(frozen=True)
class WeightedQuery:
    """Several queries that make one: weighted query augmentation (WQA) of the BMX paper.

    ``score(D) = Σ_i w_i · score(D, Q_i)``: the user's question with weight 1 and an LLM's rewordings
    with less (the authors' script takes five at 0.3 each).

    Attributes:
        parts: (query, weight) pairs; weights are finite and at least 0, in the paper at most 1.
        joint: False is the paper's sum of separate scores, computed in one pass. True is what the
            reference implementation does: the tokens of all parts form a single query, each token
            carrying the weight of its part, so that entropies and coverage are taken over the union.

    Raises:
        ConfigError: no part, or a weight that is negative or not finite.
    """

    parts: tuple[tuple[Query, float], ...]
    joint: bool = False

    def __init__(self, parts: Iterable[tuple[Query, float]], joint: bool = False) -> None:
        checked = tuple((query, float(weight)) for query, weight in parts)
        if not checked:
            raise ConfigError("a WeightedQuery needs at least one (query, weight) pair, found none")
        for query, weight in checked:
            if not math.isfinite(weight) or weight < 0:
                raise ConfigError(f"weights must be finite and at least 0, found {weight} for {query!r}")
        object.__setattr__(self, "parts", checked)
        object.__setattr__(self, "joint", joint)

    @classmethod
    def from_augmentations(
        cls, query: str, augmentations: Iterable[str], weight: float = 0.3
    ) -> WeightedQuery:
        """The question with weight 1 and its rewordings with ``weight`` each."""
        return cls([(query, 1.0), *((text, weight) for text in augmentations)])


@dataclass(frozen=True, eq=False)
class QueryTerms:
    """The distinct terms of one or many queries, row by row.

    A *group* is what is scored as one query: a plain query, a part of a weighted one, or all parts of a
    joint one. Rows of a group stand together, in order of first appearance.

    Attributes:
        terms: (q,) the terms as text, read when they are asked for.
        ids: (q,) term numbers, `UNSEEN` for a term that no document contains.
        counts: (q,) how often each occurs in its group.
        weights: (q,) weight of each; a term that a joint query holds with two weights has two rows.
        groups: (q,) the group each belongs to, ascending.
        n_groups: groups in all, those without a term included.
    """

    terms: Sequence[str]
    ids: NDArray[np.int64]
    counts: NDArray[np.float64]
    weights: NDArray[np.float64]
    groups: NDArray[np.int64]
    n_groups: int

    @cached_property
    def all_known(self) -> bool:
        """Whether some document contains each of the terms."""
        return UNSEEN not in self.ids.tolist()

    def totals(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n_groups,) sums of (q,) values over the rows of each group, in row order."""
        return np.bincount(self.groups, values, self.n_groups).astype(np.float64, copy=False)

    def merged(self) -> QueryTerms:
        """The same queries with every term once in its group, with the weight of its first row."""
        first: dict[tuple[int, str], int] = {}
        for row, key in enumerate(zip(self.groups.tolist(), self.terms, strict=True)):
            first.setdefault(key, row)
        once = self.select(np.fromiter(first.values(), np.int64, len(first)))
        return replace(once, counts=np.ones(len(first)))

    def known(self) -> QueryTerms:
        """The same queries without the terms that no document contains."""
        if self.all_known:
            return self
        return self.select(np.flatnonzero(self.ids != UNSEEN))

    def select(self, rows: NDArray[np.int64]) -> QueryTerms:
        """The given rows."""
        terms = tuple(self.terms[row] for row in rows.tolist())
        arrays = (self.ids[rows], self.counts[rows], self.weights[rows], self.groups[rows])
        return QueryTerms(terms, *arrays, self.n_groups)


def check_query(query: Query, takes_text: bool) -> None:
    """Reject a query of the wrong type.

    Args:
        query: as given by the caller.
        takes_text: whether the index has an analyzer.

    Raises:
        ConfigError: text for an index of token lists or the reverse.
    """
    if takes_text:
        if not isinstance(query, str):
            raise ConfigError(
                "this index analyses text, so a query is a str or a WeightedQuery; found "
                f"{type(query).__name__}"
            )
    elif isinstance(query, (str, bytes)) or not isinstance(query, Sequence):
        raise ConfigError(
            "this index was built from token lists (analyzer=None), so a query is a list of str; "
            f"found {type(query).__name__}"
        )
    elif set(map(type, query)) - {str} and not all(isinstance(term, str) for term in query):
        raise ConfigError("a query given as terms must hold str only")
