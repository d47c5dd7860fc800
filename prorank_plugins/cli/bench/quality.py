"""``prorank bench quality``: BMX next to BM25 on test collections, with intervals."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prorank_plugins.cli.bench.tables import describe_machine
from prorank_plugins.cli.contest import hold_contest
from prorank_plugins.cli.options import Subparsers, add_command, scorers_named
from prorank_plugins.cli.reports import comparisons_with_first, mean_and_interval, report_data
from prorank_plugins.evaluation.datasets import BeirDataset, load_beir
from prorank_plugins.evaluation.report import Report
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig
from prorank_plugins.lexical.index import LexicalIndex

_MEASURE = "ndcg@10"
_SCORERS = ("bmx", "bmx-paper", "bm25")
_EXAMPLES = """\
  prorank bench quality
  prorank bench quality beir/scifact xquad/de:de xquad/zh:zh
"""
_HEAD = (
    "| collection | documents | queries | BMX (reference) | BMX (paper) | BM25 (k1 1.5, b 0.75) "
    "| BMX − BM25, paired |"
)


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "quality",
        run,
        "nDCG@10 of BMX and BM25 on test collections",
        _EXAMPLES,
        "Measure BMX in both readings and BM25 with one analyzer on the bundled questions and on folders in "
        "the BEIR layout. Prints a table with 95 % bootstrap intervals and writes it as Markdown and JSON.",
    )
    parser.add_argument(
        "collections",
        nargs="*",
        metavar="FOLDER[:LANGUAGE]",
        help="BEIR folders; English unless said otherwise",
    )
    parser.add_argument("--split", default="test", help="split of the folders (default: test)")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/benchmarks"), help="(default: docs/benchmarks)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, write."""
    results: dict[str, tuple[BeirDataset, dict[str, Report]]] = {}
    for name, dataset, analyzer in collections_named(args.collections, args.split):
        texts = [document.text for document in dataset.documents]
        index = LexicalIndex.build(texts, [document.id for document in dataset.documents], analyzer)
        contest = hold_contest(dataset, index, scorers_named(list(_SCORERS)), [_MEASURE, "recall@100"], 100)
        results[name] = (dataset, {scorer: contestant.report for scorer, contestant in contest.items()})
        print(_row(name, *results[name]), flush=True)
    text = "\n".join(_page(results))
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "quality.md").write_text(text + "\n", "utf-8")
    data = {name: _summary(reports) for name, (_, reports) in results.items()}
    (args.output / "quality.json").write_text(json.dumps(data, indent=1) + "\n", "utf-8")
    return 0


def collections_named(folders: list[str], split: str) -> Iterator[tuple[str, BeirDataset, Analyzer]]:
    """The bundled questions, then folders: name, data set, analyzer."""
    from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa

    yield "stdlib-qa", load_stdlib_qa(), Analyzer(AnalyzerConfig(split_identifiers=True))
    for folder in folders:
        path, _, language = folder.partition(":")
        own, parent = Path(path).name, Path(path).parent.name
        yield (
            f"{parent}/{own}" if own == language else own,
            load_beir(path, split),
            Analyzer(language or "en"),
        )


def _summary(reports: Mapping[str, Report]) -> dict[str, Any]:
    """Means, signatures and comparisons, without the figures of each query."""
    data = report_data(reports)
    for run_data in data["runs"].values():
        del run_data["per_query"]
    return data


def _row(name: str, dataset: BeirDataset, reports: Mapping[str, Report]) -> str:
    figures = [mean_and_interval(reports[scorer], _MEASURE) for scorer in _SCORERS]
    found = comparisons_with_first({"bmx": reports["bmx"], "bm25": reports["bm25"]})["bm25"][_MEASURE]
    difference = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    sizes = (f"{len(dataset.documents):,}", f"{len(dataset.queries):,}")
    return "| " + " | ".join((name, *sizes, *figures, difference)) + " |"


def _page(results: Mapping[str, tuple[BeirDataset, dict[str, Report]]]) -> Iterator[str]:
    machine = describe_machine()
    yield "# Retrieval quality"
    yield ""
    yield (
        "nDCG@10 with 95 % bootstrap intervals over queries (10,000 resamples, seed 0); the last column is "
        "the mean difference over the same queries with its paired interval. An interval that holds 0 shows "
        "no difference. One analyzer for all scorers: stop words and Snowball stemmer of the language, "
        "identifiers split for `stdlib-qa`. A query without a relevant document counts as 0. Signatures are "
        "in `quality.json`."
    )
    yield ""
    yield f"`prorank bench quality FOLDERS`, Python {machine.get('python')}, numpy {machine.get('numpy')}."
    yield ""
    yield _HEAD
    yield "|---|---:|---:|---|---|---|---|"
    yield from (_row(name, *result) for name, result in results.items())
