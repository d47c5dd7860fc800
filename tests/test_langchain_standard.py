"""LangChain's own suite for retrievers."""

import pytest

pytest.importorskip("langchain_tests")

from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from prorank_plugins.langchain import BMXRetriever

DOCS = [
    Document(page_content=f"an example query answered in {place}")
    for place in ("Rome", "Oslo", "Lima", "Bonn")
]


class TestBMXRetriever(RetrieversIntegrationTests):
    @property
    def retriever_constructor(self):
        return BMXRetriever

    @property
    def retriever_constructor_params(self):
        return {"docs": DOCS, "k": 2}

    @property
    def retriever_query_example(self):
        return "example query"


class TestBMXRetrieverFromTexts(TestBMXRetriever):
    @property
    def retriever_constructor(self):
        return BMXRetriever.from_texts

    @property
    def retriever_constructor_params(self):
        return {"texts": [document.page_content for document in DOCS], "k": 2}
