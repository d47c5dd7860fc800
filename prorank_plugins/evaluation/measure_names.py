"""Measures by name: ``"ndcg@10"`` is `ndcg` at 10."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.measures import average_precision, ndcg, precision, recall, reciprocal_rank
from prorank_plugins.evaluation.ranking import Ranking

MEASURES: Mapping[str, Callable[..., float]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "mrr": reciprocal_rank,
    "map": average_precision,
}

ALIASES: Mapping[str, str] = {
    "p": "precision",
    "rr": "mrr",
    "ap": "map",
    # trec_eval's names, so that "ndcg_cut_10", "P_5" and "recip_rank" work as well
    "ndcg_cut": "ndcg",
    "recip_rank": "mrr",
    "map_cut": "map",
    "set_recall": "recall",
}

_NAME_AND_CUTOFF = re.compile(r"([a-z_]+?)(?:[@_.]([0-9]{1,9}))?")


@dataclass(frozen=True)
class Measure:
    """A measure with its cutoff decided.

    Attributes:
        base: a key of `MEASURES`.
        k: the cutoff, at least 1, or None for the whole ranking.
    """

    base: str
    k: int | None

    @property
    def name(self) -> str:
        """The one spelling among all aliases, for example ``"precision@5"``."""
        return self.base if self.k is None else f"{self.base}@{self.k}"

    def __call__(self, ranking: Ranking, grades: Mapping[str, int]) -> float:
        """The measure of one ranking against one query's grades."""
        options: dict[str, Any] = {} if self.k is None else {"k": self.k}
        return MEASURES[self.base](ranking, grades, **options)


def parse_measure(name: str) -> Measure:
    """Read ``"ndcg"``, ``"ndcg@10"``, ``"P@5"``, ``"recip_rank"``, ``"map_cut_100"``; case is ignored.

    Raises:
        ConfigError: no such measure, a cutoff below 1, or precision without a cutoff.
    """
    match = _NAME_AND_CUTOFF.fullmatch(name.strip().lower())
    base = "" if match is None else ALIASES.get(match[1], match[1])
    k = None if match is None or match[2] is None else int(match[2])
    if base not in MEASURES or k == 0 or (base == "precision" and k is None):
        raise ConfigError(
            f"unknown measure {name!r}; expected one of ndcg, ndcg@k, recall, recall@k, "
            "precision@k (or p@k), mrr, mrr@k, map, map@k with k at least 1"
        )
    return Measure(base, k)
