"""Measure what retrieval and reranking return: collections, measures, significance, timing.

::

    report = evaluate(run, qrels, ["ndcg@10", "recall@20", "mrr", "map"])

Needs numpy only; the values equal trec_eval's.
"""

from prorank_plugins.evaluation.datasets import BeirDataset, load_beir
from prorank_plugins.evaluation.evaluate import evaluate
from prorank_plugins.evaluation.measures import average_precision, ndcg, precision, recall, reciprocal_rank
from prorank_plugins.evaluation.report import Report
from prorank_plugins.evaluation.significance import Comparison, Comparisons, compare
from prorank_plugins.evaluation.stdlib import stdlib_documents
from prorank_plugins.evaluation.stdlib_qa import load_stdlib_qa
from prorank_plugins.evaluation.trec import read_qrels, read_run, write_qrels, write_run

__all__ = [
    "BeirDataset",
    "Comparison",
    "Comparisons",
    "Report",
    "average_precision",
    "compare",
    "evaluate",
    "load_beir",
    "load_stdlib_qa",
    "ndcg",
    "precision",
    "read_qrels",
    "read_run",
    "recall",
    "reciprocal_rank",
    "stdlib_documents",
    "write_qrels",
    "write_run",
]
