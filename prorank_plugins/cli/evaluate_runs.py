"""``prorank evaluate --run FILE --qrels FILE``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from prorank_plugins.cli.jsonl import to_json
from prorank_plugins.cli.judgements import read_judgements
from prorank_plugins.cli.reports import report_data, report_lines
from prorank_plugins.cli.tables import emit
from prorank_plugins.evaluation.evaluate import evaluate
from prorank_plugins.evaluation.trec import read_run


def run(args: argparse.Namespace) -> int:
    """Measure run files against the same judgements."""
    qrels = read_judgements(args.qrels)
    paths = dict.fromkeys([args.run_file, *args.compare])
    are_distinct = len({Path(path).name for path in paths}) == len(paths)
    reports = {}
    for path in paths:
        name = Path(path).name if are_distinct else path
        reports[name] = evaluate(read_run(path), qrels, args.measures, {"run": name})
    if args.format == "json":
        print(to_json(report_data(reports), sys.stdout, indent=1))
        return 0
    print(f"{len(qrels)} queries with {sum(map(len, qrels.values()))} judgements\n")
    emit(report_lines(reports), None)
    return 0
