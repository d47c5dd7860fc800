"""Compiled loops. Arrays in, arrays out; every number is decided by the caller.

Each has a plain numpy or Python twin in the tests. Machine code is cached on disk by numba.
"""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def _kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile when first called; keep the machine code on disk where there is a place for it."""
    try:
        return njit(cache=True, **_OPTIONS)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        # Neither the package's folder nor the user's cache can be written to, as in a sealed container.
        return njit(**_OPTIONS)(function)  # type: ignore[no-any-return]


# Documents whose scores fit the second-level cache together (8 bytes each).
_WINDOW = 16_384
# A window is scanned in blocks of so many documents; divides _WINDOW.
_BLOCK = 64
# A window with fewer than one posting in so many documents is scanned by its postings instead.
_SPARSE = 4
# The least score that can be told from none.
_TINY = 5e-324
# Below this many surviving candidates, looking them up beats reading the window's postings again.
_FEW = 8


@_kernel
def count_terms(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    seen_in: NDArray[np.int32],
    seen_at: NDArray[np.int64],
    terms: NDArray[np.int32],
    term_freqs: NDArray[np.int32],
    n_distinct: NDArray[np.int32],
) -> int:
    """Count the distinct terms of consecutive documents; returns how many were written.

    ``tokens`` holds the documents one after the other, ``lengths`` their sizes. ``seen_in`` (n_terms,)
    starts at -1 everywhere. ``terms`` and ``term_freqs`` have room for one entry a token.
    """
    written = 0
    read = 0
    for doc in range(lengths.size):
        start = written
        for _ in range(lengths[doc]):
            term = tokens[read]
            read += 1
            if seen_in[term] != doc:
                seen_in[term] = doc
                seen_at[term] = written
                terms[written] = term
                term_freqs[written] = 1
                written += 1
            else:
                term_freqs[seen_at[term]] += 1
        n_distinct[doc] = written - start
    return written


@_kernel
def transpose(
    terms: NDArray[np.int32],
    freqs: NDArray[np.int32],
    n_distinct: NDArray[np.int32],
    next_place: NDArray[np.int64],
    rows: NDArray[np.int32],
    term_freqs: NDArray[np.int32],
) -> None:
    """Move counts grouped by document to places grouped by term; ``next_place`` starts at indptr[:-1]."""
    read = 0
    for doc in range(n_distinct.size):
        for _ in range(n_distinct[doc]):
            term = terms[read]
            place = next_place[term]
            rows[place] = doc
            term_freqs[place] = freqs[read]
            next_place[term] = place + 1
            read += 1


@_kernel
def log_entropies(
    indptr: NDArray[np.int64],
    term_freqs: NDArray[np.uint8],
    table: NDArray[np.float64],
    result: NDArray[np.float64],
) -> None:
    """``ln Σ_j exp(table[tf_j])`` for each term, summed in ascending order of tf.

    Frequencies outside the table are left out; the caller mends the terms that have some.
    """
    histogram = np.zeros(table.size, np.int64)
    for term in range(result.size):
        low = table.size
        high = -1
        for place in range(indptr[term], indptr[term + 1]):
            freq = np.int64(term_freqs[place])
            if freq < table.size:
                histogram[freq] += 1
                low = min(low, freq)
                high = max(high, freq)
        total = 0.0
        for freq in range(low, high + 1):
            if histogram[freq] > 0:
                total += histogram[freq] * math.exp(table[freq] - table[low])
                histogram[freq] = 0
        result[term] = table[low] + math.log(total) if high >= 0 else -np.inf


@_kernel
def _comes_first(score: float, row: int, other_score: float, other_row: int) -> bool:
    """Higher scores first, then lower rows."""
    return score > other_score or (score == other_score and row < other_row)


@_kernel
def _sift_down(
    scores: NDArray[np.float64], rows: NDArray[np.int64], size: int, score: float, row: int
) -> None:
    """Put an entry in at the root of a heap whose root is the entry that comes last."""
    at = 0
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and _comes_first(scores[child], rows[child], scores[right], rows[right]):
            child = right
        if _comes_first(scores[child], rows[child], score, row):
            break
        scores[at] = scores[child]
        rows[at] = rows[child]
        at = child
    scores[at] = score
    rows[at] = row


@_kernel
def _sift_up(scores: NDArray[np.float64], rows: NDArray[np.int64], at: int, score: float, row: int) -> None:
    """Put an entry in at leaf ``at`` of a heap whose root is the entry that comes last."""
    while at > 0:
        parent = (at - 1) >> 1
        if not _comes_first(scores[parent], rows[parent], score, row):
            break
        scores[at] = scores[parent]
        rows[at] = rows[parent]
        at = parent
    scores[at] = score
    rows[at] = row


@_kernel
def _drain(scores: NDArray[np.float64], rows: NDArray[np.int64], size: int) -> None:
    """Turn the heap into a list, best first, in place."""
    while size > 1:
        size -= 1
        last_score = scores[0]
        last_row = rows[0]
        score = scores[size]
        row = rows[size]
        _sift_down(scores, rows, size, score, row)
        scores[size] = last_score
        rows[size] = last_row


def make_scratch() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Working memory for `top_k`, for one thread at a time: sums all zero, slots all -1."""
    return np.zeros((4, _WINDOW), np.float64), np.full((2, _WINDOW), -1, np.int64)


@_kernel
def top_k(
    indptr: NDArray[np.int64],
    rows: NDArray[np.int32],
    term_freqs: NDArray[np.uint8],
    norms: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    plan_ends: NDArray[np.int64],
    terms: NDArray[np.int64],
    groups: NDArray[np.int64],
    counts: NDArray[np.float64],
    weights: NDArray[np.float64],
    offsets: NDArray[np.float64],
    floors: NDArray[np.float64],
    bonuses: NDArray[np.float64],
    k: int,
    floats: NDArray[np.float64],
    integers: NDArray[np.int64],
    best_scores: NDArray[np.float64],
    best_rows: NDArray[np.int64],
    n_best: NDArray[np.int64],
) -> None:
    """Best ``k`` documents of each query by the plan's score, exhaustively, best first.

    Per window of documents: one pass adds the additive part of every posting; documents whose sum, plus
    the most their coverage could add, reaches the k-th best so far are candidates; only these have
    their coverage ``Σ bonus · Σ count`` of each group computed. Sums run in plan order, so a score has
    the same bits whatever the windows.

    Args:
        indptr, rows, term_freqs: the postings.
        norms: (n_docs,) slope · |D| / avgdl.
        allowed: (n_docs,) the filter, or (0,) for none.
        plan_ends: (n_queries + 1,) query ``q`` owns plan rows ``plan_ends[q]:plan_ends[q + 1]``.
        terms, groups, counts, weights, offsets, floors, bonuses: (n_plan_rows,) the plans; groups of one
            query ascend.
        k: at least 1.
        floats, integers: from `make_scratch`; left as they were found.
        best_scores, best_rows, n_best: (n_queries, k), (n_queries, k), (n_queries,) the results.
    """
    n_docs = norms.size
    most_rows = 0
    for q in range(plan_ends.size - 1):
        most_rows = max(most_rows, plan_ends[q + 1] - plan_ends[q])
    sums = floats[0]
    found_scores = floats[1]
    matched = floats[2]
    bonus = floats[3]
    slots = integers[0]
    found = integers[1]
    begin = np.empty(most_rows, np.int64)
    end = np.empty(most_rows, np.int64)

    for q in range(plan_ends.size - 1):
        first = plan_ends[q]
        n_rows = plan_ends[q + 1] - first
        slack = 0.0  # the most that coverage can add to a document's sum
        group_bonus = 0.0
        group_count = 0.0
        for i in range(n_rows):
            begin[i] = indptr[terms[first + i]]
            if i > 0 and groups[first + i] != groups[first + i - 1]:
                slack += group_bonus * group_count
                group_bonus = 0.0
                group_count = 0.0
            group_bonus += bonuses[first + i]
            group_count += counts[first + i]
        slack = (slack + group_bonus * group_count) * (1.0 + 1e-9)
        heap_scores = best_scores[q]
        heap_rows = best_rows[q]
        size = 0
        cut = 0.0
        low = 0
        # Early windows are small: they only serve to raise the cut before candidates get many.
        width = min(_WINDOW, max(1024, (4 * k + _BLOCK - 1) // _BLOCK * _BLOCK))
        while low < n_docs and n_rows > 0:
            high = min(low + width, n_docs)
            width = min(_WINDOW, 2 * width)
            n_postings = 0
            for i in range(n_rows):
                # The first posting at or beyond the window: in steps that double, then by bisection.
                last = indptr[terms[first + i] + 1]
                left = begin[i]
                right = left
                step = 1
                while right < last and rows[right] < high:
                    left = right + 1
                    right += step
                    step += step
                right = min(right, last)
                while left < right:
                    middle = (left + right) >> 1
                    if rows[middle] < high:
                        left = middle + 1
                    else:
                        right = middle
                end[i] = left
                n_postings += left - begin[i]
                weight = weights[first + i]
                offset = offsets[first + i]
                floor = floors[first + i]
                # Unsigned indices spare numba its check for negative ones.
                for place in range(np.uint64(begin[i]), np.uint64(left)):
                    row = np.uint64(rows[place])
                    freq = np.float64(term_freqs[place])
                    sums[row - np.uint64(low)] += weight * freq / (freq + norms[row] + offset) + floor

            n_found = 0
            if n_postings * _SPARSE < high - low:
                for i in range(n_rows):
                    for place in range(begin[i], end[i]):
                        at = rows[place] - low
                        value = sums[at]
                        sums[at] = 0.0
                        if value > 0.0 and value >= cut and (allowed.size == 0 or allowed[low + at]):
                            found[n_found] = at
                            found_scores[n_found] = value
                            n_found += 1
            elif n_postings > 0:
                least = max(cut, _TINY)
                for base in range(0, high - low, _BLOCK):
                    block = sums[base : base + _BLOCK]
                    hits = 0
                    for at in range(_BLOCK):  # a fixed count, so that it is vectorised
                        hits += block[at] >= least
                    if hits > 0:
                        for at in range(base, base + _BLOCK):
                            value = sums[at]
                            if value > 0.0 and value >= cut and (allowed.size == 0 or allowed[low + at]):
                                found[n_found] = at
                                found_scores[n_found] = value
                                n_found += 1
                    for at in range(_BLOCK):
                        block[at] = 0.0

            if slack > 0.0 and n_found > 0:
                few = n_found <= _FEW
                if not few:
                    for c in range(n_found):
                        slots[found[c]] = c
                for c in range(n_found):
                    matched[c] = 0.0
                    bonus[c] = 0.0
                for i in range(n_rows):
                    if few:
                        for c in range(n_found):
                            left = begin[i]
                            right = end[i]
                            target = found[c] + low
                            while left < right:
                                middle = (left + right) >> 1
                                if rows[middle] < target:
                                    left = middle + 1
                                else:
                                    right = middle
                            if left < end[i] and rows[left] == target:
                                matched[c] += counts[first + i]
                                bonus[c] += bonuses[first + i]
                    else:
                        for place in range(begin[i], end[i]):
                            c = slots[rows[place] - low]
                            if c >= 0:
                                matched[c] += counts[first + i]
                                bonus[c] += bonuses[first + i]
                    if i == n_rows - 1 or groups[first + i] != groups[first + i + 1]:
                        for c in range(n_found):
                            found_scores[c] += bonus[c] * matched[c]
                            matched[c] = 0.0
                            bonus[c] = 0.0
                if not few:
                    for c in range(n_found):
                        slots[found[c]] = -1

            for c in range(n_found):
                score = found_scores[c]
                row = found[c] + low
                if size < k:
                    _sift_up(heap_scores, heap_rows, size, score, row)
                    size += 1
                elif _comes_first(score, row, heap_scores[0], heap_rows[0]):
                    _sift_down(heap_scores, heap_rows, size, score, row)
            if size == k:
                cut = max(0.0, heap_scores[0] * (1.0 - 1e-12) - slack)
            for i in range(n_rows):
                begin[i] = end[i]
            low = high
        _drain(heap_scores, heap_rows, size)
        n_best[q] = size
