"""This package as a contestant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.cli.bench.engine import BASELINE, Engine


class ProRank(Engine):
    """This package, both variants of BMX and BM25."""

    name = "prorank"
    contestants: ClassVar[dict[str, str]] = {
        BASELINE: BASELINE,
        "prorank BMX paper": "prorank BMX paper",
        "prorank BM25": "prorank BM25",
    }

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        from prorank_plugins import BM25, BMX, LexicalIndex

        self._library = LexicalIndex
        self._scorers: dict[str, Any] = {
            BASELINE: BMX(),
            "prorank BMX paper": BMX(variant="paper"),
            "prorank BM25": BM25(),
        }

    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index terms as they are."""
        self._index = self._library.build(documents, analyzer=None, n_threads=1)

    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with the English analyzer."""
        self._index = self._library.build(texts, analyzer="en", n_threads=1)

    def save(self) -> None:
        """`LexicalIndex.save`."""
        self._index.save(self.folder_or_fail())

    def load(self) -> None:
        """`LexicalIndex.load`."""
        self._index = self._library.load(self.folder_or_fail())

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """`LexicalIndex.search`."""
        return self._index.search(query, k, self._scorers[contestant])

    def search_many(self, contestant: str, prepared: Sequence[list[str]], k: int) -> Any:
        """`LexicalIndex.search_many` on one thread."""
        return self._index.search_many(prepared, k, self._scorers[contestant], n_threads=1)

    def rows(self, answer: Any) -> list[int]:
        """Rows of a `Hits`."""
        return [int(row) for row in answer.rows]
