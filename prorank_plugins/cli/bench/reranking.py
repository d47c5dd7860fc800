"""``prorank bench reranking``: what a reranker adds to BMX on test collections, alone and fused."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from prorank_plugins.cli.bench.common import at_least_1
from prorank_plugins.cli.bench.quality import collections_named
from prorank_plugins.cli.bench.tables import describe_machine
from prorank_plugins.cli.options import Subparsers, add_command
from prorank_plugins.cli.reports import comparisons_with_first, mean_and_interval
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.evaluation.evaluate import evaluate
from prorank_plugins.evaluation.report import Report
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.index import LexicalIndex

if TYPE_CHECKING:
    from prorank_plugins.rerank.reranker import ProRankReranker

_MEASURE = "ndcg@10"
_EXAMPLES = """\
  prorank bench reranking --model prorank-nano
  prorank bench reranking beir/scifact beir/cranfield --model my-reranker --depth 100
"""
_HEAD = (
    "| collection | queries | BMX | reranked | fused | reranked − BMX, paired | fused − BMX, paired "
    "| pairs/s |\n|---|---:|---|---|---|---|---|---:|"
)


@dataclass(frozen=True)
class _Found:
    """What was measured on one collection.

    Attributes:
        reports: of ``bmx``, ``reranked`` and ``fused``.
        n_pairs: how many were scored.
        seconds: that this took.
    """

    reports: Mapping[str, Report]
    n_pairs: int
    seconds: float


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds, "reranking", run, "nDCG@10 of a reranker over BMX, alone and fused", _EXAMPLES,
        "Search the bundled questions and folders in the BEIR layout with BMX, rank its best documents anew, "
        "and compare. Prints a table with 95 % bootstrap intervals and writes it as Markdown and JSON.",
    )  # fmt: skip
    parser.add_argument("collections", nargs="*", metavar="FOLDER[:LANGUAGE]", help="BEIR folders")
    parser.add_argument("--model", default="prorank-nano", help="folder or name (default: prorank-nano)")
    parser.add_argument("--split", default="test", help="split of the folders (default: test)")
    parser.add_argument("--depth", type=at_least_1, default=20, help="documents reranked (default: 20)")
    parser.add_argument("--queries", type=at_least_1, default=1000, help="at most, drawn (default: 1000)")
    parser.add_argument("--fusion-weight", type=float, default=0.5, help="of the reranker (default: 0.5)")
    parser.add_argument("--dtype", help="number format of the model (default: float32)")
    parser.add_argument("--max-length", type=at_least_1, help="tokens (default: the model's)")
    parser.add_argument("--threads", type=at_least_1, default=1, help="of torch (default: 1)")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/benchmarks"), help="(default: docs/benchmarks)"
    )


def run(args: argparse.Namespace) -> int:
    """Measure, print, write."""
    import torch

    from prorank_plugins.rerank.reranker import ProRankReranker

    torch.set_num_threads(args.threads)
    reranker = ProRankReranker.from_pretrained(
        args.model, device="cpu", dtype=args.dtype or "float32", max_length=args.max_length
    )
    results = {}
    print(_HEAD)
    for name, dataset, analyzer in collections_named(args.collections, args.split):
        results[name] = _measure(dataset, analyzer, reranker, args)
        print(_row(name, results[name]), flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    file = args.output / f"reranking-{Path(args.model).name}"
    file.with_suffix(".md").write_text("\n".join(_page(results, reranker, args)) + "\n", "utf-8")
    file.with_suffix(".json").write_text(json.dumps(_data(results), indent=1) + "\n", "utf-8")
    return 0


def _measure(
    dataset: BeirDataset, analyzer: Analyzer, reranker: ProRankReranker, args: argparse.Namespace
) -> _Found:
    from prorank_plugins.rerank.fusion import fuse

    ids = list(dataset.queries)
    if len(ids) > args.queries:
        chosen = np.random.default_rng(0).choice(len(ids), args.queries, replace=False)
        ids = [ids[place] for place in sorted(chosen.tolist())]
    texts = {document.id: document.text for document in dataset.documents}
    index = LexicalIndex.build(list(texts.values()), list(texts), analyzer)
    found = index.search_many([dataset.queries[id] for id in ids], args.depth)
    runs: dict[str, dict[str, dict[str, float]]] = {"bmx": {}, "reranked": {}, "fused": {}}
    n_pairs, seconds = 0, 0.0
    for id, hits in zip(ids, found, strict=True):
        start = time.perf_counter()
        scores = reranker.score(dataset.queries[id], [texts[hit] for hit in hits.ids])
        seconds += time.perf_counter() - start
        n_pairs += len(scores)
        fused = fuse(scores, hits.scores, args.fusion_weight)
        for run_name, values in (("bmx", hits.scores), ("reranked", scores), ("fused", fused)):
            runs[run_name][id] = dict(zip(hits.ids, np.asarray(values, float).tolist(), strict=True))
    recipe = {"dataset": dataset.name, "model": reranker.name, "depth": args.depth, "queries": len(ids)}
    qrels = {id: dataset.qrels[id] for id in ids}
    reports = {
        name: evaluate(found_run, qrels, [_MEASURE], {**recipe, "run": name})
        for name, found_run in runs.items()
    }
    return _Found(reports, n_pairs, seconds)


def _row(name: str, found: _Found) -> str:
    figures = [mean_and_interval(report, _MEASURE) for report in found.reports.values()]
    differences = []
    for other in ("reranked", "fused"):
        pair = {other: found.reports[other], "bmx": found.reports["bmx"]}
        difference = comparisons_with_first(pair)["bmx"][_MEASURE]
        differences.append(f"{difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]")
    n_queries = f"{len(found.reports['bmx'].per_query):,}"
    speed = f"{found.n_pairs / found.seconds:.0f}"
    return "| " + " | ".join((name, n_queries, *figures, *differences, speed)) + " |"


def _page(
    results: Mapping[str, _Found], reranker: ProRankReranker, args: argparse.Namespace
) -> Iterator[str]:
    machine = describe_machine()
    yield f"# What {Path(args.model).name} adds to BMX"
    yield ""
    yield (
        f"nDCG@10 of BMX's best {args.depth} documents, ranked anew by the model alone, and by the sum of "
        f"both scores, each scaled to [0, 1] (weight {args.fusion_weight} for the model's). 95 % bootstrap "
        "intervals over queries (10,000 resamples, seed 0); differences over the same queries with their "
        f"paired interval. At most {args.queries:,} queries a collection, drawn with seed 0. Relevant "
        "documents that BMX did not find count as missed."
    )
    yield ""
    yield (
        f"`prorank bench reranking FOLDERS --model {args.model}`, {machine.get('cpu')}, "
        f"{args.threads} thread(s), {args.dtype or 'float32'}, at most {reranker.max_length} tokens a pair, "
        f"Python {machine.get('python')}, numpy {machine.get('numpy')}."
    )
    yield ""
    yield _HEAD
    yield from (_row(name, found) for name, found in results.items())


def _data(results: Mapping[str, _Found]) -> dict[str, Any]:
    data = {}
    for name, found in results.items():
        first = {"bmx": found.reports["bmx"]}
        data[name] = {
            "pairs": found.n_pairs,
            "seconds": found.seconds,
            "ndcg@10": {run: report.mean[_MEASURE] for run, report in found.reports.items()},
            "signatures": {run: report.signature for run, report in found.reports.items()},
            "minus_bmx": {
                other: asdict(comparisons_with_first({other: found.reports[other], **first})["bmx"][_MEASURE])
                for other in ("reranked", "fused")
            },
        }
    return data
