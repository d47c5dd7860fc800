"""Training data in JSON-lines files, plain or packed with gzip."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.evaluation.textfiles import read_lines, write_lines
from prorank_plugins.training.examples import RankingGroup, RelevanceExample
from prorank_plugins.training.records import ACCEPTED, parse_record, to_record

Item = TypeVar("Item", bound=RelevanceExample | RankingGroup)
_Located: TypeAlias = tuple[str, RelevanceExample | RankingGroup]


class TrainingFile(Generic[Item]):
    """What a file holds, read again from its start by every ``for``; one record is in memory at a time.

    Iterating raises `DataFormatError` with file and line for a record that cannot be used, and for a
    file without records.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, collect: Callable[[Iterator[_Located]], Iterator[Item]]) -> None:
        self.path = path
        self._collect = collect

    def __iter__(self) -> Iterator[Item]:
        return self._collect(_items(self.path))

    def __repr__(self) -> str:
        return f"TrainingFile({str(self.path)!r})"


def read_examples(path: str | PathLike[str]) -> TrainingFile[RelevanceExample]:
    """The judged pairs of a JSON-lines file; graded documents and triples give one pair a document.

    Raises:
        DataFormatError: there is no such file.
    """
    return TrainingFile(_existing(path), _examples)


def read_groups(path: str | PathLike[str]) -> TrainingFile[RankingGroup]:
    """The ranking groups of a JSON-lines file; judged pairs of one query in successive lines are a group.

    Raises:
        DataFormatError: there is no such file.
    """
    return TrainingFile(_existing(path), _groups)


def write_examples(path: str | PathLike[str], examples: Iterable[RelevanceExample]) -> int:
    """Write judged pairs as JSON lines, packed if the name ends in ``.gz``; returns how many.

    The file appears as a whole or not at all.

    Raises:
        ConfigError: an item of another kind.
    """
    return _write(Path(path), examples, RelevanceExample)


def write_groups(path: str | PathLike[str], groups: Iterable[RankingGroup]) -> int:
    """Write ranking groups as JSON lines, packed if the name ends in ``.gz``; returns how many.

    The file appears as a whole or not at all.

    Raises:
        ConfigError: an item of another kind.
    """
    return _write(Path(path), groups, RankingGroup)


def _existing(path: str | PathLike[str]) -> Path:
    file = Path(path)
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "does not exist"
        raise DataFormatError(
            f"{file} {found}; expected a file of JSON lines, each {ACCEPTED}. "
            "BEIR folders are read by groups_from_beir"
        )
    return file


def _items(path: Path) -> Iterator[_Located]:
    """``(file:line, item)`` of every line that is not blank."""
    empty = True
    for number, line in read_lines(path):
        where = f"{path}:{number}"
        try:
            record = json.loads(line.removeprefix("\ufeff") if number == 1 else line)
        except (ValueError, RecursionError) as error:
            raise DataFormatError(f"{where}: not JSON ({error}); expected one JSON object a line") from error
        if not isinstance(record, dict):
            raise DataFormatError(f"{where}: found {type(record).__name__}; accepted are {ACCEPTED}")
        empty = False
        yield where, parse_record(record, where)
    if empty:
        raise DataFormatError(f"{path}: found no records; expected lines of {ACCEPTED}")


def _examples(items: Iterator[_Located]) -> Iterator[RelevanceExample]:
    for _, item in items:
        if isinstance(item, RelevanceExample):
            yield item
        else:
            yield from item.examples()


def _groups(items: Iterator[_Located]) -> Iterator[RankingGroup]:
    pairs: list[RelevanceExample] = []
    start = ""
    for where, item in items:
        if pairs and not (isinstance(item, RelevanceExample) and item.query == pairs[0].query):
            yield _group_of(pairs, start)
            pairs = []
        if isinstance(item, RankingGroup):
            yield item
        else:
            start = start if pairs else where
            pairs.append(item)
    if pairs:
        yield _group_of(pairs, start)


def _group_of(pairs: list[RelevanceExample], where: str) -> RankingGroup:
    documents, grades = [pair.document for pair in pairs], [float(pair.label) for pair in pairs]
    try:
        return RankingGroup(pairs[0].query, documents, grades)
    except ConfigError as error:
        raise DataFormatError(f"{where}: the pairs from this line on: {error}") from error


def _write(path: Path, items: Iterable[Item], kind: type[Item]) -> int:
    written = 0

    def lines() -> Iterator[str]:
        nonlocal written
        for item in items:
            if not isinstance(item, kind):
                raise ConfigError(
                    f"item {written} is {type(item).__name__}; expected {kind.__name__}. "
                    "write_examples takes pairs and write_groups takes groups"
                )
            yield _to_json(to_record(item))
            written += 1

    write_lines(path, lines())
    return written


def _to_json(record: dict[str, Any]) -> str:
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which only an escape can hold
        return json.dumps(record, allow_nan=False)
    return text
