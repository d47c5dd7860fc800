"""Development groups: what a first stage finds for judged queries, to be ranked by the model in training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.training.examples import RankingGroup

_BLOCK = 512


def candidate_groups(
    dataset: BeirDataset, depth: int = 20, n_queries: int | None = None, seed: int = 0, language: str = "en"
) -> list[RankingGroup]:
    """BMX's best documents of queries, with their judgements; not judged counts as not relevant.

    Args:
        dataset: documents, queries, judgements.
        depth: documents a query.
        n_queries: queries drawn at random; None for all.
        seed: of the draw.
        language: of the analyzer.

    Raises:
        ConfigError: no query has a document in common with the collection.
    """
    ids = sorted(dataset.queries)
    if n_queries is not None and n_queries < len(ids):
        chosen = np.random.default_rng(seed).choice(len(ids), n_queries, replace=False)
        ids = [ids[place] for place in sorted(chosen.tolist())]
    index = LexicalIndex.build(
        [document.text for document in dataset.documents],
        [document.id for document in dataset.documents],
        Analyzer(language),
    )
    texts = {document.id: document.text for document in dataset.documents}
    groups: list[RankingGroup] = []
    for start in range(0, len(ids), _BLOCK):
        block = ids[start : start + _BLOCK]
        found = index.search_many([dataset.queries[id] for id in block], depth)
        for id, hits in zip(block, found, strict=True):
            if hits.ids:
                groups.append(_group(dataset.queries[id], hits.ids, texts, dataset.qrels.get(id, {})))
    if not groups:
        raise ConfigError(f"no query of {dataset.name} finds a document; is the language {language!r} right?")
    return groups


def _group(query: str, ids: Sequence[str], texts: dict[str, str], grades: dict[str, int]) -> RankingGroup:
    # Equal texts under several ids are one document here, with its best grade.
    best: dict[str, float] = {}
    for id in ids:
        best[texts[id]] = max(best.get(texts[id], 0.0), float(max(0, grades.get(id, 0))))
    return RankingGroup(query, list(best), list(best.values()))
