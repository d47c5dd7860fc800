"""LangChain over the engines of this package: `BMXRetriever` and `ProRankCompressor`.

Needs langchain-core: ``pip install 'prorank-plugins[langchain]'``.
"""
# ruff: noqa: E402   langchain-core is asked for by name before anything is imported from it

from prorank_plugins.core.extras import require

require("langchain_core", "langchain", "prorank_plugins.langchain")

from prorank_plugins.langchain.compressor import ProRankCompressor
from prorank_plugins.langchain.retriever import BMXRetriever

__all__ = ["BMXRetriever", "ProRankCompressor"]
