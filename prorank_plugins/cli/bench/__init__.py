"""``prorank bench``: side by side with other libraries, on this machine."""

from __future__ import annotations

import argparse

from prorank_plugins.cli.bench import lexical


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``bench`` and its kinds; each sets ``run``, a function from the parsed arguments to an exit status."""
    parser = subparsers.add_parser(
        "bench", help="measure speed side by side with other libraries", description=__doc__
    )
    lexical.add_parser(parser.add_subparsers(dest="kind", metavar="KIND", required=True))
