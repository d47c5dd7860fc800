"""When segments become one: few are searched faster than many, merging all on every edit costs too much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.ids import NumberedIds
from prorank_plugins.lexical.segment import MOST_DOCS, MOST_POSTINGS, merge
from prorank_plugins.lexical.state import State

# So many segments of about one size become one of the next size: a document is copied once for each
# power of this number, and the small segments are at most this many times the powers.
_FAN_OUT = 8


def merge_small(state: State) -> State:
    """The same documents, with segments merged that are many or mostly deleted, or ``state`` itself."""
    for i, gone in enumerate(state.n_deleted):
        if 2 * gone > state.segments[i].n_docs:
            return merge_small(_merged(state, i, i + 1))
    sizes = [segment.n_docs - gone for segment, gone in zip(state.segments, state.n_deleted, strict=True)]
    for tier in range(1, 20):
        largest = min(_FAN_OUT**tier, MOST_DOCS // 2)
        start = len(sizes)
        while (
            start > 0
            and sizes[start - 1] < largest
            and len(state.segments[start - 1].docs) < MOST_POSTINGS // 2
        ):
            start -= 1
        if len(sizes) - start >= _FAN_OUT:
            stop = _fitting(state, start)
            return merge_small(_merged(state, start, stop)) if stop > start + 1 else state
        if largest == MOST_DOCS // 2:
            break
    return state


def merge_all(state: State, numbers: NDArray[np.int32] | None) -> State:
    """The same documents in as few segments as can be.

    Args:
        state: the documents.
        numbers: (n_terms,) the terms' new numbers, in their old order; None if they stay.
    """
    start = 0
    while start < len(state.segments):
        stop = _fitting(state, start)
        if stop > start + 1 or state.n_deleted[start]:
            n_before = len(state.segments)
            state = _merged(state, start, stop)
            start += len(state.segments) - n_before + stop - start
        else:
            start = stop
    if numbers is None:
        return state
    renumbered = (replace(segment, terms=read_only(numbers[segment.terms])) for segment in state.segments)
    return replace(state, segments=tuple(renumbered))


def _fitting(state: State, start: int) -> int:
    """The end of the longest run of segments from ``start`` that fits into one."""
    n_docs = n_postings = 0
    for stop in range(start, len(state.segments)):
        segment = state.segments[stop]
        n_docs += segment.n_docs - state.n_deleted[stop]
        n_postings += len(segment.docs)
        if n_docs > MOST_DOCS or (n_postings > MOST_POSTINGS and stop > start):
            return max(stop, start + 1)
    return len(state.segments)


def _merged(state: State, start: int, stop: int) -> State:
    chosen = range(start, stop)
    if not any(state.segments[i].n_docs - state.n_deleted[i] for i in chosen):
        return state.with_merged(start, stop, None)
    documents: list[Document] | None = None
    if state.keeps_documents:
        documents = list(
            chain.from_iterable(state.of_live(i, state.segments[i].documents or ()) for i in chosen)
        )
    segment = merge(state.segments[start:stop], state.deleted[start:stop], _ids(state, chosen), documents)
    return state.with_merged(start, stop, segment)


def _ids(state: State, chosen: range) -> Sequence[str]:
    """Ids of the documents that are there, still numbers where they were."""
    all_ids = [state.segments[i].ids for i in chosen]
    first = all_ids[0]
    if isinstance(first, NumberedIds) and not any(state.n_deleted[i] for i in chosen):
        end = first.start
        for ids in all_ids:
            if not isinstance(ids, NumberedIds) or ids.start != end:
                break
            end += len(ids)
        else:
            return NumberedIds(first.start, end - first.start)
    return list(chain.from_iterable(state.of_live(i, ids) for i, ids in zip(chosen, all_ids, strict=True)))
