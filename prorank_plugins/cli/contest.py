"""Several scorers on one test collection."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prorank_plugins.cli.options import describe_analyzer
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.evaluation.evaluate import evaluate
from prorank_plugins.evaluation.report import Report
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.scorers.plan import Scorer

DEFAULT_MEASURES = ("ndcg@10", "recall@100", "mrr", "map")


@dataclass(frozen=True)
class Contestant:
    """What one scorer reached.

    Attributes:
        report: its measures.
        seconds: to search all queries, compilation not counted.
    """

    report: Report
    seconds: float


def hold_contest(
    dataset: BeirDataset,
    index: LexicalIndex,
    scorers: Mapping[str, Scorer],
    measures: Sequence[str] = DEFAULT_MEASURES,
    depth: int = 1000,
) -> dict[str, Contestant]:
    """Search all queries with each scorer and measure what came back.

    Args:
        dataset: queries and judgements.
        index: of the data set's documents.
        scorers: by name.
        measures: as for `prorank_plugins.evaluation.evaluate`.
        depth: documents retrieved for each query.

    Raises:
        ConfigError: an unknown measure, or a negative depth.
    """
    contestants = {}
    for name, scorer in scorers.items():
        index.search_many(list(dataset.queries.values())[:1], depth, scorer)  # compiles
        start = time.perf_counter()
        found = index.search_many(dataset.queries.values(), depth, scorer)
        seconds = time.perf_counter() - start
        run = {query: hits.to_dict() for query, hits in zip(dataset.queries, found, strict=True)}
        recipe = {
            "dataset": dataset.name,
            "documents": len(index),
            "analyzer": describe_analyzer(index.analyzer or Analyzer(None)),
            "scorer": repr(scorer),
            "depth": depth,
        }
        contestants[name] = Contestant(evaluate(run, dataset.qrels, measures, recipe), seconds)
    return contestants
