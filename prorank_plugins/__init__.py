"""BMX lexical retrieval and ProRank reranking for LangChain, LlamaIndex and plain Python.

Importing the package loads nothing heavy: each name below is imported when first used. The frameworks'
classes live in `prorank_plugins.langchain` and `prorank_plugins.llama_index`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prorank_plugins.core.display import show_ranking
    from prorank_plugins.core.documents import Document, ScoredDocument
    from prorank_plugins.core.errors import (
        ConfigError,
        CorruptIndexError,
        IndexFormatError,
        MissingExtraError,
        ModelError,
        ProRankError,
    )
    from prorank_plugins.core.pipeline import RetrieveThenRerank
    from prorank_plugins.core.protocols import Reranker, Retriever
    from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig
    from prorank_plugins.lexical.hits import Hits
    from prorank_plugins.lexical.index import LexicalIndex
    from prorank_plugins.lexical.queries import WeightedQuery
    from prorank_plugins.lexical.retriever import LexicalRetriever
    from prorank_plugins.lexical.scorers import BM25, BMX
    from prorank_plugins.rerank.reranker import ProRankReranker

__all__ = [
    "BM25",
    "BMX",
    "Analyzer",
    "AnalyzerConfig",
    "ConfigError",
    "CorruptIndexError",
    "Document",
    "Hits",
    "IndexFormatError",
    "LexicalIndex",
    "LexicalRetriever",
    "MissingExtraError",
    "ModelError",
    "ProRankError",
    "ProRankReranker",
    "Reranker",
    "RetrieveThenRerank",
    "Retriever",
    "ScoredDocument",
    "WeightedQuery",
    "show_ranking",
]

_HOMES = {
    "core.display": ("show_ranking",),
    "core.documents": ("Document", "ScoredDocument"),
    "core.errors": (
        "ConfigError",
        "CorruptIndexError",
        "IndexFormatError",
        "MissingExtraError",
        "ModelError",
        "ProRankError",
    ),
    "core.pipeline": ("RetrieveThenRerank",),
    "core.protocols": ("Reranker", "Retriever"),
    "lexical.analysis": ("Analyzer", "AnalyzerConfig"),
    "lexical.hits": ("Hits",),
    "lexical.index": ("LexicalIndex",),
    "lexical.queries": ("WeightedQuery",),
    "lexical.retriever": ("LexicalRetriever",),
    "lexical.scorers": ("BM25", "BMX"),
    "rerank.reranker": ("ProRankReranker",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from prorank_plugins.core.signature import package_version

        return package_version()
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
