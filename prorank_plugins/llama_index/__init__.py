"""LlamaIndex over the engines of this package: `BMXRetriever`.

Needs llama-index-core: ``pip install 'prorank-plugins[llama-index]'``.
"""

from prorank_plugins.core.extras import require

require("llama_index.core", extra="llama-index", purpose="prorank_plugins.llama_index")

from prorank_plugins.llama_index.retriever import BMXRetriever  # noqa: E402 - llama-index-core comes first

__all__ = ["BMXRetriever"]
