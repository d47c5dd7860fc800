"""``lexical.json``: the results of all lexical benchmarks, each in its place, and the page made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeAlias

from prorank_plugins.cli.bench.common import say, write_text
from prorank_plugins.core.errors import DataFormatError

Section: TypeAlias = "dict[str, Any]"
"""What one command wrote: ``setting`` and measurements."""

Record: TypeAlias = "dict[str, dict[str, Section]]"
"""``{kind: {collection: section}}``; the kinds are those of `KINDS`."""

KINDS = ("search", "footprint", "edits", "scaling")


def read_record(folder: Path) -> Record:
    """What is in the folder's ``lexical.json``; nothing if there is none.

    Raises:
        DataFormatError: it is not what `keep` writes.
    """
    path = folder / "lexical.json"
    if not path.exists():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataFormatError(f"{path.name} is not JSON ({error}). Restore it or delete it.") from error
    if not isinstance(record, dict) or not set(record) <= set(KINDS):
        raise DataFormatError(f"{path.name} holds other things than {', '.join(KINDS)}. Delete it.")
    return record


def keep(folder: Path, kind: str, name: str, section: Section) -> Section:
    """Put a section in its place, write the page anew, return the section as it can be read back.

    Args:
        folder: of ``lexical.json``; made if need be.
        kind: one of `KINDS`.
        name: of the collection.
        section: of JSON values.
    """
    record = read_record(folder)
    kept = {**record.get(kind, {}), name: section}
    record = {
        each: kept if each == kind else record[each] for each in KINDS if each == kind or each in record
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    write_text(folder / "lexical.json", text + "\n")
    write_page(folder)
    read: Section = json.loads(text)[kind][name]
    return read


def write_page(folder: Path) -> None:
    """``lexical.md`` and its picture from ``lexical.json`` and, about goals, ``lexical-notes.md``."""
    from prorank_plugins.cli.bench.page import as_page
    from prorank_plugins.cli.bench.scaling_plot import PICTURE, draw

    record = read_record(folder)
    if curves := record.get("scaling"):
        try:
            draw(curves, folder / PICTURE)
        except ImportError:
            say(f"{PICTURE} is not drawn: matplotlib is not installed; run: pip install matplotlib")
    notes = folder / "lexical-notes.md"
    told = notes.read_text(encoding="utf-8") if notes.exists() else ""
    write_text(folder / "lexical.md", as_page(record, told))
