"""The contestants: each library behind the same few methods, on one thread, with its own best options."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

from prorank_plugins import BM25, BMX, Analyzer, LexicalIndex
from prorank_plugins.lexical.scorers import Scorer
from prorank_plugins.lexical.stopwords import stop_words

BASELINE = "prorank BMX"
"""The contestant that the others are compared with."""

# What tantivy may hold in memory before it writes a segment: with one segment, document numbers are rows.
_TANTIVY_HEAP = 2_000_000_000


class Engine(ABC):
    """One library. An instance holds one index; what ``search`` returns is the library's own answer.

    Attributes:
        name: for tables.
        modules: what must be importable.
        install: the command line that brings them.
        contestants: ``{label: label of the contestant with the same formula}``, one for each way to search.
        most_docs: larger collections are not given to it.
        most_queries: so many at most are asked of it.
    """

    name: ClassVar[str]
    modules: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = "pip install prorank-plugins"
    contestants: ClassVar[dict[str, str]]
    most_docs: ClassVar[float] = float("inf")
    most_queries: ClassVar[int | None] = None

    @abstractmethod
    def build_tokens(self, documents: Sequence[list[str]]) -> None:
        """Index documents that are analysed already."""

    @abstractmethod
    def build_raw(self, texts: Sequence[str]) -> None:
        """Index texts with the library's own English analysis: our stop words, Snowball stems."""

    @abstractmethod
    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """One query, as terms."""

    @abstractmethod
    def search_many(self, contestant: str, queries: Sequence[list[str]], k: int) -> Sequence[Any]:
        """Many queries; an answer that `rows` understands for each."""

    @abstractmethod
    def rows(self, answer: Any) -> list[int]:
        """Positions of the documents that one answer names, best first."""


class ProRank(Engine):
    """This package."""

    name = "prorank"
    contestants: ClassVar[dict[str, str]] = {
        BASELINE: BASELINE,
        "prorank BMX paper": "prorank BMX paper",
        "prorank BM25": "prorank BM25",
    }
    _scorers: ClassVar[dict[str, Scorer]] = {
        BASELINE: BMX(),
        "prorank BMX paper": BMX(variant="paper"),
        "prorank BM25": BM25(),
    }

    def build_tokens(self, documents: Sequence[list[str]]) -> None:
        """Index terms as they are."""
        self._index = LexicalIndex.build(documents, analyzer=None, n_threads=1)

    def build_raw(self, texts: Sequence[str]) -> None:
        """Index texts with `Analyzer`."""
        self._index = LexicalIndex.build(texts, analyzer=Analyzer("en"), n_threads=1)

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """`LexicalIndex.search`."""
        return self._index.search(query, k, self._scorers[contestant])

    def search_many(self, contestant: str, queries: Sequence[list[str]], k: int) -> Sequence[Any]:
        """`LexicalIndex.search_many`."""
        return self._index.search_many(queries, k, self._scorers[contestant], n_threads=1)

    def rows(self, answer: Any) -> list[int]:
        """Rows of a `Hits`."""
        return [int(row) for row in answer.rows]


class Bm25s(Engine):
    """bm25s: scores computed when indexing, searched with numba or numpy."""

    name = "bm25s"
    modules = ("bm25s",)
    install = "pip install bm25s scipy"
    contestants: ClassVar[dict[str, str]] = {"bm25s numba": "prorank BM25", "bm25s numpy": "prorank BM25"}

    def __init__(self) -> None:
        self._bm25s = import_module("bm25s")

    def build_tokens(self, documents: Sequence[list[str]]) -> None:
        """Index terms as they are."""
        self._keep(documents)

    def build_raw(self, texts: Sequence[str]) -> None:
        """Index texts with `bm25s.tokenize` and PyStemmer."""
        stemmer = import_module("Stemmer").Stemmer("english")
        words = stop_words("en")
        self._keep(self._bm25s.tokenize(texts, stopwords=words, stemmer=stemmer, show_progress=False))

    def _keep(self, documents: Any) -> None:
        by_numpy = self._bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy", csc_backend="auto")
        by_numpy.index(documents, show_progress=False)
        by_numba = copy.copy(by_numpy)
        by_numba.backend = "numba"
        self._n_docs = by_numpy.scores["num_docs"]
        self._by = {"bm25s numpy": by_numpy, "bm25s numba": by_numba}

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """``retrieve`` with one query: there is no other way to ask."""
        return self.search_many(contestant, [query], k)[0]

    def search_many(self, contestant: str, queries: Sequence[list[str]], k: int) -> Sequence[Any]:
        """``retrieve`` on one thread."""
        k = min(k, self._n_docs)
        found = self._by[contestant].retrieve(queries, k=k, show_progress=False, n_threads=0)
        return list(zip(found.documents, found.scores, strict=True))

    def rows(self, answer: Any) -> list[int]:
        """Numbers of the documents that match; the library fills up to k with others."""
        return [int(row) for row, score in zip(*answer, strict=True) if score > 0]


class Tantivy(Engine):
    """tantivy: a search engine written in Rust. Its k1 is 1.2 and it keeps lengths in one byte."""

    name = "tantivy"
    modules = ("tantivy",)
    install = "pip install tantivy"
    contestants: ClassVar[dict[str, str]] = {"tantivy": "prorank BM25"}

    def __init__(self) -> None:
        self._tantivy: Any = import_module("tantivy")

    def build_tokens(self, documents: Sequence[list[str]]) -> None:
        """Index terms joined by blanks: term lists have no faster way in."""
        self._build(map(" ".join, documents), self._analyzer("whitespace"))

    def build_raw(self, texts: Sequence[str]) -> None:
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

    def _build(self, texts: Any, analyzer: Any) -> None:
        schema = self._tantivy.SchemaBuilder()
        schema.add_text_field("text", stored=False, tokenizer_name="bench", index_option="freq")
        self._index = self._tantivy.Index(schema.build())
        self._index.register_tokenizer("bench", analyzer)
        writer = self._index.writer(_TANTIVY_HEAP, 1)
        for text in texts:
            writer.add_document(self._tantivy.Document(text=text))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        self._searcher = self._index.searcher()

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """Parse the terms and search."""
        parsed, _ = self._index.parse_query_lenient(" ".join(query), ["text"])
        return self._searcher.search(parsed, k, count=False).hits

    def search_many(self, contestant: str, queries: Sequence[list[str]], k: int) -> Sequence[Any]:
        """One search after the other: there is no batch call."""
        return [self.search(contestant, query, k) for query in queries]

    def rows(self, answer: Any) -> list[int]:
        """Document numbers of the only segment."""
        return [address.doc for _, address in answer]


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

    def __init__(self) -> None:
        from prorank_plugins.cli.bench.baguetter import load_sparse

        sparse = load_sparse()
        settings = sparse.TextPreprocessorConfig(stopwords=set(stop_words("en")))
        # Without workers it analyses in this process, where its CPU time is seen.
        self._index = sparse.BMXSparseIndex(preprocessor_or_config=settings, n_workers=0)

    def build_tokens(self, documents: Sequence[list[str]]) -> None:
        """Index terms as they are."""
        self._index.add_many(list(range(len(documents))), documents)

    def build_raw(self, texts: Sequence[str]) -> None:
        """Index texts with its default preprocessing."""
        self._index.add_many(list(range(len(texts))), texts)

    def search(self, contestant: str, query: list[str], k: int) -> Any:
        """``search``."""
        return self._index.search(query, top_k=k)

    def search_many(self, contestant: str, queries: Sequence[list[str]], k: int) -> Sequence[Any]:
        """``search_many`` on one thread."""
        answers: Sequence[Any] = self._index.search_many(queries, top_k=k, n_workers=1)
        return answers

    def rows(self, answer: Any) -> list[int]:
        """Keys of the documents that match; the library fills up to k with others."""
        return [int(key) for key, score in zip(answer.keys, answer.scores, strict=True) if score > 0]


ENGINES: dict[str, type[Engine]] = {engine.name: engine for engine in (ProRank, Bm25s, Tantivy, Baguetter)}


def choose_engines(names: Sequence[str], n_docs: int) -> tuple[list[type[Engine]], list[str]]:
    """The engines that can take part, and a sentence about each that cannot.

    Args:
        names: keys of `ENGINES`.
        n_docs: size of the collection.
    """
    present: list[type[Engine]] = []
    skipped: list[str] = []
    for engine in map(ENGINES.__getitem__, names):
        missing = [module for module in engine.modules if find_spec(module) is None]
        if missing:
            skipped.append(f"{engine.name}: {', '.join(missing)} not installed; run: {engine.install}")
        elif n_docs > engine.most_docs:
            skipped.append(f"{engine.name}: only run on collections of up to {engine.most_docs:,} documents")
        else:
            present.append(engine)
    return present, skipped
