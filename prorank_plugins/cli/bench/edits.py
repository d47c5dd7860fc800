"""``prorank bench edits``: adding, deleting and updating documents of an index in use."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from prorank_plugins.cli.bench.common import at_least_1, load_average, say
from prorank_plugins.cli.bench.lexical_options import add_lexical_options, add_resample
from prorank_plugins.cli.bench.single_thread import is_single, run_again
from prorank_plugins.cli.options import Subparsers, add_command

_EXAMPLES = """\
  prorank bench edits
  prorank bench edits --corpus beir/nq --edits 10000
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "edits",
        run,
        "edits one by one, many edits next to a fresh build, search during edits",
        _EXAMPLES,
        "Edit an index of one collection, in memory and on disk: the time of single edits, whether many of "
        "them leave the same results as a fresh build, and how much searches slow down meanwhile.",
    )
    add_lexical_options(parser, ks="10", engines=None)
    add_resample(parser)
    parser.add_argument(
        "--singles", type=at_least_1, default=300, help="timed edits of each kind (default: 300)"
    )
    parser.add_argument(
        "--edits", type=at_least_1, default=10_000, help="mixed edits before the comparison (default: 10000)"
    )
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="of searching in each measurement (default: 2)"
    )
    parser.add_argument(
        "--rate", type=at_least_1, default=100, help="edits a second while searching (default: 100)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure in a process whose numeric libraries have one thread; returns the exit status."""
    return _run_here(arguments) if is_single() else run_again("edits", arguments)


def _run_here(arguments: argparse.Namespace) -> int:
    from prorank_plugins.cli.bench.corpora import open_source
    from prorank_plugins.cli.bench.edits_measure import Plan, measure_edits
    from prorank_plugins.cli.bench.edits_tables import edits_section
    from prorank_plugins.cli.bench.record import keep
    from prorank_plugins.cli.bench.setting import setting_of

    load = load_average()
    source = open_source(arguments.corpus, arguments.split, arguments.seed, arguments.resample)
    plan = Plan(
        texts=list(source.texts()),
        queries=source.queries[: arguments.queries],
        k=arguments.k[0],
        singles=arguments.singles,
        edits=arguments.edits,
        rate=arguments.rate,
        rounds=arguments.rounds,
        seconds=arguments.seconds,
        seed=arguments.seed,
    )
    measured = measure_edits(plan, say)
    facts: dict[str, float] = {"n_queries": len(plan.queries)}
    setting = setting_of("edits", arguments, source.name, source.n_docs, facts, load, [])
    section = keep(arguments.output, "edits", source.name, {"setting": asdict(setting), **measured})
    print(edits_section(section))
    return 0
