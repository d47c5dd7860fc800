"""Two stages seen as one retriever: a cheap one finds candidates, a careful one orders them."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from prorank_plugins.core.documents import ScoredDocument
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.protocols import Reranker, Retriever


@dataclass(frozen=True)
class RetrieveThenRerank:
    """Retrieve ``depth`` candidates and return the reranker's best ``k``. Itself a `Retriever`.

    Attributes:
        retriever: first stage.
        reranker: second stage.
        depth: candidates handed to the second stage; more are fetched when ``k`` exceeds it.
        fusion_weight: share of the reranker's score in a sum with the first stage's, each scaled to [0, 1]
            over the candidates; the scores returned are such sums. None ranks by the reranker alone.
            For rerankers that take ``retrieval_scores``, as `ProRankReranker` does.
    """

    retriever: Retriever
    reranker: Reranker
    depth: int = 100
    fusion_weight: float | None = None

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError(f"depth must be at least 1, found {self.depth}")
        if self.fusion_weight is None:
            return
        if not 0 <= self.fusion_weight <= 1:
            raise ConfigError(f"fusion_weight must be None or in [0, 1], found {self.fusion_weight}")
        if "retrieval_scores" not in inspect.signature(self.reranker.rerank).parameters:
            raise ConfigError(
                f"fusion_weight needs a reranker that takes retrieval_scores; {type(self.reranker).__name__} "
                "does not. Leave it None"
            )

    def retrieve(self, query: str, k: int, **options: Any) -> list[ScoredDocument]:
        """The best ``k`` documents by the reranker's score or the fused one, best first.

        Args:
            query: the user's question.
            k: documents wanted, at least 0.
            options: passed on to the first stage, for example ``filter=``.
        """
        if k < 0:
            raise ConfigError(f"k must be at least 0, found {k}")
        if k == 0:
            return []
        candidates = self.retriever.retrieve(query, max(self.depth, k), **options)
        if not candidates:
            return []
        documents = [candidate.document for candidate in candidates]
        if self.fusion_weight is None:
            return self.reranker.rerank(query, documents, k)
        fusing: Any = self.reranker
        ranked: list[ScoredDocument] = fusing.rerank(
            query, documents, k,
            retrieval_scores=[candidate.score for candidate in candidates], fusion_weight=self.fusion_weight,
        )  # fmt: skip
        return ranked
