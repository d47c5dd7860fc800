"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.markup import Html, bar, escaped, note, number, table
from prorank_plugins.core.shown import print_str
from prorank_plugins.lexical.state import State

_SHOWN = 20


class Found(NamedTuple):
    """What a search of a batch of queries found.

    Attributes:
        state: that was searched; None for hits that know their ids.
        scores: (n_queries, k); a query's hits come first in its row.
        rows: (n_queries, k) of the state.
    """

    state: State | None
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]


class Hits:
    """Matching documents, best first; ties in order of insertion.

    Iterating gives ``(id, score)`` pairs with the score as a Python float.

    Attributes:
        ids: the caller's keys.
        scores: (k,) float32, descending, all above 0.
        rows: (k,) positions of the documents in the index at the time of the search.
    """

    __slots__ = ("_found", "_ids", "_place", "_size")

    def __init__(self, ids: list[str], scores: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        self._ids: list[str] | None = ids
        self._found = Found(None, scores[np.newaxis], rows[np.newaxis])
        self._place, self._size = 0, len(scores)

    @classmethod
    def of(cls, found: Found, place: int, size: int) -> Hits:
        """Hits of one query, which are read when they are asked for.

        Args:
            found: what a search found.
            place: of the query.
            size: how many it found.
        """
        hits = cls.__new__(cls)
        hits._found, hits._place, hits._size, hits._ids = found, place, size, None
        return hits

    @classmethod
    def none(cls) -> Hits:
        """No hit."""
        return cls([], np.empty(0, np.float32), np.empty(0, np.int64))

    @property
    def ids(self) -> list[str]:
        """The caller's keys."""
        if self._ids is None:
            assert self._found.state is not None
            self._ids = self._found.state.ids_at(self._rows.tolist())
        return self._ids

    @property
    def scores(self) -> NDArray[np.float32]:
        """(k,) descending, all above 0."""
        return self._found.scores[self._place, : self._size]

    @property
    def rows(self) -> NDArray[np.int64]:
        """(k,) positions of the documents in the index at the time of the search."""
        state = self._found.state
        return self._rows if state is None else state.positions(self._rows)

    @property
    def _rows(self) -> NDArray[np.int64]:
        return self._found.rows[self._place, : self._size]

    def documents(self) -> list[Document]:
        """The documents, of an index that keeps them."""
        state = self._found.state
        return [] if state is None else state.documents_at(self._rows.tolist())

    def __getstate__(self) -> dict[str, Any]:
        return {"ids": self.ids, "scores": self.scores, "rows": self.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return iter(zip(self.ids, self.scores.tolist(), strict=True))

    def to_dict(self) -> dict[str, float]:
        """``{id: score}``, the form a run takes in `prorank_plugins.evaluation`."""
        return dict(self)

    def __str__(self) -> str:
        lines = [f"{rank:3} {score:10.4f}  {id}" for rank, (id, score) in enumerate(self, start=1)]
        more = [f"    and {len(self) - _SHOWN} more"] if len(self) > _SHOWN else []
        return "\n".join([*lines[:_SHOWN], *more]) or "no hit"

    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        if not len(self):
            return note(Html("no hit"))
        best = float(self.scores[0])
        rows = [
            (Html(str(rank)), number(score), bar(score / best), escaped(id))
            for rank, (id, score) in enumerate(self, start=1)
        ]
        shown = table(["rank", "score", "", "id"], rows[:_SHOWN], left=(2, 3))
        left_out = len(self) - _SHOWN
        return shown + (note(Html(f"and {left_out} more")) if left_out > 0 else "")
