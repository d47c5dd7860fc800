"""One plain query at a time, on the shortest way.

A search of a few thousand documents is over in some microseconds; numpy's arrays, made anew for each, took
twice as long. What stays the same from one search to the next is kept here, by thread or by generation.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.compilation import compiled_search
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.exhaustive import length_slope
from prorank_plugins.lexical.hits import Found, Hits
from prorank_plugins.lexical.lookup import LONG_GROUP
from prorank_plugins.lexical.quick import is_simple, parameters_of, plans
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.lexical.topk import room_of_thread, scratch_of_thread

_TOKENS = [struct.Struct(f"{n}i") for n in range(LONG_GROUP + 1)]
_THREAD = threading.local()


def plain_tokens(query: Any, analyzer: Analyzer | None) -> Sequence[Any] | None:
    """The terms of a text, or of a token list for an index of these; None for anything else."""
    if analyzer is None:
        return query if type(query) is list or type(query) is tuple else None
    return analyzer.terms(query) if type(query) is str else None


class _Room:
    """What a thread's searches are written to, so that no array is made for each.

    Attributes:
        asked: first arguments of `plan_tokens`: term numbers, and where they begin and end.
        tokens, ends: their memory.
        planned: last arguments of `plan_tokens`.
        plan: arguments of `search` from ``plan_ends`` to ``plan``.
        sizes: (1,) how many documents were found, the last argument of `search`.
        size: its memory, read faster.
    """

    def __init__(self) -> None:
        self.asked = np.zeros(LONG_GROUP, np.int32), np.zeros(2, np.int64)
        self.tokens, self.ends = (array.data for array in self.asked)
        integers, numbers = np.zeros((2, LONG_GROUP), np.int64), np.zeros((LONG_GROUP, 5))
        plan_ends = np.zeros(2, np.int64)
        self.planned = integers, numbers, plan_ends
        self.plan = plan_ends, integers[0], integers[1], numbers
        self.sizes = np.zeros(1, np.int64)
        self.size = self.sizes.data


def _room() -> _Room:
    try:
        return _THREAD.room  # type: ignore[no-any-return]
    except AttributeError:
        room = _THREAD.room = _Room()
        return room


class PlainSearch:
    """Searches of one generation by one scorer.

    Attributes:
        content: the generation.
        scorer: what ranks.
    """

    def __init__(self, content: Content, scorer: Scorer, searching: ModuleType) -> None:
        self.content, self.scorer = content, scorer
        statistics, state = content.statistics, content.state
        parameters, slope = parameters_of(scorer, statistics)
        self._number_of = content.vocabulary.known
        self._plan, self._searching, self._search = plans().plan_tokens, searching, searching.search
        self._corpus = (*statistics.tables, statistics.n_terms, statistics.n_docs, *parameters)
        self._table, self._n_docs = state.table, state.n_docs
        self._slope = length_slope(slope, statistics.average_length)

    @classmethod
    def of(cls, content: Content, scorer: Scorer) -> PlainSearch | None:
        """None for a scorer that the kernels do not plan for, while they are compiled, for an empty index."""
        if not is_simple(scorer) or not content.state.n_docs:
            return None
        searching = compiled_search(wait=False)
        return None if searching is None else cls(content, scorer, searching)

    def plan(self, tokens: Sequence[Any]) -> _Room | None:
        """Plan a query; the content must not change meanwhile. None for a query out of the ordinary.

        Args:
            tokens: terms, if the caller is right.
        """
        n = len(tokens)
        if not 0 < n <= LONG_GROUP:
            return None
        room = _room()
        try:
            _TOKENS[n].pack_into(room.tokens, 0, *map(self._number_of, tokens))
        except struct.error:  # a term that was not looked up before
            if not all(type(token) is str for token in tokens):
                return None
            _TOKENS[n].pack_into(room.tokens, 0, *self.content.vocabulary.numbers_of(tokens))
        except TypeError:
            return None
        room.ends[1] = n
        self._plan(*room.asked, *self._corpus, *room.planned)
        return room

    def find(self, room: _Room, k: int) -> Hits:
        """The ``k`` best documents of the query that was planned in the room; ``k`` is at least 1."""
        k, searching = min(k, self._n_docs), self._searching
        scores, rows = np.empty((1, k), np.float32), np.empty((1, k), np.int64)
        self._search(
            self._table, *room.plan, self._slope, 0, scratch_of_thread(searching),
            room_of_thread(searching.room_for(1, k)), scores, rows, room.sizes,
        )  # fmt: skip
        return Hits.of(Found(self.content.state, scores, rows), 0, room.size[0])
