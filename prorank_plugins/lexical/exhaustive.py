"""Scores of every document in float64, with numpy alone: the definition that kernels are held to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.postings import Postings
from prorank_plugins.lexical.scorers.plan import ScorePlan


def length_norms(plan_slope: float, lengths: NDArray[np.int32], average_length: float) -> NDArray[np.float64]:
    """(n_docs,) ``slope · |D| / avgdl``; zeros when every document is empty."""
    if average_length == 0.0:
        return np.zeros(len(lengths))
    return lengths.astype(np.float64) * (plan_slope / average_length)


def saturation(
    term_freqs: NDArray[np.float64], norms: NDArray[np.float64], weight: float, offset: float
) -> NDArray[np.float64]:
    """``weight · tf / (tf + slope · |D|/avgdl + offset)``, the part of a score that grows with tf."""
    return weight * term_freqs / (term_freqs + norms + offset)


def score_all(plan: ScorePlan, postings: Postings, norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_docs,) score of each document for a plan of one query, 0.0 where nothing matches.

    Adds in the same order as the kernels, so that both give the same bits.
    """
    scores = np.zeros(len(norms))
    coverages = []
    for group in np.unique(plan.groups):
        bonus, matched = np.zeros(len(norms)), np.zeros(len(norms))
        for i in np.flatnonzero(plan.groups == group):
            rows, term_freqs = postings.of(plan.terms[i])
            grown = saturation(term_freqs.astype(np.float64), norms[rows], plan.weights[i], plan.offsets[i])
            scores[rows] += grown + plan.floors[i]
            bonus[rows] += plan.bonuses[i]
            matched[rows] += plan.counts[i]
        coverages.append(bonus * matched)
    for coverage in coverages:
        scores += coverage
    return scores
