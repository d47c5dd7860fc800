"""Judgements in either of the two formats in use."""

from __future__ import annotations

from pathlib import Path

from prorank_plugins.evaluation.datasets import read_judgements as read_beir_qrels
from prorank_plugins.evaluation.textfiles import read_lines
from prorank_plugins.evaluation.trec import read_qrels


def read_judgements(path: str) -> dict[str, dict[str, int]]:
    """``{query: {document: grade}}`` from TREC's four columns, or BEIR's three separated by tabs.

    Raises:
        DataFormatError: the file is malformed; file and line are named.
        FileNotFoundError: there is no such file.
    """
    _, first = next(read_lines(Path(path)), (0, ""))
    return read_beir_qrels(Path(path)) if first.count("\t") == 2 else read_qrels(path)
