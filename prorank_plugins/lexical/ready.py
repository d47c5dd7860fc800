"""What the search kernel is given."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.state import State


class Ready(NamedTuple):
    """Plans as the kernel takes them.

    Attributes:
        state: the documents.
        ends: (n_queries + 1,) where each query's rows begin.
        terms: (q,) numbers of the terms.
        groups: (q,) what is scored as one query; ascending.
        numbers: (q, 5) as in `ScorePlan`.
        slope: what a token of a document's length adds to its norm.
    """

    state: State
    ends: NDArray[np.int64]
    terms: NDArray[np.int64]
    groups: NDArray[np.int64]
    numbers: NDArray[np.float64]
    slope: float
