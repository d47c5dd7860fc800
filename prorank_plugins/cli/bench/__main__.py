"""``python -m prorank_plugins.cli.bench``: the benchmark alone, as its own child process runs it."""

from __future__ import annotations

import argparse
import sys

from prorank_plugins.cli.bench import add_parser


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="prorank")
    add_parser(parser.add_subparsers(dest="command", metavar="COMMAND", required=True))
    arguments = parser.parse_args(["bench", *sys.argv[1:]])
    status: int = arguments.run(arguments)
    return status


if __name__ == "__main__":
    sys.exit(main())
