"""The best documents of planned queries, by the compiled kernel."""

from __future__ import annotations

import threading
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.compilation import compiled_search
from prorank_plugins.lexical.exhaustive import score_all
from prorank_plugins.lexical.filters import ALL_ROWS
from prorank_plugins.lexical.hits import Found, Hits
from prorank_plugins.lexical.ready import Ready

_THREAD = threading.local()

MOST_TERMS = 4_000
"""Distinct terms of a query, at most, for the kernel; longer ones are scored exhaustively."""

_NO_ROOM = np.empty(0, np.int64)
_MOST_ROOM = 1 << 20

# More queries than these wait for a kernel that is being compiled.
_FEW_QUERIES = 4
# Up to so many result slots of a call, all hits keep them together instead of a copy each.
_SHARED_SLOTS = 1 << 15


def scratch_of_thread(searching: ModuleType) -> NDArray[np.int64]:
    """Working memory of `searching.search`, kept because fresh pages cost more than a small search."""
    try:
        return _THREAD.scratch[1]  # type: ignore[no-any-return]
    except AttributeError:
        _THREAD.scratch = searching.make_scratch()
        return _THREAD.scratch[1]  # type: ignore[no-any-return]


def room_of_thread(size: int) -> NDArray[np.int64]:
    """(at least ``size``,) working memory, kept likewise if it is not large."""
    room: NDArray[np.int64] = getattr(_THREAD, "room", _NO_ROOM)
    if len(room) < size:
        room = np.empty(size, np.int64)
        if size <= _MOST_ROOM:
            _THREAD.room = room
    return room


def best_documents(ready: Ready, allowed: NDArray[np.bool_], span: slice, k: int) -> list[Hits]:
    """The best ``k`` documents of the queries in ``span``.

    Args:
        ready: queries and the state they were planned for.
        allowed: (n_rows,) the filter, or `ALL_ROWS`.
        span: the queries.
        k: at least 1.
    """
    n_queries = span.stop - span.start
    scores = np.empty((n_queries, k), np.float32)
    rows = np.empty((n_queries, k), np.int64)
    sizes = np.zeros(n_queries, np.int64)
    state, ends = ready.state, ready.ends[span.start : span.stop + 1]
    searching = None
    if len(ready.terms) <= MOST_TERMS or (ends[1:] - ends[:-1]).max() <= MOST_TERMS:
        searching = compiled_search(wait=n_queries > _FEW_QUERIES)
    if searching is not None:
        mask = 0 if allowed is ALL_ROWS else allowed.ctypes.data
        searching.search(
            state.table, ends, ready.terms, ready.groups, ready.numbers, ready.slope, mask,
            scratch_of_thread(searching), room_of_thread(searching.room_for(n_queries, k)), scores, rows,
            sizes,
        )  # fmt: skip
    else:
        for q in range(n_queries):
            _best_of_all(ready, allowed, span.start + q, scores[q], rows[q], sizes[q:])
    if scores.size <= _SHARED_SLOTS:
        found = Found(state, scores, rows)
        return [Hits.of(found, place, size) for place, size in enumerate(sizes.tolist())]
    return [
        Hits.of(Found(state, scores[i : i + 1, :size].copy(), rows[i : i + 1, :size].copy()), 0, size)
        for i, size in enumerate(sizes.tolist())
    ]


def _best_of_all(
    ready: Ready,
    allowed: NDArray[np.bool_],
    query: int,
    scores: NDArray[np.float32],
    rows: NDArray[np.int64],
    size: NDArray[np.int64],
) -> None:
    """What the kernel does, by numpy: for a query with more terms than it takes, or before it is compiled."""
    state = ready.state
    all_scores = score_all(ready, query)
    if allowed is not ALL_ROWS:
        all_scores[~allowed] = 0.0
    if (live := state.live_rows) is not None:
        gone = np.ones(state.n_rows, np.bool_)
        gone[live] = False
        all_scores[gone] = 0.0
    found = np.flatnonzero(all_scores > 0.0)
    best = found[np.argsort(-all_scores[found], kind="stable")][: len(scores)]
    scores[: len(best)], rows[: len(best)], size[0] = all_scores[best], best, len(best)
