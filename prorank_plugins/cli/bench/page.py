"""``lexical.md``: all lexical benchmarks on one page."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prorank_plugins.cli.options import Subparsers, add_command

_INTRODUCTION = """\
# Lexical search: speed, size, edits, growth

Made by `prorank bench page` from `lexical.json`, where each command below left its results. Engines take
turns, on one thread; batches are CPU time, single calls wall time. Ratios hold within one section: the
engines in it ran in one sitting on the same documents and queries.
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "page",
        run,
        "write lexical.md again from lexical.json",
        "  prorank bench page\n",
        "Write lexical.md again from lexical.json and, behind the table of goals, lexical-notes.md if there "
        "is one.",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("docs/benchmarks"),
        help="folder of lexical.json (default: docs/benchmarks)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the page; returns the exit status."""
    from prorank_plugins.cli.bench.record import write_page

    write_page(arguments.output)
    return 0


def as_page(record: dict[str, Any], notes: str = "") -> str:
    """The page.

    Args:
        record: as `prorank_plugins.cli.bench.record.read_record` returns it.
        notes: Markdown to stand behind the goals: why some are not reached.
    """
    from prorank_plugins.cli.bench.edits_tables import edits_section
    from prorank_plugins.cli.bench.footprint_tables import footprint_section
    from prorank_plugins.cli.bench.goals import goals_table
    from prorank_plugins.cli.bench.scaling_plot import PICTURE
    from prorank_plugins.cli.bench.scaling_tables import scaling_section
    from prorank_plugins.cli.bench.tables import search_section

    parts = [_INTRODUCTION, goals_table(record), notes]
    makers: dict[str, Callable[[dict[str, Any]], str]] = {
        "search": search_section,
        "footprint": footprint_section,
        "edits": edits_section,
        "scaling": scaling_section,
    }
    for kind, make in makers.items():
        sections = sorted(record.get(kind, {}).values(), key=lambda section: section["setting"]["n_docs"])
        if kind == "scaling" and sections:
            parts.append(f"![Cost by number of documents]({PICTURE})\n")
        parts += map(make, sections)
    return "\n".join(part for part in parts if part)
