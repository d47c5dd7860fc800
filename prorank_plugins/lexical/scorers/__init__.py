"""Scoring functions: each folds corpus statistics and one query into a `ScorePlan`."""

from prorank_plugins.lexical.scorers.bm25 import BM25
from prorank_plugins.lexical.scorers.bmx import BMX
from prorank_plugins.lexical.scorers.plan import ScorePlan, Scorer

__all__ = ["BM25", "BMX", "ScorePlan", "Scorer"]
