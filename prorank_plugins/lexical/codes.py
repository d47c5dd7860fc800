"""One byte for the term frequency and the length behind a posting, and what the byte says of both.

A code stands for one small term frequency (the last row: for all larger ones) and a range of document
lengths. From the ends of both ranges the kernels bound what a posting can add to a score, whatever the
scorer's parameters and the statistics of the index are, so that codes outlive every edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.arrays import read_only

N_CODES = 256
# How many ranges of lengths postings of term frequency 1, 2, ... are told apart by. Most postings have a
# small one; the last is for every larger frequency.
_RANGES = (96, 64, 32, 24, 12, 8, 6, 4, 3, 2, 1, 1, 1, 1)
_FINEST = _RANGES[0]
MOST_TOLD = len(_RANGES) - 1
"""Larger term frequencies are not told by the code."""


@dataclass(frozen=True, eq=False)
class Codebook:
    """Codes for the documents of one segment, numbered by ascending share of the score.

    Attributes:
        code_of: (n_freqs, n_buckets) uint8; row ``tf - 1``, the last one for all larger frequencies.
        buckets: (n_docs,) uint8, each document's column.
        limits: (4, 256) float32: the largest frequency, the smallest length, the smallest frequency and
            the largest length of each code.
        freqs: (256,) int32 the frequency a code stands for, 0 if there are several.
    """

    code_of: NDArray[np.uint8]
    buckets: NDArray[np.uint8]
    limits: NDArray[np.float32]
    freqs: NDArray[np.int32]


def make_codebook(lengths: NDArray[np.int32], largest_freq: int) -> Codebook:
    """A codebook for documents of (n_docs,) lengths and frequencies of at most ``largest_freq``."""
    starts = _bucket_starts(lengths)
    n_buckets = len(starts)
    buckets = _buckets(starts, lengths)
    ends = np.append(starts[1:] - 1, lengths.max(initial=starts[-1]))
    tf_row, first_of, last_of, number_of = _ranges(n_buckets)
    low_freqs = tf_row + 1.0
    high_freqs = np.where(tf_row == MOST_TOLD, max(largest_freq, MOST_TOLD + 1), low_freqs)
    low_lengths, high_lengths = starts[first_of], ends[last_of]
    typical = high_freqs / (
        high_freqs + low_lengths / max(lengths.sum(dtype=np.int64) / max(len(lengths), 1), 1.0) + 0.25
    )
    order = np.argsort(typical, kind="stable")
    rank = np.empty(len(order), np.uint8)
    rank[order] = np.arange(len(order))

    limits = np.ones((4, N_CODES), np.float32)
    limits[2, len(order) :] = 1e30  # a code that no posting has raises no least share
    for row, values in enumerate((high_freqs, low_lengths, low_freqs, high_lengths)):
        limits[row, : len(order)] = values[order]
    freqs = np.zeros(N_CODES, np.int32)
    freqs[: len(order)] = np.where(tf_row < MOST_TOLD, tf_row + 1, 0)[order]
    return Codebook(rank[number_of], buckets, limits, freqs)


def _buckets(starts: NDArray[np.int64], lengths: NDArray[np.int32]) -> NDArray[np.uint8]:
    """(n_docs,) the last bucket that starts at or before each length; there is one."""
    longest = int(lengths.max(initial=0))
    if longest >= len(lengths):
        return (np.searchsorted(starts, lengths, side="right") - 1).astype(np.uint8)
    of_length = np.searchsorted(starts, np.arange(longest + 1), side="right") - 1
    return of_length.astype(np.uint8)[lengths]


def _bucket_starts(lengths: NDArray[np.int32]) -> NDArray[np.int64]:
    """The smallest length of each bucket: every length its own, or as many documents in each."""
    distinct, counts = np.unique(lengths, return_counts=True)
    if not len(distinct):
        return np.zeros(1, np.int64)
    if len(distinct) <= _FINEST:
        return distinct.astype(np.int64)
    reached = np.cumsum(counts) - counts
    chosen = np.unique(np.searchsorted(reached, np.arange(_FINEST) * (len(lengths) / _FINEST), side="left"))
    starts = distinct[np.minimum(chosen, len(distinct) - 1)].astype(np.int64)
    starts[0] = distinct[0]
    return np.unique(starts)


class _Ranges(NamedTuple):
    """Ranges of term frequencies and lengths, numbered by frequency, then length.

    Attributes:
        tf_row: (n_ranges,) the row of `_RANGES`.
        first, last: (n_ranges,) buckets.
        number_of: (n_freqs, n_buckets) the range of a row and a bucket.
    """

    tf_row: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    number_of: NDArray[np.int64]


@lru_cache(maxsize=_FINEST)
def _ranges(n_buckets: int) -> _Ranges:
    """Remembered, since segments of a few documents, as edits make them, take longest to prepare."""
    rows, first, last, number_of, n = [], [], [], [], 0
    for i, most in enumerate(_RANGES):
        n_ranges = min(most, n_buckets)
        of_bucket = np.arange(n_buckets) * n_ranges // n_buckets
        numbers = np.arange(n_ranges)
        rows.append(np.full(n_ranges, i))
        first.append(np.searchsorted(of_bucket, numbers, side="left"))
        last.append(np.searchsorted(of_bucket, numbers, side="right") - 1)
        number_of.append(of_bucket + n)
        n += n_ranges
    parts = np.concatenate(rows), np.concatenate(first), np.concatenate(last), np.stack(number_of)
    return _Ranges(*map(read_only, parts))
