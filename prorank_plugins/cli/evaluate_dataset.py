"""``prorank evaluate DATASET``: index it, search it, measure each scorer."""

from __future__ import annotations

import argparse
import sys
import time

from prorank_plugins.cli.contest import Contestant, hold_contest
from prorank_plugins.cli.jsonl import to_json
from prorank_plugins.cli.options import analyzer_from, scorers_named
from prorank_plugins.cli.reports import report_data, report_lines
from prorank_plugins.cli.tables import columns, emit
from prorank_plugins.evaluation.datasets import BeirDataset, load_beir
from prorank_plugins.lexical.index import LexicalIndex

STDLIB_QA = "stdlib-qa"


def run(args: argparse.Namespace) -> int:
    """Measure scorers on the data set that the command line names."""
    is_stdlib = args.dataset == STDLIB_QA
    analyzer = analyzer_from(args, split_identifiers=is_stdlib)
    dataset = _load(args.dataset, args.split)
    start = time.perf_counter()
    texts = [document.text for document in dataset.documents]
    index = LexicalIndex.build(texts, [document.id for document in dataset.documents], analyzer)
    seconds = time.perf_counter() - start
    contestants = hold_contest(dataset, index, scorers_named(args.scorers), args.measures, args.depth)
    reports = {name: contestant.report for name, contestant in contestants.items()}
    if args.format == "json":
        times = {"index": seconds, **{name: contestant.seconds for name, contestant in contestants.items()}}
        print(
            to_json({"dataset": dataset.name, "seconds": times, **report_data(reports)}, sys.stdout, indent=1)
        )
        return 0
    n_judgements = sum(map(len, dataset.qrels.values()))
    print(f"{dataset.name}: {len(index):,} documents", end=", ")
    print(f"{len(dataset.queries):,} queries with {n_judgements:,} judgements\n")
    emit(report_lines(reports), None)
    print()
    emit(iter(_timing_lines(seconds, contestants, len(dataset.queries))), None)
    return 0


def _load(name: str, split: str) -> BeirDataset:
    if name != STDLIB_QA:
        return load_beir(name, split)
    from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa

    return load_stdlib_qa()


def _timing_lines(index_seconds: float, contestants: dict[str, Contestant], n_queries: int) -> list[str]:
    rows = [("indexed in", f"{index_seconds:.2f} s")]
    for name, contestant in contestants.items():
        each = 1000 * contestant.seconds / n_queries
        rows.append((f"searched with {name} in", f"{contestant.seconds:.2f} s, {each:.2f} ms a query"))
    return columns(rows)
