"""How evenly a term is spread over documents (BMX eq. 5), as logarithms, from counts of frequencies."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

# Frequencies below are looked up, and logarithms of whole numbers; few are above.
_TABLE_SIZE = 256


def log_entropy_terms(term_freqs: NDArray[np.int64]) -> NDArray[np.float64]:
    """``ln(-p ln p)`` with ``p = 1 / (1 + exp(-tf))``: one document's share of BMX eq. 5.

    Written with log1p, since ``ln p`` of a rounded sigmoid is 0 from tf = 37 on.
    """
    freqs = term_freqs.astype(np.float64)
    tail = np.exp(-freqs)
    with np.errstate(divide="ignore"):
        # For large tf, ln(log1p(x)) = ln x - x/2 + O(x²) with x = exp(-tf).
        log_minus_log_p = np.where(freqs < 30, np.log(np.log1p(tail)), -freqs - tail / 2)
    return log_minus_log_p - np.log1p(tail)


def log_entropies_of_counts(
    ones: NDArray[np.int64],
    indptr: NDArray[np.int64],
    term_freqs: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> NDArray[np.float64]:
    """(n,) ``ln Σ_tf count(tf) · exp(share(tf))`` of n terms, -inf for a term without documents.

    Summed in ascending tf, relative to the first, so equal counts give equal bits whatever their history.
    Exponentials and logarithms are the C library's: numpy's own differ between processors.

    Args:
        ones: (n,) documents that contain each term once.
        indptr: (n + 1,) term ``i`` owns entries ``indptr[i]:indptr[i + 1]`` of the arrays below.
        term_freqs: (n_entries,) at least 2, ascending within a term.
        counts: (n_entries,) documents that contain the term so often.
    """
    places = np.arange(len(ones))
    owners = np.repeat(places, np.diff(indptr))
    lowest = np.ones(len(ones), np.int64)
    without = (ones <= 0) & (indptr[:-1] < indptr[1:])
    lowest[without] = term_freqs[indptr[:-1][without]]
    terms = counts * _ratios(term_freqs, lowest[owners])
    # bincount adds in the order given: documents with tf = 1 first.
    shares = np.concatenate((ones * 1.0, terms))
    totals = np.bincount(np.concatenate((places, owners)), shares, minlength=len(ones)).astype(np.float64)
    result = np.full(len(ones), -np.inf)
    present = np.flatnonzero(totals > 0)
    result[present] = _shares(lowest[present]) + _logarithms(totals[present])
    return result


def _logarithms(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithms of positive numbers; most are small and whole, and looked up."""
    whole: NDArray[np.int64] = np.minimum(numbers, _TABLE_SIZE - 1).astype(np.int64)
    result: NDArray[np.float64] = _logarithm_table()[whole]
    others = np.flatnonzero(whole != numbers)
    result[others] = list(map(math.log, numbers[others].tolist()))
    return result


def _shares(term_freqs: NDArray[np.int64]) -> NDArray[np.float64]:
    """`log_entropy_terms`, from a table; beyond it they are -tf to the last bit."""
    looked_up = _share_table()[np.clip(term_freqs, 0, _TABLE_SIZE - 1)]
    return np.where(term_freqs < _TABLE_SIZE, looked_up, -term_freqs)


def _ratios(term_freqs: NDArray[np.int64], lowest: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n_entries,) ``exp(share(tf) - share(lowest))``."""
    last = _TABLE_SIZE - 1
    result: NDArray[np.float64] = _ratio_table()[np.clip(lowest, 0, last), np.clip(term_freqs, 0, last)]
    above = np.flatnonzero(term_freqs > last)
    if len(above):
        exponents = _shares(term_freqs[above]) - _shares(lowest[above])
        result[above] = list(map(math.exp, exponents.tolist()))
    return result


@cache
def _share_table() -> NDArray[np.float64]:
    return log_entropy_terms(np.arange(_TABLE_SIZE))


@cache
def _logarithm_table() -> NDArray[np.float64]:
    return np.array([-math.inf, *map(math.log, range(1, _TABLE_SIZE))])


@cache
def _ratio_table() -> NDArray[np.float64]:
    """``exp(share(column) - share(row))`` from the diagonal on."""
    shares = _share_table()
    table = np.zeros((_TABLE_SIZE, _TABLE_SIZE))
    for low in range(_TABLE_SIZE):
        table[low, low:] = list(map(math.exp, (shares[low:] - shares[low]).tolist()))
    return table
