"""Mix the reranker's scores with those of the first stage.

The two have different scales, so each list is first brought to a common one, list by list. The values
order one list; they mean nothing between queries.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prorank_plugins.core.errors import ConfigError

Method: TypeAlias = Literal["minmax", "zscore", "rrf"]

RRF_CONSTANT = 60
"""``c`` of reciprocal rank fusion, the value of its authors."""


def fuse(
    rerank_scores: ArrayLike, retrieval_scores: ArrayLike, weight: float = 0.5, method: Method = "minmax"
) -> NDArray[np.float64]:
    """``weight · scale(rerank) + (1 - weight) · scale(retrieval)``; higher is better.

    Args:
        rerank_scores: (n,) raw scores of one query's documents.
        retrieval_scores: (n,) first-stage scores of the same documents in the same order.
        weight: of the reranker, in [0, 1]; 1 keeps its order and 0 the first stage's.
        method: how a list ``x`` is scaled:
            ``"minmax"``: ``(x - min) / (max - min)``, 0.5 where all are equal;
            ``"zscore"``: ``(x - mean) / sd`` with the population's standard deviation, 0 where all are
            equal;
            ``"rrf"``: ``1 / (60 + rank)``, ranks from 1 and equal scores sharing the best of their ranks
            (reciprocal rank fusion; Cormack, Clarke and Büttcher, SIGIR 2009).

    Returns:
        (n,) fused scores.

    Raises:
        ConfigError: lengths differ, a score is not finite, or weight or method is unknown.
    """
    scales = {"minmax": _min_max, "zscore": _z_scores, "rrf": _reciprocal_ranks}
    if method not in scales:
        raise ConfigError(f"unknown fusion method {method!r}; expected one of {', '.join(scales)}")
    if not 0 <= weight <= 1:
        raise ConfigError(f"weight must lie in [0, 1], found {weight}")
    rerank, retrieval = _checked("rerank", rerank_scores), _checked("retrieval", retrieval_scores)
    if len(rerank) != len(retrieval):
        raise ConfigError(
            f"found {len(rerank)} rerank and {len(retrieval)} retrieval scores; "
            "give both for the same documents in the same order"
        )
    if not len(rerank):
        return np.zeros(0)
    scale = scales[method]
    fused: NDArray[np.float64] = weight * scale(rerank) + (1 - weight) * scale(retrieval)
    return fused


def _min_max(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = scores.min(), scores.max()
    if low == high:
        return np.full(len(scores), 0.5)
    scaled: NDArray[np.float64] = (scores - low) / (high - low)
    return scaled


def _z_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    # Of the min-max values, whose z-scores are the same: their deviation cannot underflow.
    scaled = _min_max(scores)
    centred = scaled - scaled.mean()
    if scores.min() == scores.max():
        return np.zeros(len(scores))
    standardised: NDArray[np.float64] = centred / scaled.std()
    return standardised


def _reciprocal_ranks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    ranks = 1 + len(scores) - np.searchsorted(np.sort(scores), scores, side="right")
    reciprocal: NDArray[np.float64] = 1.0 / (RRF_CONSTANT + ranks)
    return reciprocal


def _checked(name: str, values: Any) -> NDArray[np.float64]:
    try:
        scores = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} scores must be numbers ({error})") from error
    if scores.ndim != 1:
        raise ConfigError(f"{name} scores have shape {scores.shape}; expected one list of numbers")
    if not np.isfinite(scores).all():
        raise ConfigError(f"{name} scores hold NaN or infinity; expected finite numbers")
    return scores
