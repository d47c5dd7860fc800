"""Two stages seen as one retriever: a cheap one finds candidates, a careful one orders them."""

from __future__ import annotations

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
    """

    retriever: Retriever
    reranker: Reranker
    depth: int = 100

    def __post_init__(self) -> None:
        if self.depth < 1:
            raise ConfigError(f"depth must be at least 1, found {self.depth}")

    def retrieve(self, query: str, k: int, **options: Any) -> list[ScoredDocument]:
        """The best ``k`` documents by the reranker's score, best first.

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
        return self.reranker.rerank(query, [candidate.document for candidate in candidates], k)
