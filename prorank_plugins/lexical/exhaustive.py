"""Scores of every document in float64, with numpy alone: the definition that kernels are held to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.scorers.plan import ScorePlan
from prorank_plugins.lexical.state import State


def length_slope(plan_slope: float, average_length: float) -> float:
    """What a token of a document's length adds to its norm ``slope · |D| / avgdl``; 0 if all are empty."""
    return plan_slope / average_length if average_length else 0.0


def saturation(
    term_freqs: NDArray[np.float64], norms: NDArray[np.float64], weight: float, offset: float
) -> NDArray[np.float64]:
    """``weight · tf / (tf + slope · |D|/avgdl + offset)``, the part of a score that grows with tf."""
    return weight * term_freqs / (term_freqs + norms + offset)


def score_all(
    plan: ScorePlan, numbers: NDArray[np.int64], rows: slice, state: State, slope: float
) -> NDArray[np.float64]:
    """(n_rows,) score of each document for one query, 0.0 where nothing matches.

    Adds in the same order as the kernels, so that both give the same bits.

    Args:
        plan: of one or many queries.
        numbers: for each row of the plan, its term's number in the index.
        rows: the query's rows of the plan.
        state: the documents; those that are gone have a score like the others.
        slope: `length_slope` of the plan.
    """
    scores, coverage = np.zeros(state.n_rows), np.zeros(state.n_rows)
    norms = state.lengths.astype(np.float64) * slope
    groups = plan.groups[rows]
    for group in dict.fromkeys(groups.tolist()):
        bonus, matched = np.zeros(state.n_rows), np.zeros(state.n_rows)
        for i in (rows.start + np.flatnonzero(groups == group)).tolist():
            for segment, base in zip(state.segments, state.bases.tolist(), strict=False):
                docs, term_freqs = segment.of(int(numbers[i]))
                at = docs.astype(np.int64) + base
                grown = saturation(term_freqs.astype(np.float64), norms[at], plan.weights[i], plan.offsets[i])
                scores[at] += grown + plan.floors[i]
                bonus[at] += plan.bonuses[i]
                matched[at] += plan.counts[i]
        coverage += bonus * matched
    return scores + coverage
