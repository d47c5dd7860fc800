"""Test collections in the BEIR folder layout."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation.textfiles import read_lines

_HEADER = ["query-id", "corpus-id", "score"]


@dataclass(frozen=True, eq=False)
class BeirDataset:
    """Documents, questions and one split of judgements.

    Attributes:
        name: the folder's name.
        documents: in file order. ``text`` is title and text joined by a blank; ``metadata["title"]`` is
            set where there is a title.
        queries: ``{query: text}``, only those judged in the split, in file order.
        qrels: ``{query: {document: grade}}`` in file order. A judged document may be absent from
            ``documents``; it then counts as not retrieved.
    """

    name: str
    documents: list[Document]
    queries: dict[str, str]
    qrels: dict[str, dict[str, int]]


def load_beir(path: str | PathLike[str], split: str = "test") -> BeirDataset:
    """Read ``corpus.jsonl``, ``queries.jsonl`` and ``qrels/<split>.tsv``, each plain or with ``.gz``.

    The layout of BEIR (Thakur et al., NeurIPS 2021). The header line of the judgements may be left out.

    Raises:
        DataFormatError: a file is missing or malformed, an id or a judgement occurs twice, or a judged
            query has no text. File and line are named, and for a missing split those that exist.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataFormatError(
            f"{folder} is not a folder; expected one with corpus.jsonl, queries.jsonl and qrels/<split>.tsv, "
            "each plain or .gz"
        )
    qrels_file = _find_split(folder, split)
    qrels = read_judgements(qrels_file)
    texts = _read_queries(_find(folder / "queries.jsonl"))
    for query in qrels:
        if query not in texts:
            raise DataFormatError(f"{qrels_file}: query {query!r} is judged but has no text in queries.jsonl")
    documents = _read_documents(_find(folder / "corpus.jsonl"))
    queries = {query: text for query, text in texts.items() if query in qrels}
    return BeirDataset(folder.resolve().name, documents, queries, qrels)


def _find(file: Path) -> Path:
    for candidate in (file, file.with_name(f"{file.name}.gz")):
        if candidate.is_file():
            return candidate
    raise DataFormatError(f"{file.parent} has neither {file.name} nor {file.name}.gz; a BEIR folder has one")


def _find_split(folder: Path, split: str) -> Path:
    judgements = folder / "qrels"
    # Plain files come last and so win over packed ones of the same split.
    files = [*judgements.glob("*.tsv.gz"), *judgements.glob("*.tsv")]
    splits = {file.name.removesuffix(".gz").removesuffix(".tsv"): file for file in files}
    if split not in splits:
        found = ", ".join(sorted(splits)) or "none"
        raise DataFormatError(f"{judgements} has no split {split!r}; splits found: {found}")
    return splits[split]


def _read_documents(path: Path) -> list[Document]:
    documents = []
    for where, id, record in _records(path):
        text = _field(record, "text", where)
        title = record.get("title") or ""
        if not isinstance(title, str):
            raise DataFormatError(f'{where}: "title" is {title!r}; expected a string')
        joined = f"{title} {text}" if title and text else title or text
        documents.append(Document(id, joined, {"title": title} if title else {}))
    return documents


def _read_queries(path: Path) -> dict[str, str]:
    return {id: _field(record, "text", where) for where, id, record in _records(path)}


def _records(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """``(file:line, id, record)`` of a JSON-lines file whose ``_id`` values are unique strings."""
    seen: set[str] = set()
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataFormatError(f"{where}: not JSON ({error}); expected one object a line") from error
        if not isinstance(record, dict):
            raise DataFormatError(f"{where}: found {type(record).__name__}; expected a JSON object")
        id = _field(record, "_id", where)
        if id in seen:
            raise DataFormatError(f"{where}: _id {id!r} occurs a second time; expected unique ids")
        seen.add(id)
        yield where, id, record


def _field(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        found = f"is {value!r}" if name in record else "is missing"
        raise DataFormatError(f'{where}: "{name}" {found}; expected a string')
    return value


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Judgements of one BEIR ``qrels`` file: {query: {document: grade}}.

    Raises:
        DataFormatError: a line without three fields, a grade that is no whole number, or a pair judged twice.
    """
    qrels: dict[str, dict[str, int]] = {}
    for number, line in read_lines(path):
        fields = line.split("\t")
        if number == 1 and [field.strip().lower() for field in fields] == _HEADER:
            continue
        if len(fields) != 3:
            raise DataFormatError(
                f"{path}:{number}: found {len(fields)} tab-separated fields; "
                "expected 3: query, document, grade"
            )
        query, id, grade = fields
        grades = qrels.setdefault(query, {})
        if id in grades:
            raise DataFormatError(f"{path}:{number}: document {id!r} is judged twice for query {query!r}")
        try:
            grades[id] = int(grade)
        except ValueError as error:
            raise DataFormatError(f"{path}:{number}: found grade {grade!r}; expected an integer") from error
    if not qrels:
        raise DataFormatError(f"{path}: found no judgements; expected a line for each judged pair")
    return qrels
