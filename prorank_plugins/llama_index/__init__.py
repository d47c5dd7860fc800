"""LlamaIndex over the engines of this package: `BMXRetriever` and `ProRankPostprocessor`.

Needs llama-index-core: ``pip install 'prorank-plugins[llama-index]'``.
"""
# ruff: noqa: E402   llama-index-core is asked for by name before anything is imported from it

from prorank_plugins.core.extras import require

require("llama_index.core", extra="llama-index", purpose="prorank_plugins.llama_index")

from prorank_plugins.llama_index.postprocessor import ProRankPostprocessor
from prorank_plugins.llama_index.retriever import BMXRetriever

__all__ = ["BMXRetriever", "ProRankPostprocessor"]
