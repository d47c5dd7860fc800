"""BM25, the yardstick.

Robertson and Walker (SIGIR 1994); the Lucene variant of Kamphuis, de Vries, Boytsov and Lin, "Which
BM25 do you mean?" (ECIR 2020), with the factor (k1 + 1) that keeps its scale next to BMX's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.queries import QueryTerms
from prorank_plugins.lexical.scorers.plan import ROUNDING, PlanRoom, ScorePlan, check_choice, check_parameter
from prorank_plugins.lexical.statistics import CorpusStats


@dataclass(frozen=True)
class BM25:
    """``score(D) = Σ_i idf_i · tf_i · (k1 + 1) / (tf_i + k1 · (1 − b + b · |D|/avgdl))``.

    A term that the query repeats counts as often as it is repeated.

    Attributes:
        k1: how slowly repeated occurrences stop to count, at least 0.
        b: how much long documents are held back, in [0, 1].
        variant: the idf: ``"lucene"`` is ``ln(1 + (N − df + 0.5) / (df + 0.5))``, always positive.
        normalize: ``"none"``, or ``"bound"`` to divide by the largest score any document could reach.

    Raises:
        ConfigError: a parameter out of range.
    """

    k1: float = 1.5
    b: float = 0.75
    variant: Literal["lucene"] = "lucene"
    normalize: Literal["none", "bound"] = "none"

    def __post_init__(self) -> None:
        check_parameter("k1", self.k1)
        check_parameter("b", self.b, high=1.0)
        check_choice("variant", self.variant, ("lucene",))
        check_choice("normalize", self.normalize, ("none", "bound"))

    def plan(self, query: QueryTerms, stats: CorpusStats) -> ScorePlan:
        """The formula above as a `ScorePlan`; see there."""
        from prorank_plugins.lexical.kernels.plans import plan_bm25

        room = PlanRoom.of(query)
        n_rows = plan_bm25(
            read_only(query.ids), read_only(query.groups), read_only(stats.doc_freqs),
            read_only(query.counts), read_only(query.weights), stats.n_docs, self.k1, self.b, *room,
        )  # fmt: skip
        return room.plan(n_rows, self.k1 * self.b)

    def score_max(self, query: QueryTerms, stats: CorpusStats) -> NDArray[np.float64] | None:
        """``Σ_i idf_i · (k1 + 1)`` for ``normalize="bound"``, else None."""
        if self.normalize == "none":
            return None
        return query.known().totals(self.plan(query, stats).weights) * ROUNDING
