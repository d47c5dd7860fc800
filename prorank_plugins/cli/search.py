"""``prorank search``: queries against a saved index."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from prorank_plugins.cli.filters import parse_filters
from prorank_plugins.cli.jsonl import to_json
from prorank_plugins.cli.options import Subparsers, add_command, add_progress_option, wants_progress
from prorank_plugins.cli.queries import chosen_queries
from prorank_plugins.cli.tables import clip, columns, emit, one_line, terminal_width
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.trec import write_run
from prorank_plugins.lexical.filters import metadata_mask
from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.retriever import LexicalRetriever

_EXAMPLES = """\
  prorank search notes-index "how do I rotate the keys" -k 5 --explain
  prorank search notes-index "key rotation" --filter lang=en year=2024 year=2025
  prorank search notes-index --queries queries.jsonl -k 100 --format trec --output bmx.trec
  echo "key rotation" | prorank search notes-index --format json
"""
_TOP = ""
"""What ``--explain`` holds without an id: the best document of each query."""


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command."""
    parser = add_command(commands, "search", run, "search an index that 'prorank index' wrote", _EXAMPLES)
    parser.add_argument("index", metavar="DIR", help="folder written by 'prorank index'")
    parser.add_argument(
        "query", nargs="?", metavar="QUERY", help="what to look for (default: lines on stdin)"
    )
    parser.add_argument("-k", type=int, default=10, help="documents for each query (default: 10)")
    parser.add_argument(
        "--queries",
        metavar="FILE",
        help='one query a line: text, or JSON with "id" (or "_id") and "text"; .gz is unpacked, - is stdin',
    )
    parser.add_argument(
        "--filter",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="only documents with these metadata; a key given twice allows both values",
    )
    parser.add_argument(
        "--format", choices=["table", "json", "trec"], default="table", help="(default: table)"
    )
    parser.add_argument(
        "--explain",
        nargs="?",
        const=_TOP,
        metavar="ID",
        help="take the score of this document apart, or of the best one (table only; put it after QUERY)",
    )
    parser.add_argument(
        "--tag", default="prorank", metavar="NAME", help="name of a trec run (default: prorank)"
    )
    parser.add_argument("--output", metavar="FILE", help="write there instead of to stdout; .gz is packed")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads to search with (default: all cores)"
    )
    add_progress_option(parser)


def run(args: argparse.Namespace) -> int:
    """Search and show."""
    if args.explain is not None and args.format != "table":
        raise ConfigError(f"--explain is for --format table, found --format {args.format}")
    if args.output is not None and not Path(args.output).parent.is_dir():
        raise ConfigError(f"{Path(args.output).parent} is not a folder; make it before writing {args.output}")
    retriever = LexicalRetriever.load(args.index)
    queries = chosen_queries(args.query, args.queries)
    found = _search(retriever, queries, args)
    if args.format == "trec":
        _emit_run({id: hits.to_dict() for id, hits in found.items()}, args.tag, args.output)
    elif args.format == "json":
        emit(_json_lines(retriever, queries, found, to_file=args.output is not None), args.output)
    else:
        emit(_table_lines(retriever, queries, found, args.explain), args.output)
    return 0


def _search(
    retriever: LexicalRetriever, queries: Mapping[str, str], args: argparse.Namespace
) -> dict[str, Hits]:
    """Hits of each query id."""
    wanted = parse_filters(args.filter)
    mask = metadata_mask(wanted, [document.metadata for document in retriever.documents]) if wanted else None
    found = retriever.index.search_many(
        queries.values(), args.k, retriever.scorer, args.threads, progress=wants_progress(args), filter=mask
    )
    return dict(zip(queries, found, strict=True))


def _table_lines(
    retriever: LexicalRetriever, queries: Mapping[str, str], found: Mapping[str, Hits], explain: str | None
) -> Iterator[str]:
    width = terminal_width()
    for number, (id, hits) in enumerate(found.items()):
        if len(queries) > 1:
            yield from ["", clip(f"{id}: {queries[id]}", width)][number == 0 :]
        yield from columns(_rows(retriever, hits, width), right=(0, 1), width=width)
        if not len(hits):
            yield "no document matches"
        if explain is not None and (explain or len(hits)):
            document = explain or hits.ids[0]
            yield from ["", str(retriever.index.explain(queries[id], document, retriever.scorer))]


def _rows(retriever: LexicalRetriever, hits: Hits, width: int) -> Iterator[tuple[str, str, str, str]]:
    ranked = zip(hits, hits.rows.tolist(), strict=True)
    for rank, ((id, score), row) in enumerate(ranked, start=1):
        yield str(rank), f"{score:.4f}", one_line(id), clip(retriever.documents[row].text, width)


def _json_lines(
    retriever: LexicalRetriever, queries: Mapping[str, str], found: Mapping[str, Hits], to_file: bool
) -> Iterator[str]:
    for query, hits in found.items():
        for rank, ((id, score), row) in enumerate(zip(hits, hits.rows.tolist(), strict=True), start=1):
            document = retriever.documents[row]
            hit = {
                "query_id": query,
                "query": queries[query],
                "rank": rank,
                "id": id,
                "score": score,
                "text": document.text,
                "metadata": dict(document.metadata),
            }
            yield to_json(hit, None if to_file else sys.stdout)


def _emit_run(trec_run: Mapping[str, Mapping[str, float]], tag: str, output: str | None) -> None:
    if output is not None:
        write_run(output, trec_run, tag)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.trec"
        write_run(path, trec_run, tag)
        with path.open(encoding="utf-8") as lines:
            sys.stdout.writelines(lines)
