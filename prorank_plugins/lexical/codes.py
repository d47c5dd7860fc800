"""One byte for the term frequency and the length behind a posting, and what the byte says of both.

A code stands for one small term frequency (the last row: for all larger ones) and a range of document
lengths. From the ends of both ranges the kernels bound what a posting can add to a score, whatever the
scorer's parameters and the statistics of the index are, so that codes outlive every edit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
    row_of, first_of, last_of = _ranges(n_buckets)
    tf_row = np.repeat(np.arange(len(_RANGES)), [row.max() + 1 for row in row_of])
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
    offsets = np.cumsum([0, *(row.max() + 1 for row in row_of)])
    code_of = np.stack([rank[row + offset] for row, offset in zip(row_of, offsets[:-1], strict=True)])
    return Codebook(code_of, buckets, limits, freqs)


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


def _ranges(n_buckets: int) -> tuple[list[NDArray[np.int64]], NDArray[np.int64], NDArray[np.int64]]:
    """For each frequency the range of each bucket; over all ranges, the first and the last bucket."""
    rows, first, last = [], [], []
    for n_ranges in _RANGES:
        n_ranges = min(n_ranges, n_buckets)
        row = np.arange(n_buckets) * n_ranges // n_buckets
        rows.append(row)
        numbers = np.arange(n_ranges)
        first.append(np.searchsorted(row, numbers, side="left"))
        last.append(np.searchsorted(row, numbers, side="right") - 1)
    return rows, np.concatenate(first), np.concatenate(last)
