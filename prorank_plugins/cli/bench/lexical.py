"""``prorank bench lexical``: indexing and searching next to bm25s, tantivy and baguetter."""

from __future__ import annotations

import argparse
import gc
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

from prorank_plugins.cli.bench.common import (
    at_least_1,
    engine_names,
    library_versions,
    load_average,
    say,
    write_text,
)
from prorank_plugins.cli.options import Subparsers, add_command

# numpy and numba read these when they are first imported, so the measuring process is started with them.
_ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"),
    "1",
)
_ENGINES = "prorank,bm25s,tantivy,baguetter"

_EXAMPLES = """\
  prorank bench lexical
  prorank bench lexical --corpus beir/scifact --k 10,100,1000
  prorank bench lexical --engines bm25s,tantivy --rounds 9 --output results
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "lexical",
        run,
        "indexing and search next to bm25s, tantivy and baguetter",
        _EXAMPLES,
        "Index and search one collection with every engine that is installed, in turn and on one thread. "
        "Prints tables with ratios and writes them as Markdown and JSON.",
    )
    parser.add_argument(
        "--corpus",
        default="stdlib",
        help='"stdlib", the documentation of Python\'s standard library with the bundled questions, or a '
        "folder in the BEIR layout (default: stdlib)",
    )
    parser.add_argument("--split", default="test", help="split of a BEIR folder (default: test)")
    parser.add_argument("--queries", type=at_least_1, default=1000, help="most queries (default: 1000)")
    parser.add_argument("--rounds", type=at_least_1, default=5, help="measured rounds (default: 5)")
    parser.add_argument("--k", type=_numbers, default=[10, 100], help="documents asked for (default: 10,100)")
    parser.add_argument("--engines", type=_engines, default=_engines(_ENGINES), help=f"default: {_ENGINES}")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of queries (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("docs/benchmarks"),
        help="folder for lexical-<corpus>.md and .json (default: docs/benchmarks)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure in a process that has one thread only; returns the exit status."""
    if all(os.environ.get(name) == value for name, value in _ONE_THREAD.items()):
        return _run_here(arguments)
    command = [sys.executable, "-m", "prorank_plugins.cli", "bench", *_words(arguments, arguments.corpus)]
    command += ["--output", str(arguments.output)]
    return subprocess.run(command, env={**os.environ, **_ONE_THREAD}, check=False).returncode


def _run_here(arguments: argparse.Namespace) -> int:
    from prorank_plugins.cli.bench import tables
    from prorank_plugins.cli.bench.corpora import load_corpus
    from prorank_plugins.cli.bench.engines import choose_engines
    from prorank_plugins.cli.bench.measure import measure

    load = load_average()
    corpus = load_corpus(arguments.corpus, arguments.split, arguments.queries, arguments.seed)
    engines, skipped = choose_engines(arguments.engines, len(corpus.texts))
    for sentence in skipped:
        say(f"left out: {sentence}")
    # The corpus lives as long as the process: garbage collection during a build need not visit it.
    gc.collect()
    gc.freeze()
    results = measure(engines, corpus, arguments.k, arguments.rounds, say)
    setting = tables.Setting(
        corpus=corpus.name,
        n_docs=len(corpus.texts),
        mean_length=sum(map(len, corpus.documents)) / len(corpus.documents),
        n_queries=len(corpus.queries),
        mean_query_length=sum(map(len, corpus.queries)) / len(corpus.queries),
        rounds=arguments.rounds,
        seed=arguments.seed,
        command=shlex.join(["prorank", "bench", *_words(arguments, Path(arguments.corpus).name)]),
        machine=tables.describe_machine(),
        versions=library_versions(tables.LIBRARIES),
        load=load + load_average(),
        skipped=skipped,
    )
    page = tables.as_markdown(setting, results)
    write_text(arguments.output / f"lexical-{corpus.name}.md", page)
    record = json.dumps(tables.as_json(setting, results), indent=1, ensure_ascii=False)
    write_text(arguments.output / f"lexical-{corpus.name}.json", record + "\n")
    print(page)
    return 0


def _words(arguments: argparse.Namespace, corpus: str) -> list[str]:
    """The command line again, naming the collection ``corpus``; without the output folder."""
    words = ["lexical", "--corpus", corpus, "--split", arguments.split]
    words += ["--queries", str(arguments.queries), "--rounds", str(arguments.rounds)]
    words += ["--k", ",".join(map(str, arguments.k)), "--engines", ",".join(arguments.engines)]
    return [*words, "--seed", str(arguments.seed)]


def _numbers(text: str) -> list[int]:
    return [at_least_1(part) for part in text.split(",")]


def _engines(text: str) -> list[str]:
    return engine_names(text, _ENGINES.split(","))
