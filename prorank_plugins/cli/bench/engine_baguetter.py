"""baguetter as a contestant."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.cli.bench.engine import BASELINE, Engine
from prorank_plugins.lexical.stopwords import stop_words


class PlainFiles:
    """The part of its file repositories that saving and loading use, over ordinary paths."""

    open = staticmethod(open)
    exists = staticmethod(os.path.exists)


class Baguetter(Engine):
    """baguetter: the BMX authors' own code."""

    name = "baguetter"
    modules = ("baguetter", "dotenv", "huggingface_hub", "krovetzstemmer", "nltk", "sklearn", "unidecode")
    install = (
        "pip install --no-deps baguetter && "
        "pip install python-dotenv huggingface_hub krovetzstemmer nltk scikit-learn unidecode"
    )
    contestants: ClassVar[dict[str, str]] = {"baguetter BMX": BASELINE}
    most_docs = 25_000
    most_queries = 100

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        from prorank_plugins.cli.bench.baguetter import load_sparse

        self._sparse = load_sparse()
        settings = self._sparse.TextPreprocessorConfig(stopwords=set(stop_words("en")))
        # Without workers it analyses in this process, where its CPU time is seen.
        self._index = self._sparse.BMXSparseIndex(preprocessor_or_config=settings, n_workers=0)

    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index terms as they are."""
        self._add(list(documents))

    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with its default preprocessing."""
        self._add(list(texts))

    def _add(self, documents: Sequence[Any]) -> None:
        self._index.add_many(list(range(len(documents))), documents)

    def _file(self) -> str:
        return str(self.folder_or_fail() / "index.npz")

    def save(self) -> None:
        """One compressed file."""
        self.folder_or_fail().mkdir(parents=True, exist_ok=True)
        self._index._save(self._file(), PlainFiles)

    def load(self) -> None:
        """Read it whole."""
        self._index = self._sparse.BMXSparseIndex._load(self._file(), PlainFiles)

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """``search``."""
        return self._index.search(query, top_k=k)

    def search_many(self, contestant: str, prepared: Sequence[list[str]], k: int) -> Any:
        """``search_many`` on one thread."""
        return self._index.search_many(prepared, top_k=k, n_workers=1)

    def rows(self, answer: Any) -> list[int]:
        """Keys of the documents that match; the library fills up to k with others."""
        return [int(key) for key, score in zip(answer.keys, answer.scores, strict=True) if score > 0]
