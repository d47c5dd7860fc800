"""BMX: BM25 with entropy-weighted similarity.

Li, Lipp, Shakir, Huang and Li, "BMX: Entropy-weighted Similarity and Semantic-enhanced Lexical
Search", arXiv:2408.06643; equation numbers below are the paper's. Its code is baguetter, which reads
some points differently: ``variant`` chooses. ``docs/bmx.md`` works an example in both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.queries import UNSEEN, QueryTerms
from prorank_plugins.lexical.scorers.plan import ROUNDING, PlanRoom, ScorePlan, check_choice, check_parameter
from prorank_plugins.lexical.statistics import CorpusStats, Sizes, inverse_doc_freqs


@dataclass(frozen=True)
class BMX:
    """Entropy-weighted BM25, without parameters to tune.

    With m query tokens ``q_i``, normalised entropies ``E_i`` (eqs. 4 and 5), their mean ``Ē`` (eq. 6)
    and ``S(Q, D) = |Q ∩ D| / m`` (eq. 7), equation 2 is::

        score(D) = Σ_i [ idf_i · tf_i · (α + 1) / (tf_i + α·|D|/avgdl + α·Ē) + β · E_i · S(Q, D) ]

    Attributes:
        alpha: α ≥ 0; None takes eq. 3, ``max(min(1.5, avgdl / 100), 0.5)``.
        beta: β ≥ 0; None takes eq. 3, ``1 / ln(1 + N)``.
        variant: ``"paper"`` adds the similarity term for every query token, and tokens that no document
            contains count in m. ``"reference"`` does what baguetter does: the term is added for tokens
            that occur in D only, and unknown tokens are dropped first.
        repeats: a token the query holds twice counts twice (``"keep"``, as in baguetter) or once
            (``"merge"``); the paper does not say.
        normalize: what scores are divided by. ``"none"``; ``"paper"``: the estimate of eqs. 10 and 11,
            ``m · (ln(1 + (N − 0.5) / 1.5) + 1)``, which scores can exceed; ``"reference"``: the same without
            the ``+ 1``, as baguetter has it; ``"bound"``: ``Σ_i [idf_i · (α + 1) + β · E_i]``, a true bound,
            so that scores lie in [0, 1].

    Raises:
        ConfigError: a parameter out of range.
    """

    alpha: float | None = None
    beta: float | None = None
    variant: Literal["reference", "paper"] = "reference"
    repeats: Literal["keep", "merge"] = "keep"
    normalize: Literal["none", "paper", "reference", "bound"] = "none"

    def __post_init__(self) -> None:
        if self.alpha is not None:
            check_parameter("alpha", self.alpha)
        if self.beta is not None:
            check_parameter("beta", self.beta)
        check_choice("variant", self.variant, ("reference", "paper"))
        check_choice("repeats", self.repeats, ("keep", "merge"))
        check_choice("normalize", self.normalize, ("none", "paper", "reference", "bound"))

    def alpha_of(self, stats: Sizes) -> float:
        """α for this corpus (eq. 3)."""
        return max(min(1.5, stats.average_length / 100), 0.5) if self.alpha is None else self.alpha

    def beta_of(self, stats: Sizes) -> float:
        """β for this corpus (eq. 3); an empty one counts as one document."""
        return 1.0 / math.log(1 + max(stats.n_docs, 1)) if self.beta is None else self.beta

    def _counted(self, query: QueryTerms) -> QueryTerms:
        """The tokens that make up m."""
        if self.repeats == "merge":
            query = query.merged()
        return query.known() if self.variant == "reference" else query

    def plan(self, query: QueryTerms, stats: CorpusStats) -> ScorePlan:
        """The formula above as a `ScorePlan`; see there.

        The similarity term becomes a ``bonus`` times the number of matches for the reference. For the
        paper, ``Σ_i β·E_i·|M|/m`` is ``β·Ē`` for each match: a ``floor``, so that the score is a plain sum.
        """
        from prorank_plugins.lexical.kernels.plans import plan_bmx

        if self.repeats == "merge":
            query = query.merged()
        alpha, room = self.alpha_of(stats), PlanRoom.of(query)
        n_rows = plan_bmx(
            read_only(query.ids), read_only(query.groups), read_only(stats.doc_freqs),
            read_only(stats.log_entropies), read_only(query.counts), read_only(query.weights),
            stats.n_docs, alpha, self.beta_of(stats), self.variant == "paper", *room,
        )  # fmt: skip
        return room.plan(n_rows, alpha)

    def score_max(self, query: QueryTerms, stats: CorpusStats) -> NDArray[np.float64] | None:
        """What ``normalize`` divides by; see the class."""
        if self.normalize == "none":
            return None
        counted = self._counted(query)
        masses = counted.counts * counted.weights
        if self.normalize == "bound":
            doc_freqs = lookup(stats.doc_freqs, counted, missing=0)
            gains = inverse_doc_freqs(doc_freqs, stats.n_docs) * (self.alpha_of(stats) + 1.0)
            gains += self.beta_of(stats) * normalised_entropies(counted, stats)
            return counted.totals(masses * gains) * ROUNDING
        rarest = math.log(1 + (stats.n_docs - 0.5) / 1.5) if stats.n_docs else 0.0
        return counted.totals(masses) * (rarest + (1.0 if self.normalize == "paper" else 0.0))


def normalised_entropies(query: QueryTerms, stats: CorpusStats) -> NDArray[np.float64]:
    """(q,) raw entropies over the largest of their group (eq. 4); 0 for terms without documents."""
    logs: NDArray[np.float64] = lookup(stats.log_entropies, query, missing=-np.inf)
    largest = np.full(query.n_groups, -np.inf)
    np.maximum.at(largest, query.groups, logs)
    largest[largest == -np.inf] = 0.0
    shares: NDArray[np.float64] = np.exp(logs - largest[query.groups])
    return shares


def lookup(table: NDArray[Any], query: QueryTerms, missing: float) -> NDArray[Any]:
    """(q,) entries of a per-term table, ``missing`` for `UNSEEN`."""
    if query.all_known:
        return table[query.ids]
    found = np.full(len(query.ids), missing, table.dtype)
    seen = query.ids != UNSEEN
    found[seen] = table[query.ids[seen]]
    return found
