"""How far a mean over queries could have come out differently: seeded resampling in numpy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

_MAX_DRAWS = 2_000_000
"""Random numbers held at a time, which bounds memory for any number of queries."""


def bootstrap_means(values: NDArray[np.float64], n_resamples: int, seed: int) -> NDArray[np.float64]:
    """(m, n_resamples) means of resamples of the queries with replacement.

    All ``m`` rows see the same resamples, so a row's means do not depend on the other rows.

    Args:
        values: (m, n) one row per measure, one column per query, n at least 1.
        n_resamples: at least 1.
        seed: of numpy's default generator.

    Raises:
        ConfigError: ``n_resamples`` is below 1.
    """
    rng = np.random.default_rng(seed)
    n_queries = values.shape[1]
    means = np.empty((len(values), n_resamples))
    for chunk in _chunks(n_resamples, n_queries):
        columns = rng.integers(n_queries, size=(chunk.stop - chunk.start, n_queries))
        for row, of_one_measure in enumerate(values):
            means[row, chunk] = of_one_measure[columns].mean(axis=1)
    return means


def percentile_interval(means: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """The central ``confidence`` share of resampled means, from quantile ``(1 - confidence) / 2`` on.

    The percentile bootstrap (Efron and Tibshirani, 1993, chapter 13).

    Raises:
        ConfigError: ``confidence`` is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise ConfigError(f"confidence must lie between 0 and 1, such as 0.95, found {confidence}")
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def sign_flip_p_value(differences: NDArray[np.float64], n_resamples: int, seed: int) -> float:
    """Two-sided p-value of "which system gave which value is a coin flip per query".

    Fisher's randomisation test as Smucker, Allan and Carterette (CIKM 2007) recommend it for retrieval:
    the share of random sign patterns whose sum is at least as far from 0 as the observed one. The
    observed pattern counts as one of them (Phipson and Smyth, 2010), so the value is never 0 and the
    smallest possible one is ``1 / (n_resamples + 1)``.

    Args:
        differences: (n,) per query.
        n_resamples: at least 1.
        seed: of numpy's default generator.

    Raises:
        ConfigError: ``n_resamples`` is below 1.
    """
    rng = np.random.default_rng(seed)
    moved = differences[differences != 0]
    # A flipped sum of n terms may differ from the observed one by rounding alone.
    observed = abs(moved.sum()) - 1e-12 * np.abs(moved).sum()
    as_extreme = 0
    for chunk in _chunks(n_resamples, moved.size):
        heads = rng.integers(2, size=(chunk.stop - chunk.start, moved.size), dtype=np.bool_)
        as_extreme += int((np.abs(2 * (heads @ moved) - moved.sum()) >= observed).sum())
    return (1 + as_extreme) / (1 + n_resamples)


def _chunks(n_resamples: int, n_queries: int) -> Iterator[slice]:
    if n_resamples < 1:
        raise ConfigError(f"n_resamples must be at least 1, found {n_resamples}")
    size = max(1, _MAX_DRAWS // max(1, n_queries))
    for start in range(0, n_resamples, size):
        yield slice(start, min(start + size, n_resamples))
