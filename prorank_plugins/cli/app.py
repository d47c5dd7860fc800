"""Sub-commands put together; errors turned into one line and an exit code."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module

from prorank_plugins.cli import demo, evaluate, index, rerank, search, train
from prorank_plugins.cli.options import Subparsers
from prorank_plugins.cli.parser import AnyOrderParser
from prorank_plugins.core.errors import ProRankError
from prorank_plugins.core.signature import package_version

FAILURE = 2
"""Exit code of every failure, also of a wrong command line."""

_BENCH = "prorank_plugins.cli.bench"
_EXAMPLES = """\
examples:
  prorank demo
  prorank index notes.jsonl --output notes-index
  prorank search notes-index "how do I rotate the keys"
  prorank evaluate stdlib-qa

'prorank COMMAND --help' explains a command's options.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``prorank`` with these arguments, those of the process if None.

    Returns:
        the exit code: 0, or 2 with one line on the standard error.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that lacks a character shows its escape; output never fails half-way.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        args = _parser().parse_args(argv)
        code = int(args.run(args) or 0)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help, --version or a wrong command line
        return stop.code if isinstance(stop.code, int) else FAILURE
    except ProRankError as error:
        return _fail(str(error))
    except BrokenPipeError:
        _silence_stdout()
        return _fail("the reader of the output closed it; the rest was not written")
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except KeyboardInterrupt:
        return _fail("interrupted")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="prorank",
        description="Index documents, search them with BMX or BM25, rerank, train rerankers, and measure.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"prorank {package_version()}")
    commands: Subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=AnyOrderParser
    )
    for module in (index, search, rerank, train, evaluate, demo):
        module.add_parser(commands)
    _add_bench(commands)
    return parser


def _add_bench(commands: Subparsers) -> None:
    """Register the benchmarks where they are installed."""
    try:
        bench = import_module(_BENCH)
    except ModuleNotFoundError as error:
        if error.name != _BENCH:
            raise
    else:
        bench.add_parser(commands)


def _fail(message: str) -> int:
    with suppress(OSError):
        print(f"prorank: error: {' '.join(message.split())}", file=sys.stderr)
    return FAILURE


def _silence_stdout() -> None:
    """Let what is still buffered for a closed pipe go nowhere, or Python would report it at its exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
