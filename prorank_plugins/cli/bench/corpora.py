"""What a benchmark runs on: texts and questions, raw and analysed once for all engines."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation import BeirDataset, load_beir
from prorank_plugins.lexical.analysis import Analyzer

STDLIB = "stdlib"
"""Name of the corpus that every installation has."""


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


def load_corpus(source: str, split: str, most_queries: int, seed: int) -> Corpus:
    """Read and analyse a collection.

    Args:
        source: `STDLIB`, or the path of a folder in the BEIR layout.
        split: whose judged queries to take; a BEIR folder only.
        most_queries: a random choice of this many is taken when there are more.
        seed: of that choice.

    Raises:
        DataFormatError: the folder cannot be read, or nothing is left to index or to ask.
    """
    dataset = _read(source, split)
    analyze = Analyzer("en").terms
    texts = [document.text for document in dataset.documents]
    queries = [terms for terms in map(analyze, dataset.queries.values()) if terms]
    if not texts or not queries:
        raise DataFormatError(
            f"{dataset.name} has {len(texts)} documents and {len(queries)} queries with a term; "
            "a benchmark needs at least one of each"
        )
    if len(queries) > most_queries:
        chosen = random.Random(seed).sample(range(len(queries)), most_queries)
        queries = [queries[i] for i in sorted(chosen)]
    name = STDLIB if source == STDLIB else dataset.name
    return Corpus(name, texts, [analyze(text) for text in texts], queries)


def _read(source: str, split: str) -> BeirDataset:
    if source == STDLIB:
        from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa

        return load_stdlib_qa()
    return load_beir(Path(source), split)
