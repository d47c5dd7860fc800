"""``prorank bench lexical``: indexing and searching next to bm25s, tantivy, PISA and baguetter."""

from __future__ import annotations

import argparse
import gc
from dataclasses import asdict
from statistics import mean

from prorank_plugins.cli.bench.common import load_average, say
from prorank_plugins.cli.bench.lexical_options import add_lexical_options, add_resample
from prorank_plugins.cli.bench.single_thread import is_single, run_again
from prorank_plugins.cli.options import Subparsers, add_command

_EXAMPLES = """\
  prorank bench lexical
  prorank bench lexical --corpus beir/scifact --k 10,100
  prorank bench lexical --corpus beir/nq --resample 1000000 --index terms
  prorank bench lexical --engines bm25s,tantivy --rounds 9 --output results
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "lexical",
        run,
        "indexing and search next to bm25s, tantivy, PISA and baguetter",
        _EXAMPLES,
        "Index and search one collection with every engine that is installed, in turn and on one thread. "
        "Prints tables with ratios; the results take their place in lexical.json and lexical.md.",
    )
    add_lexical_options(parser, ks="10,100,1000")
    add_resample(parser)
    parser.add_argument(
        "--index",
        choices=["both", "terms"],
        default="both",
        help="time indexing of raw text and of terms, or of terms alone (default: both)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure in a process that has one thread only; returns the exit status."""
    return _run_here(arguments) if is_single() else run_again("lexical", arguments)


def _run_here(arguments: argparse.Namespace) -> int:
    from prorank_plugins.cli.bench.corpora import load_corpus
    from prorank_plugins.cli.bench.engines import choose_engines
    from prorank_plugins.cli.bench.measure import INDEXED_FROM, measure
    from prorank_plugins.cli.bench.record import keep
    from prorank_plugins.cli.bench.setting import setting_of
    from prorank_plugins.cli.bench.tables import search_section

    load = load_average()
    corpus = load_corpus(
        arguments.corpus, arguments.split, arguments.queries, arguments.seed, arguments.resample
    )
    engines, skipped = choose_engines(arguments.engines, len(corpus.texts))
    for sentence in skipped:
        say(f"left out: {sentence}")
    # The corpus lives as long as the process: garbage collection during a build need not visit it.
    gc.collect()
    gc.freeze()
    index_from = INDEXED_FROM if arguments.index == "both" else ["terms"]
    results = measure(engines, corpus, arguments.k, arguments.rounds, say, index_from)
    facts = {
        "mean_length": mean(map(len, corpus.documents)),
        "n_queries": len(corpus.queries),
        "mean_query_length": mean(map(len, corpus.queries)),
    }
    setting = setting_of("lexical", arguments, corpus.name, len(corpus.texts), facts, load, skipped)
    section = keep(
        arguments.output, "search", corpus.name, {"setting": asdict(setting), "seconds": asdict(results)}
    )
    print(search_section(section))
    return 0
