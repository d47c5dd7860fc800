"""``prorank evaluate``: measure runs, or measure scorers on a test collection."""

from __future__ import annotations

import argparse

from prorank_plugins.cli import evaluate_dataset, evaluate_runs
from prorank_plugins.cli.contest import DEFAULT_MEASURES
from prorank_plugins.cli.options import SCORERS, Subparsers, add_analysis_options, add_command
from prorank_plugins.core.errors import ConfigError

_EXAMPLES = """\
  prorank evaluate --run bmx.trec --qrels qrels.txt --measures ndcg@10 recall@100
  prorank evaluate --run bmx.trec --qrels qrels/test.tsv --compare bm25.trec
  prorank evaluate beir/scifact --scorers bmx bmx-paper bm25
  prorank evaluate stdlib-qa --format json
"""
_DESCRIPTION = """\
Measure TREC run files (--run, --qrels), or index a BEIR folder, search it and measure each scorer (DATASET).
'stdlib-qa' is the test collection that comes along: questions about Python's standard library.
Values equal trec_eval's. Intervals are bootstrapped over queries; differences are paired by query.
"""


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command."""
    parser = add_command(
        commands, "evaluate", run, "measure run files, or scorers on a BEIR data set", _EXAMPLES, _DESCRIPTION
    )
    parser.add_argument("dataset", nargs="?", metavar="DATASET", help="a BEIR folder, or stdlib-qa")
    parser.add_argument(
        "--measures",
        nargs="+",
        default=list(DEFAULT_MEASURES),
        metavar="NAME",
        help=f"ndcg, recall, p, mrr, map, each with or without @k (default: {' '.join(DEFAULT_MEASURES)})",
    )
    parser.add_argument("--format", choices=["table", "json"], default="table", help="(default: table)")
    runs = parser.add_argument_group("run files")
    runs.add_argument("--run", dest="run_file", metavar="FILE", help="TREC run")
    runs.add_argument("--qrels", metavar="FILE", help="judgements, TREC (4 columns) or BEIR (3, with tabs)")
    runs.add_argument(
        "--compare", nargs="+", default=[], metavar="FILE", help="other runs, each subtracted from --run"
    )
    data = parser.add_argument_group("data sets")
    data.add_argument("--split", default="test", help="of the judgements (default: test)")
    data.add_argument(
        "--scorers",
        nargs="+",
        choices=list(SCORERS),
        default=["bmx", "bm25"],
        help="the first is compared with the others (default: bmx bm25)",
    )
    data.add_argument(
        "--depth", type=int, default=1000, metavar="K", help="documents a query (default: 1000)"
    )
    add_analysis_options(parser, split_default="no, but yes for stdlib-qa")


def run(args: argparse.Namespace) -> int:
    """Measure what the command line names."""
    if args.dataset is not None:
        if args.run_file or args.qrels or args.compare:
            raise ConfigError("give DATASET or --run and --qrels, not both")
        return evaluate_dataset.run(args)
    if not args.run_file or not args.qrels:
        raise ConfigError("give DATASET, or both --run and --qrels")
    return evaluate_runs.run(args)
