"""The two one-method interfaces everything else is built on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from prorank_plugins.core.documents import Document, ScoredDocument


@runtime_checkable
class Retriever(Protocol):
    """Finds documents for a query."""

    def retrieve(self, query: str, k: int) -> list[ScoredDocument]:
        """The best ``k`` documents or fewer, best first."""
        ...


@runtime_checkable
class Reranker(Protocol):
    """Orders given documents for a query."""

    def rerank(self, query: str, documents: Sequence[Document], k: int | None = None) -> list[ScoredDocument]:
        """All documents, or the best ``k``, best first."""
        ...
