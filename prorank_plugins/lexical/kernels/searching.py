"""The best k documents of each query: bounds in 16 bits first, exact scores for the few that may matter.

Segment by segment, query by query:

1. Each term's postings carry a code that stands for a range of (term frequency, length). One table a term
   turns codes into upper bounds of what a posting adds, as whole numbers of 16 bits, whatever the scorer's
   parameters are; sums of a segment's documents stay in the second-level cache.
2. Terms are taken by their bounds, least first. While bounds sum to less than the k-th best score, no
   document can become a candidate, so these (the longest) lists are added without a look, or left out
   and looked up for candidates only. In the other lists a document is noted when its sum crosses the cut.
3. Candidates are scored exactly in float64, in plan order: the bits do not depend on any of the above.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import address, kernel, view

# Columns of a segment's row in the table of segments; `Segment.record` fills it in.
N_DOCS, N_TERMS, TERMS, INDPTR, DOCS, CODES, LENGTHS, BOUNDS, CODE_FREQS, N_LARGE = range(10)
LARGE_PLACES, LARGE_FREQS, BEST_CODES, DELETED, N_DELETED, BASE = range(10, 16)
N_COLUMNS = 16

N_CODES = 256
LEVELS = (10, 100, 1000)
"""The k for which a term's list names the code that its k-th best posting reaches."""

# Rows of the float part of a plan.
COUNTS, WEIGHTS, OFFSETS, FLOORS, BONUSES = range(5)

# Addresses of working memory, one entry a document each, in the order of `make_scratch`.
SUMS, FOUND, UPPER, SCORES, MATCHED, BONUS, COVERAGE, HISTOGRAM, TASK = range(9)
N_SCRATCH = 14
SPANS_ROOM, SHARES_ROOM, TABLES_ROOM, LIMITS_ROOM, LOWER = range(9, 14)

# One query and one segment, as the loops below see them. They take the address of this record and no
# arrays: passing arrays on costs more than most of the loops do.
(
    SEGMENT,
    SCRATCH,
    PLAN,
    GROUPS,
    N_ROWS,
    SPANS,
    BEST_SCORES,
    BEST_ROWS,
    K,
    SIZE,
    ALLOWED,
    N_POSTINGS,
    SHARES,
    TABLES,
    LIMITS,
    N_FOUND,
) = range(16)
MOST_DOCS = 65_535
"""Documents in a segment, at most: numbers from 1 name candidates in 16 bits."""

# The largest sum of bounds; what is left of 16 bits takes up one unit of rounding for each term.
_FULL = 60_000.0
MOST_ROWS = 4_000
"""Rows of a query's plan, at most."""

# Fewer postings than this in a segment are scored at once, without bounds.
_FEW_POSTINGS = 256
# Lists are left out and probed while their bounds sum to this share of the threshold ...
_LEFT_OUT = 0.4
# ... for a k up to this, beyond which candidates are too many to be worth it ...
_LEFT_OUT_UP_TO = 16
# ... if they are at least this long: shorter ones cost less than the probes.
_LONG = 1024
# Up to so many entries are sorted as a heap, more digit by digit.
FEW_ENTRIES = 64
# Beyond these, bounds would leave the range of 32-bit floats: everything is scored then.
_LARGE = 1e15
_TINY = 1e-200
_HUGE = 1e200
# What a probe of a list costs, in postings read one after the other.
_PROBE = 14

_I64 = types.int64
_F64 = types.float64


@kernel(types.void(_I64, _I64, _I64, _I64, _F64, _I64))
def _sift_down(scores_at: int, rows_at: int, at: int, size: int, score: float, row: int) -> None:
    """Put an entry in at place ``at`` of a heap whose root is the entry that comes last.

    Higher scores come first, then lower rows.
    """
    scores = view(scores_at, np.float64)
    rows = view(rows_at, np.int64)
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        right = child + 1
        if right < size and (
            scores[right] < scores[child] or (scores[right] == scores[child] and rows[right] > rows[child])
        ):
            child = right
        if scores[child] > score or (scores[child] == score and rows[child] < row):
            break
        scores[at] = scores[child]
        rows[at] = rows[child]
        at = child
    scores[at] = score
    rows[at] = row


@kernel(types.void(_I64, _I64, _I64))
def _make_heap(scores_at: int, rows_at: int, size: int) -> None:
    """Turn entries in any order into a heap."""
    scores = view(scores_at, np.float64)
    rows = view(rows_at, np.int64)
    for at in range(size // 2 - 1, -1, -1):
        _sift_down(scores_at, rows_at, at, size, scores[at], rows[at])


@kernel(types.void(_I64))
def _push_found(task_at: int) -> None:
    """Offer the documents found to the best so far, a heap as soon as they are k."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    found = view(scratch[FOUND], np.uint16)
    scores = view(scratch[SCORES], np.float64)
    k = task[K]
    best_scores = view(task[BEST_SCORES], np.float64)
    best_rows = view(task[BEST_ROWS], np.int64)
    size = task[SIZE]
    for c in range(task[N_FOUND]):
        score = scores[c]
        row = segment[BASE] + np.int64(found[c])
        if not score > 0.0:
            continue
        if size < k:
            best_scores[size] = score
            best_rows[size] = row
            size += 1
            if size == k:
                _make_heap(task[BEST_SCORES], task[BEST_ROWS], k)
        elif score > best_scores[0] or (score == best_scores[0] and row < best_rows[0]):
            _sift_down(task[BEST_SCORES], task[BEST_ROWS], 0, k, score, row)
    task[SIZE] = size


@kernel(types.void(_I64, _I64, _I64, _I64, _I64, _I64))
def _sort_digits(
    keys_at: int, places_at: int, moved_at: int, counts_at: int, size: int, n_digits: int
) -> None:
    """Order places by ``keys[place]``, descending, keeping the order of equal keys: a radix sort.

    Arrays of uint64: ``keys``, ``places`` and room for as many more (size,), ``counts`` (8, 256).
    """
    keys = view(keys_at, np.uint64)
    places = view(places_at, np.uint64)
    moved = view(moved_at, np.uint64)
    counts = view(counts_at, np.uint64)
    for digit in range(n_digits):
        for value in range(256):
            counts[256 * digit + value] = 0
    for at in range(size):
        key = keys[at]
        for digit in range(n_digits):
            counts[256 * digit + np.int64(key & np.uint64(255))] += np.uint64(1)
            key >>= np.uint64(8)
    for digit in range(n_digits):
        shift = np.uint64(8 * digit)
        base = 256 * digit
        if counts[base + np.int64((keys[0] >> shift) & np.uint64(255))] == np.uint64(size):
            continue
        begin = np.uint64(0)
        for value in range(255, -1, -1):
            count = counts[base + value]
            counts[base + value] = begin
            begin += count
        for at in range(size):
            place = places[at]
            value = np.int64((keys[place] >> shift) & np.uint64(255))
            moved[counts[base + value]] = place
            counts[base + value] += np.uint64(1)
        for at in range(size):
            places[at] = moved[at]


@kernel(types.void(_I64, _I64, _I64, _I64))
def _sort_best(scores_at: int, rows_at: int, size: int, room_at: int) -> None:
    """Order entries in place: higher scores first, then lower rows. ``room`` is for 3·size + 2048 numbers."""
    scores = view(scores_at, np.float64)
    rows = view(rows_at, np.int64)
    if size <= FEW_ENTRIES:
        _make_heap(scores_at, rows_at, size)
        for left in range(size - 1, 0, -1):
            score = scores[0]
            row = rows[0]
            _sift_down(scores_at, rows_at, 0, left, scores[left], rows[left])
            scores[left] = score
            rows[left] = row
        return
    places_at = room_at + 8 * 2048
    moved_at = places_at + 8 * size
    keys_at = moved_at + 8 * size
    places = view(places_at, np.int64)
    keys = view(keys_at, np.int64)
    values = view(keys_at, np.float64)
    for at in range(size):
        places[at] = at
        keys[at] = ~rows[at]  # digits are sorted in descending order, rows are wanted ascending
    _sort_digits(keys_at, places_at, moved_at, room_at, size, 5)
    for at in range(size):
        values[at] = scores[at]  # positive, so that the bits ascend with them
    _sort_digits(keys_at, places_at, moved_at, room_at, size, 8)
    for at in range(size):
        keys[at] = rows[at]
    for at in range(size):
        rows[at] = keys[places[at]]
    for at in range(size):
        values[at] = scores[at]
    for at in range(size):
        scores[at] = values[places[at]]


@kernel(types.int64(_I64, _I64, _I64))
def _locate(task_at: int, terms_at: int, first: int) -> int:
    """Where each term's postings begin and end in the segment; returns how many there are in all."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    terms = view(terms_at, np.int64)
    n_terms = segment[N_TERMS]
    known = view(segment[TERMS], np.int32)
    indptr = view(segment[INDPTR], np.uint32)
    total = 0
    for i in range(n_rows):
        term = terms[first + i]
        # Terms are numbered as they appear, so that in the first segment each stands at its own place.
        left = 0
        right = term + 1 if term < n_terms else n_terms
        if right > 0 and known[right - 1] == term:
            left = right - 1
        else:
            while left < right:
                middle = (left + right) >> 1
                if known[middle] < term:
                    left = middle + 1
                else:
                    right = middle
        spans[3 * i] = 0
        spans[3 * i + 1] = 0
        spans[3 * i + 2] = left
        if left < n_terms and known[left] == term:
            spans[3 * i] = np.int64(indptr[left])
            spans[3 * i + 1] = np.int64(indptr[left + 1])
            total += spans[3 * i + 1] - spans[3 * i]
    return total


@kernel(types.void(_I64, _I64, _I64, _I64, _I64, _I64))
def _add(docs_at: int, codes_at: int, begin: int, end: int, table_at: int, sums_at: int) -> None:
    """Add the bounds of a list."""
    docs = view(docs_at, np.uint16)
    codes = view(codes_at, np.uint8)
    table = view(table_at, np.uint16)
    sums = view(sums_at, np.uint16)
    # Unsigned indices spare numba its check for negative ones.
    for place in range(np.uint64(begin), np.uint64(end)):
        sums[docs[place]] += table[codes[place]]


@kernel(types.int64(_I64, _I64, _I64, _I64, _I64, _I64, types.uint16, _I64, _I64))
def _add_and_note(
    docs_at: int, codes_at: int, begin: int, end: int, table_at: int, sums_at: int, cut: int,
    found_at: int, n_found: int,
) -> int:  # fmt: skip
    """Add the bounds of a list and note the documents whose sums cross ``cut``; returns their number."""
    docs = view(docs_at, np.uint16)
    codes = view(codes_at, np.uint8)
    table = view(table_at, np.uint16)
    sums = view(sums_at, np.uint16)
    found = view(found_at, np.uint16)
    noted = np.uint64(n_found)
    for place in range(np.uint64(begin), np.uint64(end)):
        doc = docs[place]
        before = sums[doc]
        after = np.uint16(before + table[codes[place]])
        sums[doc] = after
        if after > cut and before <= cut:
            found[noted] = doc
            noted += np.uint64(1)
    return np.int64(noted)


@kernel(types.int64(_I64, _I64, _I64, _I64, _I64))
def _find(docs_at: int, begin: int, end: int, doc: int, n_docs: int) -> int:
    """Place of a document's posting in a list, else -1; guesses that documents are spread evenly."""
    if begin >= end:
        return -1
    docs = view(docs_at, np.uint16)
    guess = begin + (doc * (end - begin)) // n_docs
    step = 8
    if docs[guess] < doc:
        left = guess + 1
        while left + step < end and docs[left + step] < doc:
            left += step + 1
            step += step
        right = left + step + 1 if left + step < end else end
    else:
        right = guess + 1
        while right - step > begin and docs[right - step] >= doc:
            right -= step
            step += step
        left = right - step if right - step > begin else begin
    while left < right:
        middle = (left + right) >> 1
        if docs[middle] < doc:
            left = middle + 1
        else:
            right = middle
    return left if left < end and docs[left] == doc else -1


@kernel(types.int64(_I64, _I64))
def _freq_at(segment_at: int, place: int) -> int:
    """Term frequency of a posting whose code stands for several."""
    segment = view(segment_at, np.int64)
    n_large = segment[N_LARGE]
    places = view(segment[LARGE_PLACES], np.uint32)
    left = 0
    right = n_large
    while left < right:
        middle = (left + right) >> 1
        if places[middle] < place:
            left = middle + 1
        else:
            right = middle
    if left < n_large and places[left] == place:
        return np.int64(view(segment[LARGE_FREQS], np.int32)[left])
    return 1


@kernel(types.void(_I64, _F64, types.boolean))
def _score(task_at: int, slope: float, sweep: bool) -> None:
    """Exact scores of the documents found, by reading the lists once more or by looking them up.

    For a sweep, ``SUMS`` holds each document's number among those found plus 1, or 0.
    """
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    n_found = task[N_FOUND]
    n_docs = segment[N_DOCS]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    groups = view(task[GROUPS], np.int64)
    docs = view(segment[DOCS], np.uint16)
    codes = view(segment[CODES], np.uint8)
    lengths = view(segment[LENGTHS], np.int32)
    code_freqs = view(segment[CODE_FREQS], np.int32)
    numbers = view(scratch[SUMS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    scores = view(scratch[SCORES], np.float64)
    matched = view(scratch[MATCHED], np.float64)
    bonus = view(scratch[BONUS], np.float64)
    coverage = view(scratch[COVERAGE], np.float64)
    for c in range(n_found):
        scores[c] = 0.0
        matched[c] = 0.0
        bonus[c] = 0.0
        coverage[c] = 0.0
    for i in range(n_rows):
        begin = spans[3 * i]
        end = spans[3 * i + 1]
        weight = plan[5 * i + WEIGHTS]
        offset = plan[5 * i + OFFSETS]
        floor = plan[5 * i + FLOORS]
        count = plan[5 * i + COUNTS]
        extra = plan[5 * i + BONUSES]
        steps = 0
        if begin < end:
            steps = end - begin if sweep else n_found
        for step in range(steps):
            if sweep:
                place = begin + step
                doc = np.uint64(docs[np.uint64(place)])
                if numbers[doc] == 0:
                    continue
                c = np.uint64(numbers[doc]) - np.uint64(1)
            else:
                c = np.uint64(step)
                doc = np.uint64(found[c])
                place = _find(segment[DOCS], begin, end, np.int64(doc), n_docs)
                if place < 0:
                    continue
            whole = np.int64(code_freqs[codes[np.uint64(place)]])
            freq = np.float64(whole if whole > 0 else _freq_at(task[SEGMENT], place))
            norm = np.float64(lengths[doc]) * slope
            scores[c] += weight * freq / (freq + norm + offset) + floor
            matched[c] += count
            bonus[c] += extra
        if i == n_rows - 1 or groups[i] != groups[i + 1]:
            for c in range(n_found):
                coverage[c] += bonus[c] * matched[c]
                matched[c] = 0.0
                bonus[c] = 0.0
    for c in range(n_found):
        scores[c] += coverage[c]


@kernel(types.void(_I64, _F64))
def _score_and_push(task_at: int, slope: float) -> None:
    """Score the documents found and offer them to the best so far. ``SUMS`` is zero, and left so."""
    task = view(task_at, np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    n_found = task[N_FOUND]
    spans = view(task[SPANS], np.int64)
    numbers = view(scratch[SUMS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    n_lists = 0
    for i in range(n_rows):
        n_lists += spans[3 * i + 1] > spans[3 * i]
    sweep = n_found * n_lists * _PROBE > task[N_POSTINGS]
    if sweep:
        for c in range(n_found):
            numbers[found[c]] = np.uint16(c + 1)
    _score(task_at, slope, sweep)
    if sweep:
        for c in range(n_found):
            numbers[found[c]] = 0
    _push_found(task_at)


@kernel(types.void(_I64))
def _keep_allowed(task_at: int) -> None:
    """Drop the deleted documents and those that the filter does not allow from those found."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    found = view(scratch[FOUND], np.uint16)
    if segment[N_DELETED] > 0:
        deleted = view(segment[DELETED], np.bool_)
        kept = 0
        for c in range(task[N_FOUND]):
            if not deleted[found[c]]:
                found[kept] = found[c]
                kept += 1
        task[N_FOUND] = kept
    if task[ALLOWED] != 0:
        mask = view(task[ALLOWED] + segment[BASE], np.bool_)
        kept = 0
        for c in range(task[N_FOUND]):
            if mask[found[c]]:
                found[kept] = found[c]
                kept += 1
        task[N_FOUND] = kept


@kernel(types.void(_I64, _F64))
def _search_few(task_at: int, slope: float) -> None:
    """Score every document of short lists."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    docs = view(segment[DOCS], np.uint16)
    numbers = view(scratch[SUMS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    n_found = 0
    for i in range(n_rows):
        for place in range(np.uint64(spans[3 * i]), np.uint64(spans[3 * i + 1])):
            doc = docs[place]
            if numbers[doc] == 0:
                numbers[doc] = 1
                found[n_found] = doc
                n_found += 1
    for c in range(n_found):
        numbers[found[c]] = 0
    task[N_FOUND] = n_found
    _keep_allowed(task_at)
    _score_and_push(task_at, slope)


@kernel(types.void(_I64, _F64))
def _fill_shares(task_at: int, slope: float) -> None:
    """Row by row of ``SHARES``, ``tf / (tf + slope·|D|/avgdl + offset)`` of each code, at most.

    Also fills row 0 of ``LIMITS`` with the most that a posting of each term can add, coverage apart.
    """
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    limits = view(segment[BOUNDS], np.float32)
    best = view(segment[BEST_CODES], np.uint8)
    shares = view(task[SHARES], np.float32)
    most_added = view(task[LIMITS], np.float64)
    slope32 = np.float32(slope)
    for i in range(n_rows):
        offset = np.float32(plan[5 * i + OFFSETS])
        if i > 0 and plan[5 * i + OFFSETS] == plan[5 * (i - 1) + OFFSETS]:
            for code in range(N_CODES):
                shares[N_CODES * i + code] = shares[N_CODES * (i - 1) + code]
        else:
            for code in range(N_CODES):
                freq = limits[code]
                shares[N_CODES * i + code] = freq / (freq + slope32 * limits[N_CODES + code] + offset)
        most = np.float32(0.0)
        if spans[3 * i + 1] > spans[3 * i]:
            for code in range(np.int64(best[4 * spans[3 * i + 2]]) + 1):
                if shares[N_CODES * i + code] > most:
                    most = shares[N_CODES * i + code]
        most_added[i] = plan[5 * i + WEIGHTS] * most


@kernel(types.float64(_I64, _F64))
def _first_threshold(task_at: int, slope: float) -> float:
    """A score that k documents of the segment reach by one term alone; 0 if none is known."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    wanted = task[K] + segment[N_DELETED]
    level = 1 if wanted <= LEVELS[0] else 2 if wanted <= LEVELS[1] else 3
    longest = LEVELS[0] if level == 1 else LEVELS[1] if level == 2 else LEVELS[2]
    if wanted > longest:
        return 0.0
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    limits = view(segment[BOUNDS], np.float32)
    best = view(segment[BEST_CODES], np.uint8)
    lower = view(view(task[SCRATCH], np.int64)[LOWER], np.float32)
    filled_for = -1.0
    slope32 = np.float32(slope)
    threshold = 0.0
    for i in range(n_rows):
        if spans[3 * i + 1] - spans[3 * i] < longest:
            continue
        if plan[5 * i + OFFSETS] != filled_for:
            filled_for = plan[5 * i + OFFSETS]
            offset = np.float32(filled_for)
            for code in range(N_CODES):
                freq = limits[2 * N_CODES + code]
                lower[code] = freq / (freq + slope32 * limits[3 * N_CODES + code] + offset)
        least = np.float32(1.0)
        for code in range(np.int64(best[4 * spans[3 * i + 2] + level]), N_CODES):
            if lower[code] < least:
                least = lower[code]
        value = (
            plan[5 * i + WEIGHTS] * least
            + plan[5 * i + FLOORS]
            + plan[5 * i + BONUSES] * plan[5 * i + COUNTS]
        )
        if value > threshold:
            threshold = value
    return threshold * (1.0 - 1e-5)


@kernel(types.int64(_I64, _I64))
def _best_to_front(task_at: int, k: int) -> int:
    """Move the documents with the highest bounds, k of them or some more, to the front; returns how many."""
    task = view(task_at, np.int64)
    scratch = view(task[SCRATCH], np.int64)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    histogram = view(scratch[HISTOGRAM], np.int64)
    for value in range(256):
        histogram[value] = 0
    n_found = task[N_FOUND]
    for c in range(n_found):
        histogram[upper[c] >> 8] += 1
    edge = 256
    total = 0
    while total < k and edge > 0:
        edge -= 1
        total += histogram[edge]
    front = 0
    for c in range(n_found):
        if upper[c] >> 8 >= edge:
            doc = found[c]
            bound = upper[c]
            found[c] = found[front]
            upper[c] = upper[front]
            found[front] = doc
            upper[front] = bound
            front += 1
    return front


@kernel(types.void(_I64, _F64))
def _search_segment(task_at: int, slope: float) -> None:
    """Steps 1 to 3 of the module for one query and one segment."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_docs = segment[N_DOCS]
    docs_at = segment[DOCS]
    codes_at = segment[CODES]
    n_rows = task[N_ROWS]
    k = task[K]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    groups = view(task[GROUPS], np.int64)
    best_scores = view(task[BEST_SCORES], np.float64)
    shares = view(task[SHARES], np.float32)
    tables = view(task[TABLES], np.uint16)
    bounds = view(task[LIMITS], np.float64)
    sums = view(scratch[SUMS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    docs = view(docs_at, np.uint16)
    codes = view(codes_at, np.uint8)

    extreme = not 0.0 <= slope < _LARGE
    for i in range(n_rows):
        extreme = extreme or not plan[5 * i + OFFSETS] < _LARGE
        for column in range(5):  # a scorer of the caller's own may break the rule
            extreme = extreme or not plan[5 * i + column] >= 0.0
    if not extreme:
        _fill_shares(task_at, slope)
    # What coverage adds to a posting at most: its bonus, times all tokens of its group.
    begin = 0
    total = 0.0
    while begin < n_rows:
        count = 0.0
        end = begin
        while end < n_rows and groups[end] == groups[begin]:
            count += plan[5 * end + COUNTS]
            end += 1
        for i in range(begin, end):
            bounds[n_rows + i] = plan[5 * i + FLOORS] + plan[5 * i + BONUSES] * count
            if spans[3 * i + 1] > spans[3 * i]:
                bounds[i] += bounds[n_rows + i]
                total += bounds[i]
            else:
                bounds[i] = 0.0
        begin = end
    if extreme or not _TINY < total < _HUGE:
        _search_few(task_at, slope)
        return
    threshold = best_scores[0] if task[SIZE] == k else 0.0
    if task[SIZE] < k and task[ALLOWED] == 0:
        first = _first_threshold(task_at, slope)
        if first > threshold:
            threshold = first

    scale = _FULL / total * (1.0 + 1e-6)
    for i in range(n_rows):  # bounds[2] orders them, least first
        weight = np.float32(plan[5 * i + WEIGHTS] * scale)
        extra = np.float32(bounds[n_rows + i] * scale + 1.1)
        for code in range(N_CODES):
            tables[N_CODES * i + code] = np.uint16(shares[N_CODES * i + code] * weight + extra)
        j = i
        while j > 0 and bounds[np.int64(bounds[2 * n_rows + j - 1])] > bounds[i]:
            bounds[2 * n_rows + j] = bounds[2 * n_rows + j - 1]
            j -= 1
        bounds[2 * n_rows + j] = i
    lowered = threshold * (1.0 - 1e-6) * scale - 1.0
    n_left_out = 0
    left_out = 0.0  # what the lists left out add at most
    while k <= _LEFT_OUT_UP_TO and n_left_out < n_rows - 1:
        i = np.int64(bounds[2 * n_rows + n_left_out])
        length = spans[3 * i + 1] - spans[3 * i]
        units = bounds[i] * scale + 2.0 if length > 0 else 0.0
        if length > 0 and (length < _LONG or left_out + units > _LEFT_OUT * lowered):
            break
        left_out += units
        bounds[3 * n_rows + n_left_out] = left_out
        n_left_out += 1
    cut = np.int64(lowered - left_out) if lowered > left_out else np.int64(0)

    n_found = 0
    n_added = 0
    quiet = 0.0
    for x in range(n_left_out, n_rows):
        i = np.int64(bounds[2 * n_rows + x])
        quiet += bounds[i] * scale + 2.0
        n_added += spans[3 * i + 1] - spans[3 * i]
        table_at = task[TABLES] + i * (2 * N_CODES)
        if quiet <= cut:
            _add(docs_at, codes_at, spans[3 * i], spans[3 * i + 1], table_at, scratch[SUMS])
        else:
            n_found = _add_and_note(
                docs_at, codes_at, spans[3 * i], spans[3 * i + 1], table_at, scratch[SUMS], np.uint16(cut),
                scratch[FOUND], n_found,
            )  # fmt: skip
    task[N_FOUND] = n_found
    _keep_allowed(task_at)
    n_found = 0
    for c in range(task[N_FOUND]):
        bound = np.int64(sums[found[c]])
        x = n_left_out - 1
        while x >= 0 and bound + bounds[3 * n_rows + x] >= lowered:
            i = np.int64(bounds[2 * n_rows + x])
            place = _find(docs_at, spans[3 * i], spans[3 * i + 1], np.int64(found[c]), n_docs)
            if place >= 0:
                bound += np.int64(tables[N_CODES * i + codes[np.uint64(place)]])
            x -= 1
        if x < 0 and bound >= lowered:
            upper[n_found] = np.uint16(bound)
            found[n_found] = found[c]
            n_found += 1
    if n_added * 8 < n_docs:
        for x in range(n_left_out, n_rows):
            i = np.int64(bounds[2 * n_rows + x])
            for place in range(np.uint64(spans[3 * i]), np.uint64(spans[3 * i + 1])):
                sums[docs[place]] = 0
    else:
        for doc in range(np.uint64(n_docs)):
            sums[doc] = 0

    task[N_FOUND] = n_found
    if n_found > k + k // 2 + 16:
        front = _best_to_front(task_at, k)
        task[N_FOUND] = front
        _score_and_push(task_at, slope)
        lowered = best_scores[0] * (1.0 - 1e-6) * scale - 1.0 if task[SIZE] == k else 0.0
        kept = 0
        for c in range(front, n_found):
            if upper[c] >= lowered:
                found[kept] = found[c]
                kept += 1
        task[N_FOUND] = kept
    if task[N_FOUND] > 0:
        _score_and_push(task_at, slope)


_INTS = types.Array(types.int64, 1, "C", readonly=True)


@kernel(
    types.void(
        types.Array(types.int64, 2, "C", readonly=True), _INTS, _INTS, _INTS,
        types.Array(types.float64, 2, "C", readonly=True), _F64, _I64, _INTS,
        types.float64[:, ::1], types.int64[:, ::1], types.int64[::1],
        types.int64[::1],
    )
)  # fmt: skip
def search(
    segments: NDArray[np.int64],
    plan_ends: NDArray[np.int64],
    terms: NDArray[np.int64],
    groups: NDArray[np.int64],
    plan: NDArray[np.float64],
    slope: float,
    allowed: int,
    scratch: NDArray[np.int64],
    best_scores: NDArray[np.float64],
    best_rows: NDArray[np.int64],
    n_best: NDArray[np.int64],
    room: NDArray[np.int64],
) -> None:
    """Best k documents of each query by the plan's score, best first, ties by row.

    Args:
        segments: (n_segments, `N_COLUMNS`) in order of their documents.
        plan_ends: (n_queries + 1,) query ``q`` owns plan rows ``plan_ends[q]:plan_ends[q + 1]``, at most
            `MOST_ROWS`.
        terms, groups: (n_plan_rows,) term numbers; groups of one query ascend.
        plan: (n_plan_rows, 5) counts, weights, offsets, floors, bonuses.
        slope: of the plan, over avgdl: what a token of a document's length adds to the norm.
        allowed: address of a mask over all rows, or 0.
        scratch: from `make_scratch`; sums are zero and left so.
        best_scores, best_rows, n_best: (n_queries, k), (n_queries, k), (n_queries,) the results; ``n_best``
            starts at 0.
        room: (3 * k + 2048,) working memory for sorting; may be empty for ``k`` up to `FEW_ENTRIES`.
    """
    n_queries = plan_ends.size - 1
    k = best_scores.shape[1]
    task_at = scratch[TASK]
    task = view(task_at, np.int64)
    task[SCRATCH] = address(scratch)
    task[K] = k
    task[SPANS] = scratch[SPANS_ROOM]
    task[SHARES] = scratch[SHARES_ROOM]
    task[TABLES] = scratch[TABLES_ROOM]
    task[LIMITS] = scratch[LIMITS_ROOM]
    task[ALLOWED] = allowed
    for s in range(segments.shape[0]):
        task[SEGMENT] = address(segments) + s * 8 * N_COLUMNS
        for q in range(n_queries):
            first = plan_ends[q]
            task[N_ROWS] = plan_ends[q + 1] - first
            task[N_POSTINGS] = _locate(task_at, address(terms), first)
            if task[N_POSTINGS] == 0:
                continue
            task[PLAN] = address(plan) + first * 8 * 5
            task[GROUPS] = address(groups) + first * 8
            task[BEST_SCORES] = address(best_scores) + q * k * 8
            task[BEST_ROWS] = address(best_rows) + q * k * 8
            task[SIZE] = n_best[q]
            if task[N_POSTINGS] < _FEW_POSTINGS:
                _search_few(task_at, slope)
            else:
                _search_segment(task_at, slope)
            n_best[q] = task[SIZE]
    for q in range(n_queries):
        at = q * k * 8
        _sort_best(address(best_scores) + at, address(best_rows) + at, n_best[q], address(room))


def make_scratch() -> tuple[tuple[NDArray[Any], ...], NDArray[np.int64]]:
    """Working memory for `search`, for one thread at a time, and its addresses.

    Of the last four, which have a row for each term, only what queries need is ever touched.
    """
    per_document = (np.uint16, np.uint16, np.uint16, np.float64, np.float64, np.float64, np.float64)
    arrays: list[NDArray[Any]] = [np.zeros(MOST_DOCS + 1, dtype) for dtype in per_document]
    arrays += [np.zeros(N_CODES, np.int64), np.zeros(16, np.int64)]
    arrays += [np.empty((MOST_ROWS, 3), np.int64), np.empty((MOST_ROWS, N_CODES), np.float32)]
    arrays += [np.empty((MOST_ROWS, N_CODES), np.uint16), np.empty((4, MOST_ROWS), np.float64)]
    arrays.append(np.empty(N_CODES, np.float32))
    addresses = np.array([array.ctypes.data for array in arrays], np.int64)
    addresses.flags.writeable = False
    return tuple(arrays), addresses
