"""Scores of every document in float64, with numpy alone: the definition that kernels are held to."""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.ready import Ready


def length_slope(plan_slope: float, average_length: float) -> float:
    """What a token of a document's length adds to its norm ``slope · |D| / avgdl``; 0 if all are empty."""
    return plan_slope / average_length if average_length else 0.0


def saturation(
    term_freqs: NDArray[np.float64], norms: NDArray[np.float64], weight: float, offset: float
) -> NDArray[np.float64]:
    """``weight · tf / (tf + slope · |D|/avgdl + offset)``, the part of a score that grows with tf."""
    # The share first: with equal shares, scores are equal whatever the weight.
    return weight * (term_freqs / (term_freqs + norms + offset))


def score_all(ready: Ready, query: int) -> NDArray[np.float64]:
    """(n_rows,) score of each document for one of the queries, 0.0 where nothing matches.

    Adds in the same order as the kernels, so that both give the same bits. Documents that are gone have a
    score like the others.
    """
    state = ready.state
    scores, coverage = np.zeros(state.n_rows), np.zeros(state.n_rows)
    norms = state.lengths.astype(np.float64) * ready.slope
    rows = range(int(ready.ends[query]), int(ready.ends[query + 1]))
    for _, group in groupby(rows, key=ready.groups.__getitem__):
        bonus, matched = np.zeros(state.n_rows), np.zeros(state.n_rows)
        for i in group:
            count, weight, offset, floor, extra = ready.numbers[i]
            for segment, base in zip(state.segments, state.bases, strict=False):
                docs, term_freqs = segment.of(int(ready.terms[i]))
                at = docs.astype(np.int64) + base
                grown = saturation(term_freqs.astype(np.float64), norms[at], weight, offset)
                scores[at] += grown + floor
                bonus[at] += extra
                matched[at] += count
        coverage += bonus * matched
    return scores + coverage
