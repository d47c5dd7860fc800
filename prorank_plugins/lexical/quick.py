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
from prorank_plugins.lexical.statistics import Sizes


@cache
def plans() -> ModuleType:
    """Imported once: an import statement costs as much as planning does."""
    from prorank_plugins.lexical.kernels import plans

    return plans


def is_simple(scorer: Scorer) -> bool:
    """Whether the kernels plan for a scorer: one of the package, nothing merged or normalised."""
    if type(scorer) is BMX:
        return scorer.normalize == "none" and scorer.repeats == "keep"
    return type(scorer) is BM25 and scorer.normalize == "none"


def can_be_quick(asked: Asked, scorer: Scorer) -> bool:
    """Whether `plan_quickly` gives what `plan_queries` would: plain queries by a simple scorer."""
    return asked.owners is None and asked.longest <= LONG_GROUP and is_simple(scorer)


def parameters_of(scorer: Scorer, sizes: Sizes) -> tuple[tuple[bool, float, float, bool], float]:
    """Of a simple scorer: what `plan_tokens` takes of it, and the slope of its plans."""
    if isinstance(scorer, BMX):
        alpha, paper = scorer.alpha_of(sizes), scorer.variant == "paper"
        return (False, alpha, scorer.beta_of(sizes), paper), alpha
    assert isinstance(scorer, BM25)
    return (True, float(scorer.k1), float(scorer.b), False), scorer.k1 * scorer.b


def plan_quickly(asked: Asked, scorer: Scorer, content: Content) -> Ready:
    """The plan, by the same kernels as `Scorer.plan`; the content must not change meanwhile."""
    statistics = content.statistics
    parameters, slope = parameters_of(scorer, statistics)
    tokens = number_tokens(asked.tokens, content)
    n = len(tokens)
    integers, numbers = np.empty((2, n), np.int64), np.empty((n, 5))
    ends = np.empty(len(asked.ends), np.int64)
    n_rows = plans().plan_tokens(
        tokens, np.array(asked.ends), *statistics.tables, statistics.n_terms, statistics.n_docs,
        *parameters, integers, numbers, ends,
    )  # fmt: skip
    terms, groups = integers[0, :n_rows], integers[1, :n_rows]
    slope = length_slope(slope, statistics.average_length)
    return Ready(content.state, ends, terms, groups, numbers[:n_rows], slope)
