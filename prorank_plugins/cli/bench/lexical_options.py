"""Options that the lexical benchmarks share."""

from __future__ import annotations

import argparse
from pathlib import Path

from prorank_plugins.cli.bench.common import at_least_1, engine_names

ENGINE_NAMES = "prorank,bm25s,tantivy,pisa,baguetter"
"""The contestants' names as on the command line."""


def add_lexical_options(parser: argparse.ArgumentParser, ks: str, engines: str | None = ENGINE_NAMES) -> None:
    """Collection, size, queries, rounds, engines and where the results go.

    Args:
        parser: of the sub-command.
        ks: numbers of documents asked for, by default.
        engines: by default; None for a benchmark of this package alone.
    """
    parser.add_argument(
        "--corpus",
        default="stdlib",
        help='"stdlib", the documentation of Python\'s standard library with the bundled questions, or a '
        "folder in the BEIR layout (default: stdlib)",
    )
    parser.add_argument("--split", default="test", help="split of a BEIR folder (default: test)")
    parser.add_argument("--queries", type=at_least_1, default=1000, help="most queries (default: 1000)")
    parser.add_argument("--rounds", type=at_least_1, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--k", type=numbers, default=numbers(ks), help=f"documents asked for (default: {ks})")
    if engines is not None:
        parser.add_argument("--engines", type=_engines, default=_engines(engines), help=f"default: {engines}")
    parser.add_argument("--seed", type=int, default=0, help="of everything drawn by chance (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("docs/benchmarks"),
        help="folder of lexical.json, where the results take their place, and of lexical.md, which is "
        "written anew from it (default: docs/benchmarks)",
    )


def add_resample(parser: argparse.ArgumentParser) -> None:
    """``--resample N``."""
    parser.add_argument(
        "--resample",
        type=at_least_1,
        metavar="N",
        help="put N documents together from spans of the collection's text in place of its own",
    )


def numbers(text: str) -> list[int]:
    """Comma-separated numbers, at least 1 each."""
    return [at_least_1(part) for part in text.split(",")]


def _engines(text: str) -> list[str]:
    return engine_names(text, ENGINE_NAMES.split(","))
