"""``prorank bench``: side by side with other libraries, on this machine."""

from __future__ import annotations

from prorank_plugins.cli.bench import lexical
from prorank_plugins.cli.options import Subparsers


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command and its kinds."""
    parser = commands.add_parser("bench", help="measure speed next to other libraries", description=__doc__)
    lexical.add_parser(parser.add_subparsers(title="kinds", metavar="KIND", required=True))
