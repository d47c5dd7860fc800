"""The best documents of planned queries, by the compiled kernel."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.planning import PlannedQueries
from prorank_plugins.lexical.segment import Segment

_THREAD = threading.local()


def _scratch_of_thread() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Working memory of `kernels.top_k`, kept because fresh pages cost more than a small search."""
    try:
        return _THREAD.scratch  # type: ignore[no-any-return]
    except AttributeError:
        from prorank_plugins.lexical import kernels

        _THREAD.scratch = kernels.make_scratch()
        return _THREAD.scratch  # type: ignore[no-any-return]


def best_documents(
    segment: Segment,
    norms: NDArray[np.float64],
    allowed: NDArray[np.bool_],
    planned: PlannedQueries,
    span: slice,
    k: int,
) -> list[Hits]:
    """The best ``k`` documents of the queries in ``span``."""
    from prorank_plugins.lexical import kernels

    n_queries = span.stop - span.start
    scores = np.empty((n_queries, k), np.float64)
    rows = np.empty((n_queries, k), np.int64)
    sizes = np.zeros(n_queries, np.int64)
    postings, plan = segment.postings, planned.plan
    kernels.top_k(
        postings.indptr, postings.rows, postings.term_freqs, norms, allowed,
        planned.ends[span.start : span.stop + 1], plan.terms, plan.groups, plan.counts,
        plan.weights, plan.offsets, plan.floors, plan.bonuses,
        k, *_scratch_of_thread(), scores, rows, sizes,
    )  # fmt: skip
    ids = segment.ids
    hits = []
    for i, (size, scale) in enumerate(zip(sizes.tolist(), planned.scales[span].tolist(), strict=True)):
        best = rows[i, :size].copy()
        final = (scores[i, :size] * scale).astype(np.float32)
        hits.append(Hits([ids[row] for row in best.tolist()], final, best))
    return hits
