"""``prorank rerank``: candidates in, ranked by a small language model out."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from prorank_plugins.cli.jsonl import STDIN, id_of, lines_of, parse_object, to_json
from prorank_plugins.cli.options import Subparsers, add_command, add_progress_option, wants_progress
from prorank_plugins.cli.tables import clip, columns, emit, one_line, terminal_width
from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.rerank.weights import DEFAULT_MODEL

_EXAMPLES = """\
  prorank search notes-index "key rotation" -k 50 --format json | prorank rerank --model my-model
  prorank rerank candidates.jsonl --model mixedbread-ai/mxbai-rerank-base-v2 -k 10 --format json
  prorank rerank documents.jsonl --query "key rotation" --model my-model --threshold 0
"""


@dataclass
class _Question:
    """A query with its candidates in the order they came."""

    query: str
    records: list[dict[str, Any]] = field(default_factory=list)


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command."""
    parser = add_command(
        commands,
        "rerank",
        run,
        "rank candidates by a small language model",
        _EXAMPLES,
        'Reads JSON lines with "query", "id" and "text", such as "prorank search --format json" writes, and '
        "ranks the candidates of each query anew. The score they came with is kept as retrieval_score.",
    )
    parser.add_argument("input", nargs="?", default=STDIN, metavar="FILE", help="JSON lines (default: stdin)")
    parser.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        metavar="NAME",
        help=f"model folder or hub name (default: {DEFAULT_MODEL})",
    )
    parser.add_argument("--query", metavar="TEXT", help='one query for all lines, which then need no "query"')
    parser.add_argument("-k", type=int, metavar="N", help="most documents for each query (default: all)")
    parser.add_argument("--threshold", type=float, metavar="S", help="leave out raw scores below S")
    parser.add_argument("--instruction", metavar="TEXT", help="what to look for, put before every query")
    parser.add_argument("--device", help="cpu, cuda, mps (default: what there is)")
    parser.add_argument("--dtype", help="float32, bfloat16, float16 or int8 (default: suits the device)")
    parser.add_argument("--max-length", type=int, metavar="N", help="most tokens of query and document")
    parser.add_argument("--format", choices=["table", "json"], default="table", help="(default: table)")
    parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout; .gz is packed")
    add_progress_option(parser)


def run(args: argparse.Namespace) -> int:
    """Read, score, show."""
    questions = _read(args.input, args.query)
    from prorank_plugins.rerank.reranker import ProRankReranker

    reranker = ProRankReranker.from_pretrained(
        args.model,
        device=args.device,
        dtype=args.dtype,
        max_length=args.max_length,
        instruction=args.instruction,
    )
    pairs = [(question.query, record["text"]) for question in questions for record in question.records]
    scores = iter(reranker.score_pairs(pairs, progress=wants_progress(args)).tolist())
    for question in questions:
        question.records = _ranked(question, [next(scores) for _ in question.records], args)
    lines = (
        _json_lines(questions, args.output is not None) if args.format == "json" else _table_lines(questions)
    )
    emit(lines, args.output)
    return 0


def _read(source: str, query: str | None) -> list[_Question]:
    """Queries in order of first appearance, each with its candidates."""
    questions: dict[tuple[str, str], _Question] = {}
    for where, number, line in lines_of(source):
        record = parse_object(line, where)
        asked = record.get("query") if query is None else query
        for name, value in (("query", asked), ("text", record.get("text"))):
            if not isinstance(value, str):
                raise DataFormatError(f'{where}: "{name}" is {value!r}; expected a string')
        record["id"] = id_of(record, None, where) or str(number)
        key = (str(record.get("query_id", "")), str(asked))
        questions.setdefault(key, _Question(str(asked))).records.append(record)
    return list(questions.values())


def _ranked(question: _Question, scores: list[float], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The records with their new scores, best first, ties as they came."""
    order = sorted(range(len(scores)), key=lambda row: -scores[row])
    kept = [row for row in order if args.threshold is None or scores[row] >= args.threshold]
    ranked = []
    for rank, row in enumerate(kept[: args.k], start=1):
        record = dict(question.records[row])
        if "score" in record:
            record["retrieval_score"] = record["score"]
        ranked.append({**record, "query": question.query, "rank": rank, "score": scores[row]})
    return ranked


def _json_lines(questions: list[_Question], to_file: bool) -> Iterator[str]:
    for question in questions:
        for record in question.records:
            yield to_json(record, None if to_file else sys.stdout)


def _table_lines(questions: list[_Question]) -> Iterator[str]:
    width = terminal_width()
    for number, question in enumerate(questions):
        yield from ["", clip(question.query, width)][number == 0 :]
        rows = [
            (
                str(record["rank"]),
                f"{record['score']:.4f}",
                one_line(record["id"]),
                clip(record["text"], width),
            )
            for record in question.records
        ]
        yield from columns(rows, right=(0, 1), width=width)
