"""PISA as a contestant, through pyterrier-pisa."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.cli.bench.engine import Engine
from prorank_plugins.cli.bench.silence import silence

# Documents that it inverts at a time, as many as the benchmarks have at most in one piece.
_BATCH = 2_000_000


class Spelling(dict[str, str]):
    """Terms as its tokeniser leaves them whole: what is not ASCII letters and digits becomes hexadecimal."""

    def __missing__(self, term: str) -> str:
        plain = term.isascii() and term.isalnum()
        spelled = self[term] = term if plain else f"x{term.encode('utf-8', 'surrogatepass').hex()}"
        return spelled


class Pisa(Engine):
    """PISA: a research engine written in C++, with MaxScore over blocks of 128 compressed postings."""

    name = "pisa"
    modules = ("pyterrier_pisa",)
    install = "pip install pyterrier-pisa"
    contestants: ClassVar[dict[str, str]] = {"PISA MaxScore": "prorank BM25"}

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._pisa = import_module("pyterrier_pisa")
        self._frame = import_module("pandas").DataFrame
        self._scratch = tempfile.TemporaryDirectory() if folder is None else None
        self._place = Path(self._scratch.name) / "index" if self._scratch is not None else folder
        self._spelled = Spelling()
        self._by_k: dict[int, Any] = {}

    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index terms joined by blanks: its way in for term lists is slower."""
        spell = self._spelled.__getitem__
        self._build((" ".join(map(spell, document)) for document in documents), "none")

    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with Porter's second stemmer; it leaves stop words out only when it searches."""
        self._build(texts, "porter2")

    def _build(self, texts: Iterable[str], stemmer: str) -> None:
        self._open(stemmer)
        lines = ({"docno": str(row), "text": text} for row, text in enumerate(texts))
        with silence():
            self._index.index(lines)
        self._retriever(10)  # compresses the index

    def _open(self, stemmer: str) -> None:
        self._by_k = {}
        self._index = self._pisa.PisaIndex(
            str(self._place),
            text_field="text",
            stemmer=stemmer,
            stops="none",
            index_encoding="block_simdbp",
            batch_size=_BATCH,
            threads=1,
            overwrite=True,
        )

    def save(self) -> None:
        """Nothing to do: an index with a folder is built there."""
        self.folder_or_fail()

    def load(self) -> None:
        """Open the folder; a retriever maps the files into memory."""
        self.folder_or_fail()
        self._open("none")
        self._retriever(10)

    def _retriever(self, k: int) -> Any:
        if k not in self._by_k:
            with silence(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._by_k[k] = self._index.bm25(
                    k1=1.5, b=0.75, num_results=k, threads=1, query_algorithm="maxscore"
                )
        return self._by_k[k]

    def prepare(self, queries: Sequence[list[str]]) -> Any:
        """The data frame that its retrievers take."""
        texts = [" ".join(map(self._spelled.__getitem__, query)) for query in queries]
        return self._frame({"qid": list(map(str, range(len(texts)))), "query": texts})

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """A frame with one query: there is no other way to ask."""
        return self._retriever(k).transform(self.prepare([query]))

    def search_many(self, contestant: str, prepared: Any, k: int) -> Any:
        """``transform`` on one thread."""
        return self._retriever(k).transform(prepared)

    def rows(self, answer: Any) -> list[int]:
        """Its document names are our rows."""
        return [int(name) for name in answer["docno"]]
