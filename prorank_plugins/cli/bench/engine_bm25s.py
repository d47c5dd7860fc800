"""bm25s as a contestant."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.cli.bench.engine import Engine
from prorank_plugins.lexical.stopwords import stop_words


class Bm25s(Engine):
    """bm25s: scores computed when indexing, searched with numba or numpy."""

    name = "bm25s"
    modules = ("bm25s",)
    install = "pip install bm25s scipy"
    contestants: ClassVar[dict[str, str]] = {"bm25s numba": "prorank BM25", "bm25s numpy": "prorank BM25"}
    most_docs_of: ClassVar[dict[str, float]] = {"bm25s numpy": 300_000}

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._bm25s = import_module("bm25s")

    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index terms as they are. It goes over the documents twice, so it needs a list.

        In a list made here, all occurrences of a term are one object.
        """
        if not isinstance(documents, list):
            documents = [list(map(sys.intern, document)) for document in documents]
        self._index(documents)

    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with `bm25s.tokenize` and PyStemmer."""
        stemmer = import_module("Stemmer").Stemmer("english")
        words = stop_words("en")
        texts = list(texts)
        self._index(self._bm25s.tokenize(texts, stopwords=words, stemmer=stemmer, show_progress=False))

    def _index(self, documents: Any) -> None:
        by_numpy = self._bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy", csc_backend="auto")
        by_numpy.index(documents, show_progress=False)
        self._keep(by_numpy)

    def _keep(self, by_numpy: Any) -> None:
        by_numba = copy.copy(by_numpy)
        by_numba.backend = "numba"
        self._n_docs = by_numpy.scores["num_docs"]
        self._by = {"bm25s numpy": by_numpy, "bm25s numba": by_numba}

    def save(self) -> None:
        """``save``."""
        self._by["bm25s numpy"].save(str(self.folder_or_fail()), show_progress=False)

    def load(self) -> None:
        """``load``, mapped into memory."""
        self._keep(self._bm25s.BM25.load(str(self.folder_or_fail()), mmap=True, show_progress=False))

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """``retrieve`` with one query: there is no other way to ask."""
        return self.search_many(contestant, [query], k)

    def search_many(self, contestant: str, prepared: Sequence[list[str]], k: int) -> Any:
        """``retrieve`` on one thread."""
        k = min(k, self._n_docs)
        return self._by[contestant].retrieve(prepared, k=k, show_progress=False, n_threads=0)

    def rows(self, answer: Any) -> list[int]:
        """Numbers of the documents that match; the library fills up to k with others."""
        pairs = zip(answer.documents[0], answer.scores[0], strict=True)
        return [int(row) for row, score in pairs if score > 0]
