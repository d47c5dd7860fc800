"""What a search returns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
