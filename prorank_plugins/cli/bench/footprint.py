"""``prorank bench footprint``: disk, memory, loading and first answers, each in a process of its own."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prorank_plugins.cli.bench.common import load_average, say
from prorank_plugins.cli.bench.lexical_options import add_lexical_options, add_resample
from prorank_plugins.cli.options import Subparsers, add_command

_EXAMPLES = """\
  prorank bench footprint
  prorank bench footprint --corpus beir/nq --resample 1000000
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "footprint",
        run,
        "disk, memory, loading and first answers next to others",
        _EXAMPLES,
        "Index one collection with every engine that is installed, from documents streamed out of a file, "
        "and search the saved indexes: a new process for each measurement.",
    )
    add_lexical_options(parser, ks="10,100")
    add_resample(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure; returns the exit status."""
    from prorank_plugins.cli.bench.corpora import open_source, query_terms
    from prorank_plugins.cli.bench.document_files import write_documents
    from prorank_plugins.cli.bench.engines import choose_engines
    from prorank_plugins.cli.bench.footprint_tables import footprint_section
    from prorank_plugins.cli.bench.fresh import Fresh
    from prorank_plugins.cli.bench.record import keep
    from prorank_plugins.cli.bench.setting import setting_of

    load = load_average()
    source = open_source(arguments.corpus, arguments.split, arguments.seed, arguments.resample)
    queries = query_terms(source, arguments.queries, arguments.seed)
    engines, skipped = choose_engines(arguments.engines, source.n_docs)
    with tempfile.TemporaryDirectory() as folder:
        say("writing documents")
        files = write_documents(source, Path(folder))
        fresh = Fresh(Path(folder), files, source.n_docs, queries)
        measured = _measure(fresh, engines, arguments.k, arguments.rounds)
    facts = {"mean_length": files.n_terms / source.n_docs, "n_queries": len(queries)}
    setting = setting_of("footprint", arguments, source.name, source.n_docs, facts, load, skipped)
    section = keep(arguments.output, "footprint", source.name, {"setting": asdict(setting), **measured})
    print(footprint_section(section))
    return 0


def _measure(fresh: Any, engines: Sequence[Any], ks: Sequence[int], rounds: int) -> dict[str, Any]:
    """``build``: ``{engine: {"raw text", "terms"}}``; ``empty`` and ``warm``: ``{contestant: rounds}``."""
    from prorank_plugins.cli.bench.engines import contestants_of

    build: dict[str, Any] = {}
    for engine in engines:
        say(f"indexing: {engine.name}")
        build[engine.name] = {
            kind: fresh.build(engine.name, raw=kind == "raw text") for kind in ("raw text", "terms")
        }
    pairs = [(engine.name, label) for engine in engines for label in contestants_of(engine, fresh.n_docs)]
    empty: dict[str, list[Any]] = {label: [] for _, label in pairs}
    warm: dict[str, list[Any]] = {label: [] for _, label in pairs}
    for turn in range(rounds):
        say(f"searching, round {turn + 1} of {rounds}")
        first = turn % len(pairs)
        for engine, label in pairs[first:] + pairs[:first]:
            with tempfile.TemporaryDirectory() as cache:
                empty[label].append(fresh.search(engine, label, (), Path(cache)))
                warm[label].append(fresh.search(engine, label, ks, Path(cache)))
    return {"build": build, "engine_of": {label: name for name, label in pairs}, "empty": empty, "warm": warm}
