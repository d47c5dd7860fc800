"""``prorank index``: documents in, a folder that ``prorank search`` reads out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from prorank_plugins.cli.documents import read_documents
from prorank_plugins.cli.options import (
    Subparsers,
    add_analysis_options,
    add_command,
    add_progress_option,
    add_scorer_options,
    analyzer_from,
    describe_analyzer,
    scorer_from,
    wants_progress,
)
from prorank_plugins.cli.tables import size_in_words
from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.core.storage import check_target
from prorank_plugins.lexical.persistence import FORMAT
from prorank_plugins.lexical.retriever import LexicalRetriever

_EXAMPLES = """\
  prorank index notes.jsonl more.jsonl.gz --output notes-index
  prorank index beir/scifact --output scifact-index --scorer bm25 --k1 0.9 --b 0.4
  cat code.jsonl | prorank index - --output code-index --split-identifiers --no-stop-words
  prorank index pages.jsonl --output pages-index --id-field url --text-field heading body --language de
"""
_DESCRIPTION = """\
Index JSON lines: one object a line with "text", and if you have them "id" (or "_id"), "title", which is put
before the text, and "metadata". All other fields become metadata, too. Without an id the line number is one.
"""


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command."""
    parser = add_command(
        commands, "index", run, "index documents from JSON lines or a BEIR folder", _EXAMPLES, _DESCRIPTION
    )
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="JSON lines (.jsonl, .jsonl.gz), a BEIR folder, or - for stdin",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="DIR", help="folder to write; an index there is replaced"
    )
    parser.add_argument("--id-field", metavar="NAME", help="field with the id (default: id or _id)")
    parser.add_argument(
        "--text-field", nargs="+", metavar="NAME", help="fields that make the text (default: title and text)"
    )
    add_analysis_options(parser)
    add_scorer_options(parser)
    add_progress_option(parser)


def run(args: argparse.Namespace) -> int:
    """Index, save, and say what was done."""
    from tqdm.auto import tqdm

    output, progress = Path(args.output), wants_progress(args)
    analyzer, scorer = analyzer_from(args), scorer_from(args)
    check_target(output, FORMAT)  # before the work, not after it
    documents = read_documents(args.inputs, args.id_field, args.text_field)
    bar = tqdm(documents, desc="reading", unit="doc", disable=not progress)
    start = time.perf_counter()
    retriever = LexicalRetriever.from_documents(bar, analyzer, scorer, progress=progress)
    if not len(retriever):
        raise DataFormatError(f"{', '.join(args.inputs)}: found no documents")
    indexed = time.perf_counter()
    retriever.save(output)
    saved = time.perf_counter()
    n_terms = retriever.index.n_terms
    print(f"documents   {len(retriever):,} with {n_terms:,} distinct terms")
    print(f"indexed in  {indexed - start:.2f} s, {len(retriever) / (indexed - start):,.0f} documents/s")
    print(f"saved in    {saved - indexed:.2f} s, {size_in_words(_size_of(output))} in {output}")
    print(f"analyzer    {describe_analyzer(analyzer)}")
    print(f"scorer      {scorer!r}")
    return 0


def _size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
