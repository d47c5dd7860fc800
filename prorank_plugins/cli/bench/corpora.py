"""What a benchmark runs on: texts and questions, raw and analysed once for all engines."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from prorank_plugins.cli.bench.resampling import Resampler
from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation import BeirDataset, load_beir
from prorank_plugins.lexical.analysis import Analyzer

STDLIB = "stdlib"
"""Name of the corpus that every installation has."""


@dataclass(frozen=True, eq=False)
class Source:
    """A collection whose documents need not be in memory at once.

    Attributes:
        name: for titles and file names.
        n_docs: how many documents `texts` yields.
        queries: (n_queries,) the questions' texts.
        documents: (n_real,) the real ones, as text.
        seed: of the synthetic ones; None if there are none.
    """

    name: str
    n_docs: int
    queries: list[str]
    documents: list[str]
    seed: int | None

    def texts(self) -> Iterator[str]:
        """The documents, the same ones whenever it is called."""
        if self.seed is None:
            return iter(self.documents)
        return Resampler(self.documents, self.seed).documents(self.n_docs)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Documents and queries, as text and as the terms of the English analyzer.

    Attributes:
        name: for titles and file names.
        texts: (n_docs,) documents.
        documents: (n_docs,) their terms.
        queries: (n_queries,) the terms of the questions; those without a term are left out.
    """

    name: str
    texts: list[str]
    documents: list[list[str]]
    queries: list[list[str]]


def open_source(source: str, split: str, seed: int, resample: int | None = None) -> Source:
    """Read a collection.

    Args:
        source: `STDLIB`, or the path of a folder in the BEIR layout.
        split: whose judged queries to take; a BEIR folder only.
        seed: of the resampling.
        resample: so many documents put together from the collection's text in place of its own.

    Raises:
        DataFormatError: the folder cannot be read.
    """
    dataset = _read(source, split)
    name = STDLIB if source == STDLIB else dataset.name
    texts = [document.text for document in dataset.documents]
    queries = list(dataset.queries.values())
    if resample is None:
        return Source(name, len(texts), queries, texts, None)
    return Source(f"{name}-resampled-{resample}", resample, queries, texts, seed)


def load_corpus(source: str, split: str, most_queries: int, seed: int, resample: int | None = None) -> Corpus:
    """Read and analyse a collection.

    Args:
        source: as for `open_source`.
        split: as for `open_source`.
        most_queries: a random choice of this many is taken when there are more.
        seed: of that choice, and of the resampling.
        resample: as for `open_source`.

    Raises:
        DataFormatError: the folder cannot be read, or nothing is left to index or to ask.
    """
    opened = open_source(source, split, seed, resample)
    analyze = Analyzer("en").terms
    texts = list(opened.texts())
    queries = query_terms(opened, most_queries, seed)
    # One object for all occurrences of a term: it keeps a million documents within a gigabyte.
    documents = [list(map(sys.intern, analyze(text))) for text in texts]
    return Corpus(opened.name, texts, documents, queries)


def query_terms(source: Source, most: int, seed: int) -> list[list[str]]:
    """At most ``most`` of the questions that have a term, as terms.

    Raises:
        DataFormatError: there is no document, or no question with a term.
    """
    queries = [terms for terms in map(Analyzer("en").terms, source.queries) if terms]
    if not source.n_docs or not queries:
        raise DataFormatError(
            f"{source.name} has {source.n_docs} documents and {len(queries)} queries with a term; "
            "a benchmark needs at least one of each"
        )
    if len(queries) <= most:
        return queries
    chosen = random.Random(seed).sample(range(len(queries)), most)
    return [queries[i] for i in sorted(chosen)]


def _read(source: str, split: str) -> BeirDataset:
    if source == STDLIB:
        from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa

        return load_stdlib_qa()
    return load_beir(Path(source), split)
