"""What an index knows, at one moment, of the terms of some queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.asking import Asked
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.queries import UNSEEN, QueryTerms
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import CorpusStats

# A group with more tokens is gathered by a dict: the kernel compares each token with all before it.
LONG_GROUP = 64


class Seen(NamedTuple):
    """Terms with statistics and the documents they belong to.

    Attributes:
        state: the documents.
        terms: distinct within their groups; their ``ids`` are places in the two below.
        numbers: (n,) the index's numbers of the terms.
        stats: entry ``i`` belongs to term ``i``.
    """

    state: State
    terms: QueryTerms
    numbers: NDArray[np.int64]
    stats: CorpusStats


class _Chosen(Sequence[str]):
    """Some of the tokens, looked up when they are asked for: few who plan a query read its terms."""

    def __init__(self, tokens: Sequence[str], places: NDArray[np.int64]) -> None:
        self._tokens, self._places = tokens, places

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._tokens[place] for place in self._places[index].tolist()]
        return self._tokens[self._places[index]]


def look_up(asked: Asked, content: Content) -> Seen:
    """Terms of queries with their statistics; the content must not change meanwhile."""
    tokens = number_tokens(asked.tokens, content)
    gather = _gather if asked.weights is None and asked.longest <= LONG_GROUP else _gather_by_dict
    return gather(asked, tokens, content)


def number_tokens(tokens: Sequence[str], content: Content) -> NDArray[np.int32]:
    """(n_tokens,) the index's numbers; different unknown terms have different negative ones."""
    return np.array(content.vocabulary.numbers_of(tokens), np.int32)


def _gather(asked: Asked, tokens: NDArray[np.int32], content: Content) -> Seen:
    from prorank_plugins.lexical.kernels.plans import gather_rows

    statistics = content.statistics
    integers, floats = np.empty((5, len(tokens)), np.int64), np.empty((2, len(tokens)))
    n_rows = gather_rows(
        read_only(tokens), read_only(np.array(asked.ends)), statistics.doc_freqs, statistics.log_entropies,
        statistics.n_terms, integers, floats,
    )  # fmt: skip
    places, numbers, groups, doc_freqs, ids = integers[:, :n_rows]
    counts, log_entropies = floats[:, :n_rows]
    terms = QueryTerms(_Chosen(asked.tokens, places), ids, counts, np.ones(n_rows), groups, asked.n_groups)
    stats = CorpusStats(statistics.n_docs, statistics.total_length, doc_freqs, log_entropies)
    return Seen(content.state, terms, numbers, stats)


def _gather_by_dict(asked: Asked, tokens: NDArray[np.int32], content: Content) -> Seen:
    places: list[int] = []
    counts: list[int] = []
    groups: list[int] = []
    numbers, weights = tokens.tolist(), asked.weights
    for group, (start, end) in enumerate(zip(asked.ends, asked.ends[1:], strict=False)):
        rows: dict[tuple[int, float], int] = {}
        for place in range(start, end):
            key = (numbers[place], 1.0 if weights is None else weights[place])
            row = rows.get(key)
            if row is None:
                rows[key] = len(places)
                places.append(place)
                counts.append(1)
                groups.append(group)
            else:
                counts[row] += 1
    at = np.array(places, np.int64)
    found = tokens[at].astype(np.int64)
    stats = content.statistics.of(found)
    terms = QueryTerms(
        _Chosen(asked.tokens, at),
        np.where(stats.doc_freqs > 0, np.arange(len(at)), UNSEEN),
        np.array(counts, np.float64),
        np.ones(len(at)) if weights is None else np.array(weights)[at],
        np.array(groups, np.int64),
        asked.n_groups,
    )
    return Seen(content.state, terms, found, stats)
