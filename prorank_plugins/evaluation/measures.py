"""Five measures of one ranking against one query's judgements, equal to trec_eval's.

A document is relevant when its grade is at least 1; a document without a grade is not relevant, and a
negative grade gains nothing. Every measure is in [0, 1], and 0 for a query without relevant documents.

``ranking`` is ``{id: score}`` or ids best first (see `ranking.ranked` for the order of ties) and
``grades`` is ``{id: grade}``. Cutoffs ``k`` are at least 1; ``None`` looks at the whole ranking.
The definitions are those of trec_eval 9 (https://github.com/usnistgov/trec_eval).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log2

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.ranking import Ranking, ranked


def ndcg(ranking: Ranking, grades: Mapping[str, int], k: int | None = None) -> float:
    """Normalised discounted cumulative gain: ``DCG@k / ideal DCG@k``.

    ``DCG@k = Σ_{rank ≤ k} gain / log2(rank + 1)`` with linear gain ``max(grade, 0)``. The ideal ranking
    holds every judged document, retrieved or not, best grade first. Järvelin and Kekäläinen, TOIS 2002,
    with the discount of trec_eval's ``ndcg`` and ``ndcg_cut``.

    Raises:
        ConfigError: ``k`` is below 1, or the ranking is malformed.
    """
    retrieved = _top(ranking, k)
    ideal = _discounted_gain(sorted(grades.values(), reverse=True)[:k])
    return _discounted_gain(grades.get(id, 0) for id in retrieved) / ideal if ideal else 0.0


def recall(ranking: Ranking, grades: Mapping[str, int], k: int | None = None) -> float:
    """Share of the relevant documents among the first ``k``: ``|relevant ∩ top k| / |relevant|``.

    trec_eval's ``recall_k``, and ``set_recall`` without ``k``.

    Raises:
        ConfigError: ``k`` is below 1, or the ranking is malformed.
    """
    found = sum(_relevances(ranking, grades, k))
    return found / _n_relevant(grades) if found else 0.0


def precision(ranking: Ranking, grades: Mapping[str, int], k: int) -> float:
    """Share of relevant documents in the first ``k`` ranks: ``|relevant ∩ top k| / k``.

    trec_eval's ``P_k``: a ranking shorter than ``k`` is divided by ``k`` all the same.

    Raises:
        ConfigError: ``k`` is below 1, or the ranking is malformed.
    """
    return sum(_relevances(ranking, grades, k)) / k


def reciprocal_rank(ranking: Ranking, grades: Mapping[str, int], k: int | None = None) -> float:
    """``1 / rank`` of the first relevant document, 0 when none is in the first ``k``.

    trec_eval's ``recip_rank``; its mean over queries is MRR (Voorhees, TREC-8, 1999).

    Raises:
        ConfigError: ``k`` is below 1, or the ranking is malformed.
    """
    for rank, is_relevant in enumerate(_relevances(ranking, grades, k), start=1):
        if is_relevant:
            return 1 / rank
    return 0.0


def average_precision(ranking: Ranking, grades: Mapping[str, int], k: int | None = None) -> float:
    """``Σ_{rank ≤ k, relevant} precision@rank / |relevant|``, over all relevant documents of the query.

    trec_eval's ``map`` and ``map_cut_k``: relevant documents that are not retrieved count as precision 0,
    also when there are more of them than ``k``.

    Raises:
        ConfigError: ``k`` is below 1, or the ranking is malformed.
    """
    found, total = 0, 0.0
    for rank, is_relevant in enumerate(_relevances(ranking, grades, k), start=1):
        if is_relevant:
            found += 1
            total += found / rank
    return total / _n_relevant(grades) if found else 0.0


def _top(ranking: Ranking, k: int | None) -> list[str]:
    if k is not None and k < 1:
        raise ConfigError(f"the cutoff k must be at least 1, or None for the whole ranking, found {k}")
    return ranked(ranking)[:k]


def _relevances(ranking: Ranking, grades: Mapping[str, int], k: int | None) -> list[bool]:
    return [grades.get(id, 0) >= 1 for id in _top(ranking, k)]


def _n_relevant(grades: Mapping[str, int]) -> int:
    return sum(grade >= 1 for grade in grades.values())


def _discounted_gain(gains: Iterable[int]) -> float:
    return float(sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, start=1) if gain > 0))
