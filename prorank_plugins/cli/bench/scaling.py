"""``prorank bench scaling``: how costs grow with the number of documents."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prorank_plugins.cli.bench.common import at_least_1, load_average, say
from prorank_plugins.cli.bench.lexical_options import add_lexical_options, numbers
from prorank_plugins.cli.options import Subparsers, add_command

_SIZES = "1000,10000,100000,1000000"
_OTHERS_UP_TO = 1_000_000

_EXAMPLES = """\
  prorank bench scaling --sizes 1000,10000
  prorank bench scaling --corpus beir/nq
  prorank bench scaling --corpus beir/nq --sizes 1000,10000,100000,1000000,10000000
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "scaling",
        run,
        "cost by number of documents",
        _EXAMPLES,
        "Index and search collections of growing size, put together from spans of one collection's text, in "
        "a new process for each measurement. Writes tables and lexical-scaling.png.",
    )
    add_lexical_options(parser, ks="10", engines="prorank,bm25s,tantivy,pisa")
    parser.add_argument(
        "--sizes",
        type=numbers,
        default=numbers(_SIZES),
        help=f"numbers of documents (default: {_SIZES}); 10,000,000 need 20 GB of disk",
    )
    parser.add_argument(
        "--others-up-to",
        type=at_least_1,
        default=_OTHERS_UP_TO,
        help=f"the size up to which other engines take part (default: {_OTHERS_UP_TO:,})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns the exit status."""
    from prorank_plugins.cli.bench.corpora import open_source, query_terms
    from prorank_plugins.cli.bench.document_files import write_documents
    from prorank_plugins.cli.bench.engines import choose_engines
    from prorank_plugins.cli.bench.fresh import Fresh
    from prorank_plugins.cli.bench.record import keep
    from prorank_plugins.cli.bench.scaling_tables import scaling_section
    from prorank_plugins.cli.bench.setting import setting_of

    load, sizes = load_average(), sorted(arguments.sizes)
    source = open_source(arguments.corpus, arguments.split, arguments.seed, sizes[-1])
    name = source.name.rpartition("-resampled-")[0]
    queries = query_terms(source, arguments.queries, arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        say("writing documents")
        files = write_documents(source, Path(folder))
        measured: dict[str, Any] = {}
        skipped: list[str] = []
        for size in sizes:
            engines, skipped = choose_engines(names_at(size, arguments), size)
            fresh = Fresh(Path(folder), files, size, queries)
            measured[str(size)] = _measure(fresh, engines, arguments.k, arguments.rounds)
    facts = {"mean_length": files.n_terms / source.n_docs, "n_queries": len(queries)}
    setting = setting_of("scaling", arguments, name, sizes[-1], facts, load, skipped)
    section = keep(arguments.output, "scaling", name, {"setting": asdict(setting), "sizes": measured})
    print(scaling_section(section))
    return 0


def names_at(size: int, arguments: argparse.Namespace) -> list[str]:
    """The engines asked for that take part at this size; this package comes first and always does."""
    names: list[str] = arguments.engines
    return names if size <= arguments.others_up_to else names[:1]


def _measure(fresh: Any, engines: Sequence[Any], ks: Sequence[int], rounds: int) -> dict[str, Any]:
    """``build``: by engine; ``search``: rounds by contestant. The contestants are the engines' first ones."""
    say(f"indexing {fresh.n_docs:,} documents")
    build = {engine.name: fresh.build(engine.name) for engine in engines}
    label_of = {engine.name: next(iter(engine.contestants)) for engine in engines}
    search: dict[str, list[Any]] = {label: [] for label in label_of.values()}
    names = list(label_of)
    for turn in range(rounds):
        say(f"searching, round {turn + 1} of {rounds}")
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            label = label_of[name]
            search[label].append(fresh.search(name, label, ks, fresh.scratch / "numba"))
    return {"build": build, "engine_of": {label: name for name, label in label_of.items()}, "search": search}
