"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.markup import Html, bar, escaped, note, number, table
from prorank_plugins.core.shown import print_str

_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Hits:
    """Matching documents, best first; ties in order of insertion.

    Iterating gives ``(id, score)`` pairs with the score as a Python float.

    Attributes:
        ids: the caller's keys.
        scores: (k,) float32, descending, all above 0.
        rows: (k,) positions of the documents in the index at the time of the search.
    """

    ids: list[str]
    scores: NDArray[np.float32]
    rows: NDArray[np.int64]

    @classmethod
    def none(cls) -> Hits:
        """No hit."""
        return cls([], np.empty(0, np.float32), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.ids)

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
        if not self.ids:
            return note(Html("no hit"))
        best = float(self.scores[0])
        rows = [
            (Html(str(rank)), number(score), bar(score / best), escaped(id))
            for rank, (id, score) in enumerate(self, start=1)
        ]
        shown = table(["rank", "score", "", "id"], rows[:_SHOWN], left=(2, 3))
        left_out = len(self) - _SHOWN
        return shown + (note(Html(f"and {left_out} more")) if left_out > 0 else "")
