"""A collection as files with one document a line, which measuring processes read as a stream."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from prorank_plugins.cli.bench.corpora import Source
from prorank_plugins.lexical.analysis import Analyzer


@dataclass(frozen=True)
class DocumentFiles:
    """Where the documents are.

    Attributes:
        texts: as text, runs of white space made one blank.
        terms: as the English analyzer's terms, joined by blanks.
        n_terms: how many terms there are in all.
    """

    texts: Path
    terms: Path
    n_terms: int


def write_documents(source: Source, folder: Path) -> DocumentFiles:
    """Write and analyse the documents, one at a time in memory."""
    analyze = Analyzer("en").terms
    texts, terms, n_terms = folder / "texts.txt", folder / "terms.txt", 0
    with texts.open("w", encoding="utf-8") as as_text, terms.open("w", encoding="utf-8") as as_terms:
        for text in source.texts():
            found = analyze(text)
            n_terms += len(found)
            as_text.write(" ".join(text.split()) + "\n")
            as_terms.write(" ".join(found) + "\n")
    return DocumentFiles(texts, terms, n_terms)
