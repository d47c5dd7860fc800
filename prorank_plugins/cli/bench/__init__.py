"""``prorank bench``: side by side with others, on this machine."""

from __future__ import annotations

from prorank_plugins.cli.bench import (
    ablation,
    edits,
    footprint,
    lexical,
    page,
    quality,
    rerank,
    reranking,
    scaling,
)
from prorank_plugins.cli.options import Subparsers


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command and its kinds."""
    parser = commands.add_parser(
        "bench", help="measure speed and quality next to others", description=__doc__
    )
    kinds = parser.add_subparsers(title="kinds", metavar="KIND", required=True)
    for lexically in (lexical, footprint, edits, scaling, page):
        lexically.add_parser(kinds)
    quality.add_parser(kinds)
    rerank.add_parser(kinds)
    reranking.add_parser(kinds)
    ablation.add_parser(kinds)
