"""Lines of text and JSON from a file, a packed file or the standard input, each with its place."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation.textfiles import read_lines

STDIN = "-"


def lines_of(source: str) -> Iterator[tuple[str, int, str]]:
    """``(file:line, line number from 1, line)`` of every line that is not blank.

    Args:
        source: a path, unpacked if it ends in ``.gz``, or ``"-"`` for the standard input.

    Raises:
        DataFormatError: not UTF-8, or a damaged gzip stream.
        OSError: the file cannot be read.
    """
    name = "<stdin>" if source == STDIN else source
    for number, line in _stdin_lines() if source == STDIN else read_lines(Path(source)):
        yield f"{name}:{number}", number, line.removeprefix("\ufeff") if number == 1 else line


def _stdin_lines() -> Iterator[tuple[int, str]]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="strict")
    number = 0
    try:
        for number, line in enumerate(sys.stdin, start=1):
            if not line.isspace():
                yield number, line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise DataFormatError(
            f"<stdin>: not UTF-8 after line {number} ({error.reason}); expected UTF-8"
        ) from error


def parse_object(line: str, where: str) -> dict[str, Any]:
    """A line's JSON object.

    Raises:
        DataFormatError: no JSON, or JSON of another kind.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataFormatError(f"{where}: not JSON ({error}); expected one JSON object a line") from error
    if not isinstance(record, dict):
        raise DataFormatError(f"{where}: found {type(record).__name__}; expected a JSON object")
    return record


def id_of(record: Mapping[str, Any], field: str | None, where: str) -> str | None:
    """A record's id, a whole number as its digits; None for a record without.

    Args:
        record: a JSON object.
        field: the id's name; None looks for ``id`` and then ``_id``.
        where: for messages.

    Raises:
        DataFormatError: the id is neither a string nor a whole number, or the named field is missing.
    """
    names = ("id", "_id") if field is None else (field,)
    name = next((name for name in names if name in record), None)
    if name is None:
        if field is not None:
            raise DataFormatError(f'{where}: "{field}" is missing; expected an id')
        return None
    value = record[name]
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise DataFormatError(f'{where}: "{name}" is {value!r}; expected a string or a whole number')
    return str(value)


class UniqueIds:
    """Refuses an id that comes a second time."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def check(self, id: str, where: str) -> str:
        """The id itself.

        Raises:
            DataFormatError: it was there before.
        """
        if id in self._seen:
            raise DataFormatError(f"{where}: id {id!r} occurs a second time; expected unique ids")
        self._seen.add(id)
        return id


def to_json(value: Mapping[str, Any], stream: TextIO | None = None, indent: int | None = None) -> str:
    """JSON text, with escapes only if ``stream`` cannot hold its characters; None stands for UTF-8."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    try:
        text.encode((stream.encoding if stream is not None else None) or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
