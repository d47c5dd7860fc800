"""``prorank demo``: the main job on documents that every Python has."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from prorank_plugins.cli.contest import hold_contest
from prorank_plugins.cli.options import Subparsers, add_command, describe_analyzer, scorers_named
from prorank_plugins.cli.reports import comparisons_with_first, mean_and_interval
from prorank_plugins.cli.tables import columns, emit, one_line, terminal_width
from prorank_plugins.core.documents import ScoredDocument
from prorank_plugins.core.errors import MissingExtraError
from prorank_plugins.core.pipeline import RetrieveThenRerank
from prorank_plugins.core.protocols import Retriever
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.evaluation.evaluate import evaluate
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig
from prorank_plugins.lexical.retriever import LexicalRetriever
from prorank_plugins.rerank.weights import NANO

QUESTIONS = (
    "count how often each element occurs",
    "run a shell command and capture its output",
    "compare two lists of lines and show the differences",
    "pick a random element of a list",
    "smallest items of a list without sorting all of it",
)
_ANALYZER = AnalyzerConfig(language="en", split_identifiers=True)
_MEASURE = "ndcg@10"
_DEPTH = 20
_FUSION_WEIGHT = 0.5
_MEASURED_QUESTIONS = 30
"""Those of the bundled questions that the reranker is measured on, so that the demo stays short."""

_EXAMPLES = """\
  prorank demo
  prorank demo "parse a date" "wait for several threads" -k 3
  prorank demo --interactive
"""
_DESCRIPTION = """\
Index the documentation of Python's standard library, answer questions about it with BMX and a reranker,
take one score apart, and measure BMX, BM25 and the reranker on the questions and judgements that come along.
Needs no network. The reranker needs the extra "rerank"; without it, or with --no-rerank, BMX answers alone.
"""


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command."""
    parser = add_command(
        commands,
        "demo",
        run,
        "search the documentation of Python's standard library",
        _EXAMPLES,
        _DESCRIPTION,
    )
    parser.add_argument(
        "questions", nargs="*", metavar="QUESTION", help="your questions instead of the built-in ones"
    )
    parser.add_argument("-k", type=int, default=5, help="answers to each question (default: 5)")
    parser.add_argument(
        "--explain",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="take one score apart (default: yes)",
    )
    parser.add_argument(
        "--model", metavar="NAME", default=NANO, help=f"reranker: folder or hub name (default: {NANO})"
    )
    parser.add_argument("--no-rerank", action="store_true", help="answer with BMX alone")
    parser.add_argument("--interactive", action="store_true", help="go on asking, at a terminal")


def run(args: argparse.Namespace) -> int:
    """Index, answer, explain, measure."""
    from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa

    start = time.perf_counter()
    dataset = load_stdlib_qa()
    listed = time.perf_counter()
    retriever = LexicalRetriever.from_documents(dataset.documents, Analyzer(_ANALYZER))
    indexed = time.perf_counter()
    retriever.retrieve("warm up", 1)  # loads the compiled search
    print(f"The standard library of Python {platform.python_version()}: {len(retriever):,} documents")
    print(f"listed in {listed - start:.2f} s, indexed in {indexed - listed:.2f} s")
    print(f"scorer {retriever.scorer!r}, analyzer {describe_analyzer(Analyzer(_ANALYZER))}")
    reranking = None if args.no_rerank else _with_model(retriever, args.model)
    answering: Retriever = reranking or retriever
    questions = args.questions or QUESTIONS
    for question in questions:
        _answer(answering, question, args.k)
    if args.explain:
        emit(_explanation(retriever, questions[0]), None)
    emit(_evaluation(dataset, retriever), None)
    if reranking is not None:
        emit(_reranked_evaluation(dataset, reranking, args.model), None)
    if args.interactive and sys.stdin.isatty():
        _keep_asking(answering, args.k)
    return 0


def _with_model(retriever: LexicalRetriever, model: str) -> RetrieveThenRerank | None:
    """The retriever followed by a reranker; None where the libraries for one are missing."""
    from prorank_plugins.rerank.reranker import ProRankReranker

    start = time.perf_counter()
    try:
        reranker = ProRankReranker.from_pretrained(model)
    except MissingExtraError as error:
        print(f"BMX answers alone: {error}")
        return None
    seconds = time.perf_counter() - start
    print(f"loaded {model} in {seconds:.2f} s; it ranks BMX's best {_DEPTH} anew, fused with BMX's scores")
    return RetrieveThenRerank(retriever, reranker, _DEPTH, _FUSION_WEIGHT)


def _answer(retriever: Retriever, question: str, k: int) -> None:
    start = time.perf_counter()
    found = retriever.retrieve(question, k)
    milliseconds = 1000 * (time.perf_counter() - start)
    print(f"\n{one_line(question)}  ({milliseconds:.2f} ms)")
    rows = [_row(rank, hit) for rank, hit in enumerate(found, start=1)]
    emit(iter(columns(rows, right=(0, 1), width=terminal_width(), indent="  ")), None)
    if not found:
        print("  no document matches")


def _row(rank: int, hit: ScoredDocument) -> tuple[str, str, str, str]:
    """Rank, score, id and the first line of the docstring, which follows the signature's line."""
    _, _, docstring = hit.document.text.partition("\n")
    first_line = docstring.strip().partition("\n")[0]
    return str(rank), f"{hit.score:.2f}", hit.document.id, first_line


def _explanation(retriever: LexicalRetriever, question: str) -> Iterator[str]:
    best = retriever.retrieve(question, 1)
    if best:
        yield from ["", f"Why {best[0].document.id} is first for {one_line(question)!r}:"]
        yield str(retriever.index.explain(question, best[0].document.id, retriever.scorer))


def _evaluation(dataset: BeirDataset, retriever: LexicalRetriever) -> Iterator[str]:
    """How good each scorer is on the bundled questions, and whether BMX differs from BM25."""
    yield ""
    yield f"{dataset.name}: nDCG@10 on {len(dataset.queries)} questions in a user's words [95 % interval]"
    contestants = hold_contest(
        dataset, retriever.index, scorers_named(["bmx", "bmx-paper", "bm25"]), [_MEASURE]
    )
    reports = {name: contestant.report for name, contestant in contestants.items()}
    labels = {"bmx": "BMX (reference)", "bmx-paper": "BMX (paper)", "bm25": "BM25"}
    yield from columns(
        [(labels[name], mean_and_interval(report, _MEASURE)) for name, report in reports.items()], indent="  "
    )
    against = {"bmx": reports["bmx"], "bm25": reports["bm25"]}
    yield f"  BMX (reference) minus BM25, paired: {comparisons_with_first(against)['bm25'][_MEASURE]}"


def _reranked_evaluation(dataset: BeirDataset, reranking: RetrieveThenRerank, model: str) -> Iterator[str]:
    """Whether the reranker adds to BMX, on some of the questions."""
    step = max(1, len(dataset.queries) // _MEASURED_QUESTIONS)
    queries = dict(list(dataset.queries.items())[::step][:_MEASURED_QUESTIONS])
    qrels = {id: dataset.qrels[id] for id in queries}
    name = Path(model).name
    runs: dict[str, dict[str, dict[str, float]]] = {f"BMX + {name}": {}, "BMX": {}}
    start = time.perf_counter()
    for id, question in queries.items():
        for run_name, stage in ((f"BMX + {name}", reranking), ("BMX", reranking.retriever)):
            hits = stage.retrieve(question, _DEPTH)
            runs[run_name][id] = {hit.document.id: hit.score for hit in hits}
    seconds = time.perf_counter() - start
    reports = {run_name: evaluate(found, qrels, [_MEASURE]) for run_name, found in runs.items()}
    yield ""
    yield f"{dataset.name}: nDCG@10 on {len(queries)} of the questions, reranked in {seconds:.1f} s"
    rows = [(run_name, mean_and_interval(report, _MEASURE)) for run_name, report in reports.items()]
    yield from columns(rows, indent="  ")
    yield f"  BMX + {name} minus BMX, paired: {comparisons_with_first(reports)['BMX'][_MEASURE]}"


def _keep_asking(retriever: Retriever, k: int) -> None:
    print("\nAsk on; an empty line ends.")
    while True:
        try:
            question = input("? ").strip()
        except EOFError:
            return
        if not question:
            return
        _answer(retriever, question, k)
