"""``prorank demo``: the main job on documents that every Python has."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterator

from prorank_plugins.cli.contest import hold_contest
from prorank_plugins.cli.options import Subparsers, add_command, describe_analyzer, scorers_named
from prorank_plugins.cli.reports import comparisons_with_first, mean_and_interval
from prorank_plugins.cli.tables import columns, emit, one_line, terminal_width
from prorank_plugins.core.documents import ScoredDocument
from prorank_plugins.core.pipeline import RetrieveThenRerank
from prorank_plugins.core.protocols import Retriever
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig
from prorank_plugins.lexical.retriever import LexicalRetriever

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
_EXAMPLES = """\
  prorank demo
  prorank demo "parse a date" "wait for several threads" -k 3
  prorank demo --interactive
"""
_DESCRIPTION = """\
Index the documentation of Python's standard library, answer questions about it with BMX, take one score
apart, and measure BMX and BM25 on the questions and judgements that come along. Needs no network.
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
        "--model", metavar="NAME", help="rerank the candidates with this model folder or hub name"
    )
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
    answering = _with_model(retriever, args.model)
    questions = args.questions or QUESTIONS
    for question in questions:
        _answer(answering, question, args.k)
    if args.explain:
        emit(_explanation(retriever, questions[0]), None)
    emit(_evaluation(dataset, retriever), None)
    if args.interactive and sys.stdin.isatty():
        _keep_asking(answering, args.k)
    return 0


def _with_model(retriever: LexicalRetriever, model: str | None) -> Retriever:
    """The retriever, followed by a reranker if a model is named."""
    if model is None:
        return retriever
    from prorank_plugins.rerank.reranker import ProRankReranker

    start = time.perf_counter()
    reranker = ProRankReranker.from_pretrained(model)
    print(f"loaded {model} in {time.perf_counter() - start:.2f} s; it ranks the best {_DEPTH} anew")
    return RetrieveThenRerank(retriever, reranker, _DEPTH)


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
