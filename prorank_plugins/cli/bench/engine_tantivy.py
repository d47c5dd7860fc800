"""tantivy as a contestant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from prorank_plugins.cli.bench.engine import Engine
from prorank_plugins.lexical.stopwords import stop_words

# What it may hold in memory before it writes a segment: with one segment, document numbers are rows.
_HEAP = 2_000_000_000


class Tantivy(Engine):
    """tantivy: a search engine written in Rust. Its k1 is 1.2 and it keeps lengths in one byte."""

    name = "tantivy"
    modules = ("tantivy",)
    install = "pip install tantivy"
    contestants: ClassVar[dict[str, str]] = {"tantivy": "prorank BM25"}

    def __init__(self, folder: Path | None = None) -> None:
        super().__init__(folder)
        self._tantivy: Any = import_module("tantivy")

    def build_tokens(self, documents: Iterable[list[str]]) -> None:
        """Index terms joined by blanks: term lists have no faster way in."""
        self._build(map(" ".join, documents), self._analyzer("whitespace"))

    def build_raw(self, texts: Iterable[str]) -> None:
        """Index texts with the filters of ``en_stem`` and stop words."""
        choose = self._tantivy.Filter
        words = sorted(stop_words("en"))
        filters = (choose.lowercase(), choose.custom_stopword(words), choose.stemmer("english"))
        self._build(texts, self._analyzer("simple", *filters))

    def _analyzer(self, tokenizer: str, *filters: Any) -> Any:
        builder = self._tantivy.TextAnalyzerBuilder(getattr(self._tantivy.Tokenizer, tokenizer)())
        for each in filters:
            builder = builder.filter(each)
        return builder.build()

    def _build(self, texts: Iterable[str], analyzer: Any) -> None:
        schema = self._tantivy.SchemaBuilder()
        schema.add_text_field("text", stored=False, tokenizer_name="bench", index_option="freq")
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
        self._index = self._tantivy.Index(schema.build(), path=str(self.folder) if self.folder else None)
        self._index.register_tokenizer("bench", analyzer)
        writer = self._index.writer(_HEAP, 1)
        for text in texts:
            writer.add_document(self._tantivy.Document(text=text))
        writer.commit()
        writer.wait_merging_threads()
        self._open()

    def _open(self) -> None:
        self._index.reload()
        self._searcher = self._index.searcher()

    def save(self) -> None:
        """Nothing to do: an index with a folder is built there."""
        self.folder_or_fail()

    def load(self) -> None:
        """``open``; it maps its files into memory."""
        self._index = self._tantivy.Index.open(str(self.folder_or_fail()))
        self._index.register_tokenizer("bench", self._analyzer("whitespace"))
        self._open()

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """Parse the terms and search."""
        parsed, _ = self._index.parse_query_lenient(" ".join(query), ["text"])
        return self._searcher.search(parsed, k, count=False).hits

    def search_many(self, contestant: str, prepared: Sequence[list[str]], k: int) -> Any:
        """One search after the other: there is no batch call."""
        return [self.search(contestant, query, k) for query in prepared]

    def rows(self, answer: Any) -> list[int]:
        """Document numbers of the only segment."""
        return [address.doc for _, address in answer]
