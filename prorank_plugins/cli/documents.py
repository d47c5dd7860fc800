"""Documents from JSON lines and BEIR folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prorank_plugins.cli.jsonl import STDIN, UniqueIds, id_of, lines_of, parse_object
from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, DataFormatError

_TITLE = "title"
_CORPUS = ("corpus.jsonl", "corpus.jsonl.gz")


def read_documents(
    inputs: Sequence[str], id_field: str | None = None, text_fields: Sequence[str] | None = None
) -> Iterator[Document]:
    """Documents one after the other; only one line is held at a time.

    The text is the text fields that a record has, joined by blanks. Metadata is every other field, with the
    entries of ``metadata`` on top; ``title`` is kept there as well.

    Args:
        inputs: JSON-lines files, BEIR folders, or ``"-"`` for the standard input.
        id_field: the id's name; None takes ``id`` or ``_id``, or else the line number, with the file's name
            before it if there are several inputs.
        text_fields: names of the fields that make the text; None is ``text`` with ``title`` before it.

    Raises:
        DataFormatError: a malformed record or an id that comes twice; file and line are named.
        ConfigError: the standard input is given twice.
    """
    if list(inputs).count(STDIN) > 1:
        raise ConfigError("the standard input '-' can be read once only")
    ids = UniqueIds()
    for source in map(_corpus_of, inputs):
        for where, number, line in lines_of(source):
            record = parse_object(line, where)
            id = id_of(record, id_field, where)
            if id is None:
                id = str(number) if len(inputs) == 1 else f"{Path(source).name}:{number}"
            text, used = _text_of(record, text_fields, where)
            metadata = _metadata_of(record, {"id", "_id"} if id_field is None else {id_field}, used, where)
            yield Document(ids.check(id, where), text, metadata)


def _corpus_of(source: str) -> str:
    """The file to read: a BEIR folder's corpus, anything else as it is."""
    folder = Path(source)
    if source == STDIN or not folder.is_dir():
        return source
    for name in _CORPUS:
        if (folder / name).is_file():
            return str(folder / name)
    raise DataFormatError(
        f"{folder} is a folder without {' or '.join(_CORPUS)}; give a BEIR folder or a file"
    )


def _text_of(
    record: Mapping[str, Any], fields: Sequence[str] | None, where: str
) -> tuple[str, Sequence[str]]:
    """The text, and the names of the fields it was made of."""
    if fields is None and not isinstance(record.get("text"), str):
        found = f"is {record['text']!r}" if "text" in record else "is missing"
        raise DataFormatError(
            f'{where}: "text" {found}; expected a string (or name others with --text-field)'
        )
    names = (_TITLE, "text") if fields is None else fields
    present = [name for name in names if record.get(name) is not None]
    for name in present:
        if not isinstance(record[name], str):
            raise DataFormatError(f'{where}: "{name}" is {record[name]!r}; expected a string')
    if not present:
        raise DataFormatError(f"{where}: found none of the text fields {', '.join(names)}")
    return " ".join(record[name] for name in present if record[name]), names


def _metadata_of(
    record: Mapping[str, Any], id_fields: set[str], text_fields: Sequence[str], where: str
) -> dict[str, Any]:
    given = record.get("metadata")
    if given is not None and not isinstance(given, dict):
        raise DataFormatError(f'{where}: "metadata" is {given!r}; expected an object')
    taken = {*id_fields, *text_fields, "metadata"} - {_TITLE}
    rest = {name: value for name, value in record.items() if name not in taken}
    if not rest.get(_TITLE):
        rest.pop(_TITLE, None)
    return {**rest, **(given or {})}
