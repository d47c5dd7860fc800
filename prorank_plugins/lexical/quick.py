"""The plan of plain queries by a scorer of the package, in one kernel: single searches are made of calls."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import numpy as np

from prorank_plugins.lexical.asking import Asked
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.exhaustive import length_slope
from prorank_plugins.lexical.lookup import LONG_GROUP, number_tokens
from prorank_plugins.lexical.ready import Ready
from prorank_plugins.lexical.scorers.bm25 import BM25
from prorank_plugins.lexical.scorers.bmx import BMX
from prorank_plugins.lexical.scorers.plan import Scorer


@cache
def _plans() -> ModuleType:
    """Imported once: an import statement costs as much as planning does."""
    from prorank_plugins.lexical.kernels import plans

    return plans


def can_be_quick(asked: Asked, scorer: Scorer) -> bool:
    """Whether `plan_quickly` gives what `plan_queries` would: plain queries, nothing merged or normalised."""
    if asked.owners is not None or asked.longest > LONG_GROUP:
        return False
    if type(scorer) is BMX:
        return scorer.normalize == "none" and scorer.repeats == "keep"
    return type(scorer) is BM25 and scorer.normalize == "none"


def plan_quickly(asked: Asked, scorer: BMX | BM25, content: Content) -> Ready:
    """The plan, by the same kernels as `Scorer.plan`; the content must not change meanwhile."""
    statistics = content.statistics
    doc_freqs, log_entropies = statistics.tables
    if isinstance(scorer, BMX):
        slope, paper = scorer.alpha_of(statistics), scorer.variant == "paper"
        parameters = (False, slope, scorer.beta_of(statistics), paper)
    else:
        slope = scorer.k1 * scorer.b
        parameters = (True, float(scorer.k1), float(scorer.b), False)
    tokens = number_tokens(asked, content)
    n = len(tokens)
    integers, numbers = np.empty((2, n), np.int64), np.empty((n, 5))
    ends = np.empty(len(asked.ends), np.int64)
    n_rows = _plans().plan_tokens(
        tokens, np.array(asked.ends), doc_freqs, log_entropies, statistics.n_terms, statistics.n_docs,
        *parameters, integers, numbers, ends,
    )  # fmt: skip
    terms, groups = integers[0, :n_rows], integers[1, :n_rows]
    slope = length_slope(slope, statistics.average_length)
    return Ready(content.state, ends, terms, groups, numbers[:n_rows], slope)
