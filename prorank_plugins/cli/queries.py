"""Queries from the command line, a file or the standard input."""

from __future__ import annotations

import sys

from prorank_plugins.cli.jsonl import STDIN, UniqueIds, id_of, lines_of, parse_object
from prorank_plugins.core.errors import ConfigError, DataFormatError


def chosen_queries(query: str | None, file: str | None) -> dict[str, str]:
    """``{id: text}`` of the queries asked for; a query of the command line has the id ``"1"``.

    Args:
        query: from the command line.
        file: a file of queries, ``"-"`` for the standard input, which is also read if neither is given.

    Raises:
        ConfigError: both are given, or neither and nothing is piped in.
        DataFormatError: the file is malformed.
    """
    if query is not None and file is not None:
        raise ConfigError("give QUERY or --queries FILE, not both")
    if query is not None:
        return {"1": query}
    if file is None and sys.stdin.isatty():
        raise ConfigError("nothing to search for; give QUERY, --queries FILE, or lines on the standard input")
    return read_queries(STDIN if file is None else file)


def read_queries(source: str) -> dict[str, str]:
    """``{id: text}`` in file order.

    A file whose first line begins with ``{`` holds JSON objects with ``id`` or ``_id`` and ``text``;
    any other holds one query a line. A query without an id has its line number.

    Raises:
        DataFormatError: a malformed line or an id that comes twice; file and line are named.
    """
    queries: dict[str, str] = {}
    ids = UniqueIds()
    is_json: bool | None = None
    for where, number, line in lines_of(source):
        if is_json is None:
            is_json = line.lstrip().startswith("{")
        id, text = _query_of(line, where) if is_json else (None, line.strip())
        queries[ids.check(str(number) if id is None else id, where)] = text
    return queries


def _query_of(line: str, where: str) -> tuple[str | None, str]:
    record = parse_object(line, where)
    text = record.get("text")
    if not isinstance(text, str):
        found = f"is {text!r}" if "text" in record else "is missing"
        raise DataFormatError(f'{where}: "text" {found}; expected a query as a string')
    return id_of(record, None, where), text
