"""What is searched for: plain queries, weighted queries, and both as rows of known terms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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
    """The distinct terms of one query in order of first appearance.

    Attributes:
        terms: the terms as text.
        ids: (q,) term numbers, `UNSEEN` for a term that no document contains.
        counts: (q,) how often each occurs in the query.
        weights: (q,) weight of each; a term that a joint query holds with two weights has two rows.
    """

    terms: tuple[str, ...]
    ids: NDArray[np.int64]
    counts: NDArray[np.float64]
    weights: NDArray[np.float64]

    def merged(self) -> QueryTerms:
        """The same query with every term once, with the weight of its first row."""
        first: dict[str, int] = {}
        for row, term in enumerate(self.terms):
            first.setdefault(term, row)
        return self.select(np.fromiter(first.values(), np.int64, len(first)), counts=np.ones(len(first)))

    def known(self) -> QueryTerms:
        """The same query without the terms that no document contains."""
        if self.ids.min(initial=0) > UNSEEN:
            return self
        return self.select(np.flatnonzero(self.ids != UNSEEN))

    def select(self, rows: NDArray[np.int64], counts: NDArray[np.float64] | None = None) -> QueryTerms:
        """The given rows, with other counts if given."""
        return QueryTerms(
            tuple(self.terms[row] for row in rows),
            self.ids[rows],
            self.counts[rows] if counts is None else counts,
            self.weights[rows],
        )


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
    elif not all(isinstance(term, str) for term in query):
        raise ConfigError("a query given as terms must hold str only")
