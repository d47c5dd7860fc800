"""The best k documents of each query: bounds in 16 bits first, exact scores for the few that may matter.

Segment by segment, query by query:

1. Each term's postings carry a code that stands for a range of (term frequency, length). One table a term
   turns codes into upper bounds of what a posting adds, as whole numbers of 16 bits, whatever the scorer's
   parameters are; sums of a segment's documents stay in the second-level cache.
2. Terms are taken by their bounds, least first. While bounds sum to less than the k-th best score, no
   document can become a candidate, so these (the longest) lists are added without a look, or left out
   and looked up for candidates only. In the other lists a document is noted when its sum crosses the cut.
3. Candidates are scored exactly in float64, in plan order: the bits do not depend on any of the above.
   For larger k the k-th score is guessed from the first segment's share, so that the others need not score
   documents that later ones push out again; a guess that proves too high is taken back, and the query
   searched once more.

Loops that would branch on what they read write their result anyway and count it or not.

One module, since numba keeps machine code by the file of a function and would not notice a change in another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import (
    address,
    choose,
    give_lock_away,
    kernel,
    prefetch,
    take_lock_back,
    view,
)

# Columns of a segment's row in the table of segments; `Segment.record` fills it in.
N_DOCS, N_TERMS, TERMS, INDPTR, DOCS, CODES, LENGTHS, BOUNDS, CODE_FREQS, N_LARGE = range(10)
LARGE_PLACES, LARGE_FREQS, BEST_CODES, LENGTH_BYTES, DELETED, N_DELETED, BASE = range(10, 17)
N_COLUMNS = 17

N_CODES = 256
LEVELS = (10, 100, 1000)
"""The k for which a term's list names the code that its k-th best posting reaches."""

# Rows of the float part of a plan.
COUNTS, WEIGHTS, OFFSETS, FLOORS, BONUSES = range(5)

# Addresses of working memory, one entry a document each up to `COVERAGE`, in the order of `make_scratch`.
SUMS, NUMBERS, FOUND, UPPER, PLACES, SCORES, MATCHED, BONUS, COVERAGE, HISTOGRAM, TASK = range(11)
SPANS_ROOM, CODE_SHARES, TABLES_ROOM, LIMITS_ROOM = range(11, 15)

# What precedes a query's best scores and rows: how many there are, and a guess of the k-th score (float64).
FILLED, GUESSED = range(2)
N_HEADERS = 2

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
    ROOM,
    SIZE,
    ALLOWED,
    N_POSTINGS,
    TABLES,
    LIMITS,
    N_FOUND,
    GUESS,
    SHARE,
    SORTING,
    FLOOR,
) = range(20)
N_TASK = 20
MOST_DOCS = 65_535
"""Documents in a segment, at most: numbers from 1 name candidates in 16 bits."""

# The largest sum of bounds; what is left of 16 bits takes up one unit of rounding for each term.
_FULL = 60_000.0
# The same for queries of few terms, whose rounding is small beside it: more passes until sums are cleared.
_FULL_FOR_FEW = 3_000.0
_FEW_ROWS = 32
_MOST_SUM = 65_535
# Sums of so few documents are cleared at once: that takes less than a comparison for each posting.
_FEW_DOCS = 32_768
MOST_ROWS = 4_000
"""Rows of a query's plan, at most."""

# Fewer postings than this in a segment are scored at once, without bounds.
_FEW_POSTINGS = 256
# Lists are left out and probed while their bounds sum to this share of the k-th best score so far ...
_LEFT_OUT = 0.5
# ... of this one, while it is only known that k documents reach it by one term alone ...
_LEFT_OUT_AT_FIRST = 0.4
# ... for a k up to this, beyond which candidates are too many to be worth it ...
_LEFT_OUT_UP_TO = 16
# ... if they are at least this long: shorter ones cost less than the probes.
_LONG = 1024
# What a probe of a list costs, in postings read one after the other.
_PROBE = 20
# Up to so many entries are kept and sorted as a heap, more are collected and sorted digit by digit.
FEW_ENTRIES = 64
# Buckets of equal width that scores are counted in.
_BUCKETS = 256
# How many documents a first segment should have among the best k, more than its share: by a factor, and by
# so many times the share's square root.
_SURPLUS = 1.2
_SPREAD = 5.0
# Searches of up to so many documents, times the terms of the queries, keep the interpreter's lock: they take
# microseconds, and to get it back from a busy thread takes longer. Longer ones give it away, since a thread
# that edits would have to wait for the interpreter to take it from a thread that searches all the time.
_SHORT = 400_000
# Beyond these, bounds would leave the range of 32-bit floats: everything is scored then.
_LARGE = 1e15
_TINY = 1e-200
_HUGE = 1e200

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


@kernel(types.void(_I64, _I64, _I64, _I64, _I64, _I64, types.boolean))
def _sort_pairs(
    keys_at: int, others_at: int, room_at: int, size: int, first: int, end: int, descending: bool
) -> None:
    """Order pairs by the bytes of their keys from ``first`` to ``end``, least byte first: a radix sort.

    The order of equal keys is kept. Arrays of 64-bit numbers: ``keys`` and ``others`` (size,), ``room``
    (2 * size + 256,).
    """
    keys = view(keys_at, np.uint64)
    counts = view(room_at, np.uint64)
    byte = np.uint64(255)
    flipped = byte if descending else np.uint64(0)
    differing = np.uint64(0)
    for at in range(size):
        differing |= keys[at] ^ keys[0]
    from_keys = keys_at
    from_others = others_at
    to_keys = room_at + 8 * 256
    to_others = to_keys + 8 * size
    for digit in range(first, end):
        shift = np.uint64(8 * digit)
        if (differing >> shift) & byte == 0:
            continue
        keys = view(from_keys, np.uint64)
        others = view(from_others, np.uint64)
        moved_keys = view(to_keys, np.uint64)
        moved_others = view(to_others, np.uint64)
        for value in range(256):
            counts[value] = 0
        for at in range(size):
            counts[((keys[at] >> shift) & byte) ^ flipped] += np.uint64(1)
        begin = np.uint64(0)
        for value in range(256):
            count = counts[value]
            counts[value] = begin
            begin += count
        for at in range(size):
            key = keys[at]
            value = ((key >> shift) & byte) ^ flipped
            to = counts[value]
            counts[value] = to + np.uint64(1)
            moved_keys[to] = key
            moved_others[to] = others[at]
        from_keys, to_keys = to_keys, from_keys
        from_others, to_others = to_others, from_others
    if from_keys != keys_at:
        keys = view(keys_at, np.uint64)
        others = view(others_at, np.uint64)
        moved_keys = view(from_keys, np.uint64)
        moved_others = view(from_others, np.uint64)
        for at in range(size):
            keys[at] = moved_keys[at]
            others[at] = moved_others[at]


@kernel(types.boolean(_I64, _I64, _I64))
def _finish_sort(scores_at: int, rows_at: int, size: int) -> bool:
    """Put entries that are in order by half of a score's bits in order; False if that would take long."""
    scores = view(scores_at, np.float64)
    rows = view(rows_at, np.int64)
    n_moves = 0
    for at in range(1, size):
        score = scores[at]
        if scores[at - 1] > score:
            continue
        row = rows[at]
        to = at
        while to > 0 and (scores[to - 1] < score or (scores[to - 1] == score and rows[to - 1] > row)):
            scores[to] = scores[to - 1]
            rows[to] = rows[to - 1]
            to -= 1
        scores[to] = score
        rows[to] = row
        n_moves += at - to
        if n_moves > size:
            return False
    return True


@kernel(types.void(_I64, _I64, _I64, _I64))
def _sort_best(scores_at: int, rows_at: int, size: int, room_at: int) -> None:
    """Order entries in place: higher scores first, then lower rows. ``room`` is for 2·size + 256 numbers."""
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
    # Scores are positive, so that their bits ascend with them; halves of them are different enough, but
    # where many documents score the same.
    _sort_pairs(scores_at, rows_at, room_at, size, 4, 8, True)
    if not _finish_sort(scores_at, rows_at, size):
        _sort_pairs(rows_at, scores_at, room_at, size, 0, 8, False)
        _sort_pairs(scores_at, rows_at, room_at, size, 0, 8, True)


@kernel(types.float64(_I64))
def _reached(task_at: int) -> float:
    """A score that at least k of the best so far reach, close to the k-th; 0 while they are fewer."""
    task = view(task_at, np.int64)
    k = task[K]
    size = task[SIZE]
    best_scores = view(task[BEST_SCORES], np.float64)
    if size < k:
        return 0.0
    if k <= FEW_ENTRIES:
        return best_scores[0]
    histogram = view(view(task[SCRATCH], np.int64)[HISTOGRAM], np.int64)
    lowest = best_scores[0]
    highest = best_scores[0]
    for at in range(size):
        lowest = min(lowest, best_scores[at])
        highest = max(highest, best_scores[at])
    step = (_BUCKETS - 1) / (highest - lowest)
    if not step < _HUGE:  # all are equal
        return lowest
    for bucket in range(_BUCKETS):
        histogram[bucket] = 0
    for at in range(size):
        histogram[np.uint64(np.int64((best_scores[at] - lowest) * step))] += 1
    edge = _BUCKETS
    total = 0
    while total < k:
        edge -= 1
        total += histogram[edge]
    reached = highest
    for at in range(size):
        if np.int64((best_scores[at] - lowest) * step) >= edge:
            reached = min(reached, best_scores[at])
    return reached


@kernel(types.int64(_I64))
def _cut(task_at: int) -> int:
    """Drop what cannot be among the k best of a full list; returns how many are left, at least k."""
    task = view(task_at, np.int64)
    best_scores = view(task[BEST_SCORES], np.float64)
    best_rows = view(task[BEST_ROWS], np.int64)
    reached = _reached(task_at)
    kept = 0
    for at in range(task[SIZE]):
        best_scores[kept] = best_scores[at]
        best_rows[kept] = best_rows[at]
        kept += np.int64(best_scores[at] >= reached)
    if kept <= task[K] + task[K] // 4:
        return kept
    _sort_best(task[BEST_SCORES], task[BEST_ROWS], kept, task[SORTING])
    return task[K]


@kernel(types.void(_I64))
def _keep_found(task_at: int) -> None:
    """Add the documents found to the best so far: a heap of k, or a list that is cut when it is full."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    found = view(scratch[FOUND], np.uint16)
    scores = view(scratch[SCORES], np.float64)
    k = task[K]
    best_scores = view(task[BEST_SCORES], np.float64)
    best_rows = view(task[BEST_ROWS], np.int64)
    for c in range(task[N_FOUND]):
        size = task[SIZE]
        score = scores[c]
        row = segment[BASE] + np.int64(found[c])
        if not score > 0.0:
            continue
        if size == k <= FEW_ENTRIES:
            if score > best_scores[0] or (score == best_scores[0] and row < best_rows[0]):
                _sift_down(task[BEST_SCORES], task[BEST_ROWS], 0, k, score, row)
            continue
        if size == task[ROOM]:
            size = _cut(task_at)
        best_scores[size] = score
        best_rows[size] = row
        task[SIZE] = size + 1
        if size + 1 == k <= FEW_ENTRIES:
            _make_heap(task[BEST_SCORES], task[BEST_ROWS], k)


@kernel(types.int64(_I64, _I64))
def _locate(task_at: int, terms_at: int) -> int:
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
        term = terms[i]
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
            # The tables take long enough for the lists' beginnings to arrive.
            prefetch(segment[DOCS] + 2 * spans[3 * i])
            prefetch(segment[DOCS] + 2 * spans[3 * i] + 64)
            prefetch(segment[CODES] + spans[3 * i])
    return total


@kernel(types.void(_I64, _I64, _I64, _I64, _I64, _I64, types.uint16))
def _add(
    docs_at: int, codes_at: int, begin: int, end: int, table_at: int, sums_at: int, floor: int
) -> None:  # fmt: skip
    """Add the bounds of a list; sums below ``floor`` are left over from earlier passes, and stand for it."""
    docs = view(docs_at, np.uint16)
    codes = view(codes_at, np.uint8)
    table = view(table_at, np.uint16)
    sums = view(sums_at, np.uint16)
    # Unsigned indices spare numba its check for negative ones.
    if floor == 0:
        for place in range(np.uint64(begin), np.uint64(end)):
            sums[docs[place]] += table[codes[place]]
    else:
        for place in range(np.uint64(begin), np.uint64(end)):
            doc = docs[place]
            sums[doc] = max(sums[doc], floor) + table[codes[place]]


@kernel(types.int64(_I64, _I64, _I64, _I64, _I64, _I64, types.uint16, types.uint16, _I64, _I64))
def _add_and_note(
    docs_at: int, codes_at: int, begin: int, end: int, table_at: int, sums_at: int, floor: int, cut: int,
    found_at: int, n_found: int,
) -> int:  # fmt: skip
    """As `_add`; notes the documents whose sums cross ``cut``, and returns how many there are then."""
    docs = view(docs_at, np.uint16)
    codes = view(codes_at, np.uint8)
    table = view(table_at, np.uint16)
    sums = view(sums_at, np.uint16)
    found = view(found_at, np.uint16)
    noted = np.uint64(n_found)
    if floor == 0:
        for place in range(np.uint64(begin), np.uint64(end)):
            doc = docs[place]
            before = sums[doc]
            after = np.uint16(before + table[codes[place]])
            sums[doc] = after
            found[noted] = doc
            noted += np.uint64((after > cut) & (before <= cut))
        return np.int64(noted)
    for place in range(np.uint64(begin), np.uint64(end)):
        doc = docs[place]
        before = max(sums[doc], floor)
        after = np.uint16(before + table[codes[place]])
        sums[doc] = after
        found[noted] = doc
        noted += np.uint64((after > cut) & (before <= cut))
    return np.int64(noted)


@kernel(types.uint64(_I64, types.uint64, types.uint64, types.uint16))
def _find(docs_at: int, begin: int, end: int, doc: int) -> int:
    """Where in a list that is not empty a document's posting is, if it is there.

    Nothing branches on what is read, so that the processor searches for several documents at once.
    """
    docs = view(docs_at, np.uint16)
    left = begin
    size = end - begin
    while size > np.uint64(1):
        half = size >> np.uint64(1)
        left = choose(docs[left + half - np.uint64(1)] < doc, left + half, left)
        size -= half
    return left


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


@kernel(types.uint64(_I64, _I64, _I64, types.boolean))
def _match(task_at: int, begin: int, end: int, sweep: bool) -> int:
    """Note in ``PLACES`` where in a list that is not empty the documents found are; returns how many are."""
    task = view(task_at, np.int64)
    scratch = view(task[SCRATCH], np.int64)
    docs_at = view(task[SEGMENT], np.int64)[DOCS]
    docs = view(docs_at, np.uint16)
    numbers = view(scratch[NUMBERS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    places = view(scratch[PLACES], np.uint16)
    first = np.uint64(begin)
    last = np.uint64(end)
    n_matches = np.uint64(0)
    # Every place is written down, and the next one over it where it is of no use: that takes no branch.
    if sweep:
        for place in range(first, last):
            places[n_matches] = place - first
            n_matches += np.uint64(numbers[docs[place]] != 0)
    else:
        for c in range(np.uint64(task[N_FOUND])):
            place = _find(docs_at, first, last, found[c])
            places[n_matches] = place - first
            n_matches += np.uint64(docs[place] == found[c])
    return n_matches


@kernel(types.void(_I64, _F64, types.boolean))
def _score(task_at: int, slope: float, sweep: bool) -> None:
    """Exact scores of the documents found, by reading the lists once more or by looking them up.

    ``NUMBERS`` holds each document's number among those found plus 1, or 0.
    """
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    n_found = task[N_FOUND]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    groups = view(task[GROUPS], np.int64)
    docs = view(segment[DOCS], np.uint16)
    codes = view(segment[CODES], np.uint8)
    lengths = view(segment[LENGTHS], np.uint16)
    wide_lengths = view(segment[LENGTHS], np.int32)
    is_wide = segment[LENGTH_BYTES] > 2
    code_freqs = view(segment[CODE_FREQS], np.int32)
    numbers = view(scratch[NUMBERS], np.uint16)
    places = view(scratch[PLACES], np.uint16)
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
        n_matches = _match(task_at, begin, end, sweep) if begin < end else np.uint64(0)
        for match in range(n_matches):
            place = np.uint64(begin) + np.uint64(places[match])
            doc = docs[place]
            c = np.uint64(numbers[doc]) - np.uint64(1)
            whole = np.int64(code_freqs[codes[place]])
            freq = np.float64(whole if whole > 0 else _freq_at(task[SEGMENT], np.int64(place)))
            norm = np.float64(wide_lengths[doc] if is_wide else lengths[doc]) * slope
            scores[c] += weight * (freq / (freq + norm + offset)) + floor
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
def _score_and_keep(task_at: int, slope: float) -> None:
    """Score the documents found and add them to the best so far. ``NUMBERS`` is zero, and left so."""
    task = view(task_at, np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    n_found = task[N_FOUND]
    spans = view(task[SPANS], np.int64)
    numbers = view(scratch[NUMBERS], np.uint16)
    found = view(scratch[FOUND], np.uint16)
    n_lists = 0
    for i in range(n_rows):
        n_lists += spans[3 * i + 1] > spans[3 * i]
    for c in range(n_found):
        numbers[found[c]] = np.uint16(c + 1)
    _score(task_at, slope, n_found * n_lists * _PROBE > task[N_POSTINGS])
    for c in range(n_found):
        numbers[found[c]] = 0
    _keep_found(task_at)


@kernel(types.void(_I64))
def _keep_allowed(task_at: int) -> None:
    """Drop the deleted documents and those that the filter does not allow from those found."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    if segment[N_DELETED] > 0:
        deleted = view(segment[DELETED], np.bool_)
        kept = 0
        for c in range(task[N_FOUND]):
            if not deleted[found[c]]:
                found[kept] = found[c]
                upper[kept] = upper[c]
                kept += 1
        task[N_FOUND] = kept
    if task[ALLOWED] != 0:
        mask = view(task[ALLOWED] + segment[BASE], np.bool_)
        kept = 0
        for c in range(task[N_FOUND]):
            if mask[found[c]]:
                found[kept] = found[c]
                upper[kept] = upper[c]
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
    numbers = view(scratch[NUMBERS], np.uint16)
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
    _score_and_keep(task_at, slope)


@kernel(types.void(_I64, _F64, _F64))
def _fill_tables(task_at: int, slope: float, scale: float) -> None:
    """Fill each term's table, and row 0 of ``LIMITS`` with the largest number that a posting finds there."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    plan = view(task[PLAN], np.float64)
    limits = view(segment[BOUNDS], np.float32)
    best = view(segment[BEST_CODES], np.uint8)
    shares = view(view(task[SCRATCH], np.int64)[CODE_SHARES], np.float32)
    bounds = view(task[LIMITS], np.float64)
    slope32 = np.float32(slope)
    filled_for = -1.0
    for i in range(n_rows):
        if spans[3 * i + 1] <= spans[3 * i]:
            continue
        if plan[5 * i + OFFSETS] != filled_for:
            filled_for = plan[5 * i + OFFSETS]
            offset = np.float32(filled_for)
            for code in range(N_CODES):
                freq = limits[code]
                shares[code] = freq / (freq + slope32 * limits[N_CODES + code] + offset)
        table = view(task[TABLES] + i * (2 * N_CODES), np.uint16)
        weight = np.float32(plan[5 * i + WEIGHTS] * scale)
        extra = np.float32(bounds[n_rows + i] * scale + 1.1)
        for code in range(N_CODES):
            table[code] = np.uint16(np.int32(shares[code] * weight + extra))
        most = np.uint16(0)
        for code in range(np.uint64(best[4 * spans[3 * i + 2]]) + np.uint64(1)):
            most = max(most, table[code])
        bounds[i] = most


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
    lower = view(view(task[SCRATCH], np.int64)[CODE_SHARES], np.float32)
    bits = view(view(task[SCRATCH], np.int64)[CODE_SHARES], np.int32)
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
        # Shares are positive, so that their bits ascend with them; whole numbers are compared many at once.
        least = bits[N_CODES - 1]
        for code in range(np.uint64(best[4 * spans[3 * i + 2] + level]), np.uint64(N_CODES)):
            least = min(least, bits[code])
        bits[N_CODES] = least
        value = (
            plan[5 * i + WEIGHTS] * lower[N_CODES]
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
    shift = np.uint16(8 if task[N_ROWS] > _FEW_ROWS else 4)  # of 16 and of 12 bits
    for value in range(256):
        histogram[value] = 0
    n_found = task[N_FOUND]
    for c in range(n_found):
        histogram[upper[c] >> shift] += 1
    edge = 256
    total = 0
    while total < k and edge > 0:
        edge -= 1
        total += histogram[edge]
    front = 0
    for c in range(n_found):  # exchanged where it need not be, which takes no branch
        doc = found[c]
        bound = upper[c]
        found[c] = found[front]
        upper[c] = upper[front]
        found[front] = doc
        upper[front] = bound
        front += np.int64(bound >> shift >= edge)
    return front


@kernel(types.void(_I64, _I64, _I64))
def _add_lists(task_at: int, n_left_out: int, cut: int) -> None:
    """Sum the bounds of all lists but the first few; find the documents above ``cut`` and their sums.

    Clearing the sums of a large segment takes as long as a thousand postings. So a pass counts from where
    the one before cannot have come to, and sums are cleared when their 16 bits are used up.
    """
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    bounds = view(task[LIMITS], np.float64)
    sums_at = scratch[SUMS]
    sums = view(sums_at, np.uint16)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    most = 0
    for x in range(n_left_out, n_rows):
        most += np.int64(bounds[np.int64(bounds[2 * n_rows + x])])
    if task[FLOOR] + most > _MOST_SUM:
        for doc in range(np.uint64(MOST_DOCS + 1)):
            sums[doc] = 0
        task[FLOOR] = 0
    floor = np.uint16(task[FLOOR])
    cut = min(cut, most)
    clears = task[FLOOR] == 0 and segment[N_DOCS] <= _FEW_DOCS
    n_found = 0
    quiet = 0.0
    for x in range(n_left_out, n_rows):
        i = np.int64(bounds[2 * n_rows + x])
        quiet += bounds[i]
        table_at = task[TABLES] + i * (2 * N_CODES)
        if quiet <= cut:
            _add(segment[DOCS], segment[CODES], spans[3 * i], spans[3 * i + 1], table_at, sums_at, floor)
        else:
            n_found = _add_and_note(
                segment[DOCS], segment[CODES], spans[3 * i], spans[3 * i + 1], table_at, sums_at, floor,
                np.uint16(task[FLOOR] + cut), scratch[FOUND], n_found,
            )  # fmt: skip
    for c in range(np.uint64(n_found)):
        upper[c] = sums[found[c]] - floor
    task[N_FOUND] = n_found
    if clears:
        for doc in range(np.uint64(segment[N_DOCS])):
            sums[doc] = 0
    else:
        task[FLOOR] += most


@kernel(types.void(_I64, _I64, _F64))
def _probe_lists(task_at: int, n_left_out: int, needed: float) -> None:
    """Add to the sums of the documents found what the lists left out hold of them; drop those below."""
    task = view(task_at, np.int64)
    segment = view(task[SEGMENT], np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    spans = view(task[SPANS], np.int64)
    bounds = view(task[LIMITS], np.float64)
    docs = view(segment[DOCS], np.uint16)
    codes = view(segment[CODES], np.uint8)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    for x in range(n_left_out - 1, -1, -1):
        i = np.int64(bounds[2 * n_rows + x])
        begin = np.uint64(spans[3 * i])
        end = np.uint64(spans[3 * i + 1])
        if begin >= end:
            continue
        table = view(task[TABLES] + i * (2 * N_CODES), np.uint16)
        left = needed - bounds[3 * n_rows + x - 1] if x > 0 else needed
        least = np.int64(left) if left > 0.0 else np.int64(0)
        kept = np.uint64(0)
        for c in range(np.uint64(task[N_FOUND])):
            doc = found[c]
            place = _find(segment[DOCS], begin, end, doc)
            bound = np.int64(upper[c]) + np.int64(docs[place] == doc) * np.int64(table[codes[place]])
            found[kept] = doc
            upper[kept] = np.uint16(bound)
            kept += np.uint64(bound >= least)
        task[N_FOUND] = np.int64(kept)


@kernel(types.float64(_I64))
def _sum_limits(task_at: int) -> float:
    """Row 1 of ``LIMITS``: what a posting adds at most besides its share of the weight; returns all sums.

    That is the floor and, by coverage, the bonus times all tokens of the group. The sum is the most that a
    document can score, or infinite if a number is out of the order of things, as a scorer of the caller's
    own may have it.
    """
    task = view(task_at, np.int64)
    n_rows = task[N_ROWS]
    plan = view(task[PLAN], np.float64)
    groups = view(task[GROUPS], np.int64)
    bounds = view(task[LIMITS], np.float64)
    total = 0.0
    begin = 0
    while begin < n_rows:
        count = 0.0
        end = begin
        while end < n_rows and groups[end] == groups[begin]:
            count += plan[5 * end + COUNTS]
            end += 1
        for i in range(begin, end):
            bounds[n_rows + i] = plan[5 * i + FLOORS] + plan[5 * i + BONUSES] * count
            total += plan[5 * i + WEIGHTS] + bounds[n_rows + i]
            if not plan[5 * i + OFFSETS] < _LARGE:
                return np.inf
            for column in range(5):
                if not plan[5 * i + column] >= 0.0:
                    return np.inf
        begin = end
    return total


@kernel(types.void(_I64, _F64))
def _search_segment(task_at: int, slope: float) -> None:
    """Steps 1 to 3 of the module for one query and one segment."""
    task = view(task_at, np.int64)
    scratch = view(task[SCRATCH], np.int64)
    n_rows = task[N_ROWS]
    k = task[K]
    spans = view(task[SPANS], np.int64)
    bounds = view(task[LIMITS], np.float64)
    found = view(scratch[FOUND], np.uint16)
    upper = view(scratch[UPPER], np.uint16)
    guess = view(task[GUESS], np.float64)

    total = _sum_limits(task_at)
    if not (0.0 <= slope < _LARGE and _TINY < total < _HUGE):
        _search_few(task_at, slope)
        return
    threshold = guess[0]  # so close that a few more than k documents do not tell more
    if not (threshold > 0.0 and k > FEW_ENTRIES and task[SIZE] < k + k // 4):
        threshold = max(_reached(task_at), threshold)
    may_leave_out = _LEFT_OUT
    if threshold <= 0.0 and task[ALLOWED] == 0:
        threshold = _first_threshold(task_at, slope)
        may_leave_out = _LEFT_OUT_AT_FIRST
    # The same for all segments, so that bounds in one can be compared with bounds in another.
    scale = (_FULL if n_rows > _FEW_ROWS else _FULL_FOR_FEW) / total * (1.0 + 1e-6)
    needed = threshold * (1.0 - 1e-6) * scale - 1.0
    _fill_tables(task_at, slope, scale)
    for i in range(n_rows):  # bounds[2] orders them, least first
        j = i
        while j > 0 and bounds[np.int64(bounds[2 * n_rows + j - 1])] > bounds[i]:
            bounds[2 * n_rows + j] = bounds[2 * n_rows + j - 1]
            j -= 1
        bounds[2 * n_rows + j] = i
    n_left_out = 0
    left_out = 0.0  # what the lists left out add at most
    while k <= _LEFT_OUT_UP_TO and n_left_out < n_rows - 1:
        i = np.int64(bounds[2 * n_rows + n_left_out])
        length = spans[3 * i + 1] - spans[3 * i]
        if length > 0 and (length < _LONG or left_out + bounds[i] > may_leave_out * needed):
            break
        left_out += bounds[i]
        bounds[3 * n_rows + n_left_out] = left_out
        n_left_out += 1
    _add_lists(task_at, n_left_out, np.int64(needed - left_out) if needed > left_out else np.int64(0))
    _keep_allowed(task_at)
    _probe_lists(task_at, n_left_out, needed)

    n_found = task[N_FOUND]
    wanted = task[SHARE] if task[SIZE] == 0 and guess[0] == 0.0 else k
    if n_found > wanted + wanted // 2 + 16:
        front = _best_to_front(task_at, wanted)
        task[N_FOUND] = front
        if wanted < k:
            lowest = upper[0]
            for c in range(front):
                lowest = min(lowest, upper[c])
            guess[0] = (lowest + 2.0) / scale * (1.0 + 1e-5)
        _score_and_keep(task_at, slope)
        threshold = max(_reached(task_at), guess[0])
        needed = threshold * (1.0 - 1e-6) * scale - 1.0
        kept = 0
        least = np.int64(needed) if needed > 0.0 else np.int64(0)
        for c in range(front, n_found):
            found[kept] = found[c]
            kept += np.int64(upper[c] >= least)
        task[N_FOUND] = kept
    if task[N_FOUND] > 0:
        _score_and_keep(task_at, slope)


@kernel(types.void(_I64, _I64, _F64))
def _search_one(task_at: int, terms_at: int, slope: float) -> None:
    """One query in one segment."""
    task = view(task_at, np.int64)
    task[N_POSTINGS] = _locate(task_at, terms_at)
    if task[N_POSTINGS] >= _FEW_POSTINGS:
        _search_segment(task_at, slope)
    elif task[N_POSTINGS] > 0:
        _search_few(task_at, slope)


@kernel(types.int64(_I64, _I64, _I64, _I64))
def _sort_and_check(task_at: int, best_at: int, todo_at: int, n_todo: int) -> int:
    """Sort what was found for each query to do; keeps on the list those whose guess was wrong."""
    task = view(task_at, np.int64)
    todo = view(todo_at, np.int64)
    k = task[K]
    n_wrong = 0
    for t in range(n_todo):
        q = todo[t]
        at = best_at + q * 8 * (N_HEADERS + 2 * task[ROOM])
        header = view(at, np.int64)
        guess = view(at + 8 * GUESSED, np.float64)
        scores = view(at + 8 * N_HEADERS, np.float64)
        task[BEST_SCORES] = at + 8 * N_HEADERS
        task[BEST_ROWS] = at + 8 * (N_HEADERS + task[ROOM])
        task[SIZE] = header[FILLED]
        if k > FEW_ENTRIES and task[SIZE] > k + k // 4:
            task[SIZE] = _cut(task_at)
        _sort_best(task[BEST_SCORES], task[BEST_ROWS], task[SIZE], task[SORTING])
        header[FILLED] = min(task[SIZE], k)
        if guess[0] > 0.0 and (header[FILLED] < k or scores[k - 1] < guess[0]):
            header[FILLED] = 0
            guess[0] = -1.0
            todo[n_wrong] = q
            n_wrong += 1
    return n_wrong


_INTS = types.Array(types.int64, 1, "C", readonly=True)


@kernel(
    types.void(
        types.Array(types.int64, 2, "C", readonly=True), _INTS, _INTS, _INTS,
        types.Array(types.float64, 2, "C", readonly=True), _F64, _I64, _INTS,
        types.int64[::1], types.float32[:, ::1], types.int64[:, ::1], types.int64[::1],
    ),
    holds_lock=True,
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
    room: NDArray[np.int64],
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
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
        scratch: from `make_scratch`, of this thread.
        room: (at least `room_for` (n_queries, k),) working memory.
        scores, rows, sizes: (n_queries, k), (n_queries, k), (n_queries,) written: the results and how many
            there are.
    """
    n_queries = plan_ends.size - 1
    task_at = scratch[TASK]
    task = view(task_at, np.int64)
    task[SCRATCH] = address(scratch)
    task[K] = k = rows.shape[1]
    task[ROOM] = most = k if k <= FEW_ENTRIES else 2 * k + FEW_ENTRIES
    step = 8 * (N_HEADERS + 2 * most)
    best_at = address(room)
    task[SPANS] = scratch[SPANS_ROOM]
    task[TABLES] = scratch[TABLES_ROOM]
    task[LIMITS] = scratch[LIMITS_ROOM]
    task[SORTING] = best_at + n_queries * step
    task[ALLOWED] = allowed
    n_docs = 0
    for s in range(segments.shape[0]):
        n_docs += segments[s, N_DOCS] - segments[s, N_DELETED]
    is_short = n_docs * (plan_ends[n_queries] - plan_ends[0]) <= _SHORT
    state = 0 if is_short else give_lock_away()
    for q in range(n_queries):
        header = view(best_at + q * step, np.int64)
        header[FILLED] = 0
        header[GUESSED] = 0  # also the bits of 0.0
        sizes[q] = q  # the queries to do, until they are done
    n_todo = n_queries
    while n_todo > 0:
        for s in range(segments.shape[0]):
            task[SEGMENT] = address(segments) + s * 8 * N_COLUMNS
            share = k * (segments[s, N_DOCS] - segments[s, N_DELETED]) / n_docs
            share = share * _SURPLUS + _SPREAD * np.sqrt(share)
            task[SHARE] = np.int64(share) if k > _LEFT_OUT_UP_TO and share < k else k
            for t in range(n_todo):
                q = sizes[t]
                at = best_at + q * step
                header = view(at, np.int64)
                task[BEST_SCORES] = at + 8 * N_HEADERS
                task[BEST_ROWS] = at + 8 * (N_HEADERS + most)
                task[GUESS] = at + 8 * GUESSED
                task[SIZE] = header[FILLED]
                task[N_ROWS] = plan_ends[q + 1] - plan_ends[q]
                task[PLAN] = address(plan) + plan_ends[q] * 8 * 5
                task[GROUPS] = address(groups) + plan_ends[q] * 8
                _search_one(task_at, address(terms) + plan_ends[q] * 8, slope)
                header[FILLED] = task[SIZE]
        n_todo = _sort_and_check(task_at, best_at, address(sizes), n_todo)
    for q in range(n_queries):
        at = best_at + q * step
        found_scores = view(at + 8 * N_HEADERS, np.float64)
        found_rows = view(at + 8 * (N_HEADERS + most), np.int64)
        sizes[q] = view(at, np.int64)[FILLED]
        for c in range(sizes[q]):
            scores[q, c] = found_scores[c]
            rows[q, c] = found_rows[c]
    if not is_short:
        take_lock_back(state)


def room_for(n_queries: int, k: int) -> int:
    """Numbers of working memory that `search` needs."""
    if k <= FEW_ENTRIES:
        return n_queries * (N_HEADERS + 2 * k)
    most = 2 * k + FEW_ENTRIES
    return n_queries * (N_HEADERS + 2 * most) + 2 * most + 256


def make_scratch() -> tuple[tuple[NDArray[Any], ...], NDArray[np.int64]]:
    """Working memory for `search`, for one thread at a time, and its addresses.

    Of the last two, which have a row for each term, only what queries need is ever touched.
    """
    per_document = [np.uint16] * 5 + [np.float64] * 4
    arrays: list[NDArray[Any]] = [np.zeros(MOST_DOCS + 1, dtype) for dtype in per_document]
    arrays += [np.zeros(_BUCKETS, np.int64), np.zeros(N_TASK, np.int64)]
    arrays += [np.empty((MOST_ROWS, 3), np.int64), np.empty(N_CODES + 1, np.float32)]
    arrays += [np.empty((MOST_ROWS, N_CODES), np.uint16), np.empty((4, MOST_ROWS), np.float64)]
    addresses = np.array([array.ctypes.data for array in arrays], np.int64)
    addresses.flags.writeable = False
    return tuple(arrays), addresses
