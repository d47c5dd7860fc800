"""Runs and judgements in TREC's column formats, plain or with ``.gz``.

A run is ``query Q0 document rank score tag``, judgements are ``query 0 document grade``, separated by
ASCII blanks. The formats of trec_eval (https://github.com/usnistgov/trec_eval).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite
from os import PathLike
from pathlib import Path

from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation.ranking import ranked_for
from prorank_plugins.evaluation.textfiles import read_lines, write_lines

_FIELDS = re.compile(r"\S+", re.ASCII)
"""Blanks are ASCII as in C: a no-break space belongs to the id it stands in."""


def write_run(
    path: str | PathLike[str], run: Mapping[str, Mapping[str, float]], tag: str = "prorank"
) -> None:
    """Write ``{query: {document: score}}``, best first, in the order the measures use, ranks from 1.

    Scores are written so that `read_run` gives back the same floats. A query that retrieved nothing
    leaves no line; evaluation counts it as 0 either way.

    Raises:
        DataFormatError: an id or the tag is empty, holds a blank, or cannot be encoded.
        ConfigError: a score is not a finite number.
    """
    write_lines(Path(path), _run_lines(run, _column(tag, "tag")))


def _run_lines(run: Mapping[str, Mapping[str, float]], tag: str) -> Iterator[str]:
    for query, scores in run.items():
        for rank, id in enumerate(ranked_for(query, scores), start=1):
            yield (
                f"{_column(query, 'query id')} Q0 {_column(id, 'document id')} {rank} "
                f"{float(scores[id])!r} {tag}"
            )


def read_run(path: str | PathLike[str]) -> dict[str, dict[str, float]]:
    """Read ``{query: {document: score}}``. As in trec_eval the score decides, the rank is not looked at.

    Raises:
        DataFormatError: a line has other than six fields or a score that is not a finite number, or a
            document occurs twice for a query. File and line are named.
        FileNotFoundError: there is no such file.
    """
    run: dict[str, dict[str, float]] = {}
    for where, (query, _, id, _, score, _) in _rows(Path(path), "query Q0 document rank score tag"):
        scores = run.setdefault(query, {})
        if id in scores:
            raise DataFormatError(f"{where}: document {id!r} occurs a second time for query {query!r}")
        scores[id] = _finite(score, where)
    return run


def write_qrels(path: str | PathLike[str], qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write ``{query: {document: grade}}`` in the order given.

    Raises:
        DataFormatError: an id is empty, holds a blank, or cannot be encoded.
    """
    write_lines(Path(path), _qrels_lines(qrels))


def _qrels_lines(qrels: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for query, grades in qrels.items():
        for id, grade in grades.items():
            yield f"{_column(query, 'query id')} 0 {_column(id, 'document id')} {int(grade)}"


def read_qrels(path: str | PathLike[str]) -> dict[str, dict[str, int]]:
    """Read ``{query: {document: grade}}`` in file order.

    Raises:
        DataFormatError: a line has other than four fields or a grade that is not an integer, or a
            document is judged twice for a query. File and line are named.
        FileNotFoundError: there is no such file.
    """
    qrels: dict[str, dict[str, int]] = {}
    for where, (query, _, id, grade) in _rows(Path(path), "query 0 document grade"):
        grades = qrels.setdefault(query, {})
        if id in grades:
            raise DataFormatError(f"{where}: document {id!r} is judged twice for query {query!r}")
        try:
            grades[id] = int(grade)
        except ValueError as error:
            raise DataFormatError(f"{where}: found grade {grade!r}; expected an integer") from error
    return qrels


def _rows(path: Path, columns: str) -> Iterator[tuple[str, list[str]]]:
    expected = len(columns.split())
    for number, line in read_lines(path):
        fields = _FIELDS.findall(line)
        if len(fields) != expected:
            raise DataFormatError(
                f"{path}:{number}: found {len(fields)} fields; expected {expected}: {columns}"
            )
        yield f"{path}:{number}", fields


def _column(value: str, what: str) -> str:
    if not isinstance(value, str) or not _FIELDS.fullmatch(value):
        raise DataFormatError(f"{what} {value!r} cannot be a TREC column; expected a string without blanks")
    return value


def _finite(score: str, where: str) -> float:
    try:
        value = float(score)
    except ValueError as error:
        raise DataFormatError(f"{where}: found score {score!r}; expected a number") from error
    if not isfinite(value):
        raise DataFormatError(f"{where}: found score {score!r}; expected a finite number")
    return value
