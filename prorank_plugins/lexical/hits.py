"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.markup import Html, bar, escaped, note, number, table
from prorank_plugins.core.shown import print_str
from prorank_plugins.lexical.state import State

_SHOWN = 20


class Hits:
    """Matching documents, best first; ties in order of insertion.

    Iterating gives ``(id, score)`` pairs with the score as a Python float.

    Attributes:
        ids: the caller's keys.
        scores: (k,) float32, descending, all above 0.
        rows: (k,) positions of the documents in the index at the time of the search.
    """

    __slots__ = ("_ids", "_rows", "_state", "scores")

    def __init__(self, ids: list[str], scores: NDArray[np.float32], rows: NDArray[np.int64]) -> None:
        self._ids: list[str] | None = ids
        self.scores = scores
        self._rows = rows
        self._state: State | None = None

    @classmethod
    def of_state(cls, state: State, scores: NDArray[np.float32], rows: NDArray[np.int64]) -> Hits:
        """Hits whose ids are read when they are asked for.

        Args:
            state: that was searched.
            scores: (k,).
            rows: (k,) of the state.
        """
        hits = cls.__new__(cls)
        hits._ids, hits.scores, hits._rows, hits._state = None, scores, rows, state
        return hits

    @classmethod
    def none(cls) -> Hits:
        """No hit."""
        return cls([], np.empty(0, np.float32), np.empty(0, np.int64))

    @property
    def ids(self) -> list[str]:
        """The caller's keys."""
        if self._ids is None:
            assert self._state is not None
            self._ids = self._state.ids_at(self._rows.tolist())
        return self._ids

    @property
    def rows(self) -> NDArray[np.int64]:
        """(k,) positions of the documents in the index at the time of the search."""
        return self._rows if self._state is None else self._state.positions(self._rows)

    def documents(self) -> list[Document]:
        """The documents, of an index that keeps them."""
        return [] if self._state is None else self._state.documents_at(self._rows.tolist())

    def __getstate__(self) -> dict[str, Any]:
        return {"ids": self.ids, "scores": self.scores, "rows": self.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def __len__(self) -> int:
        return len(self.scores)

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
