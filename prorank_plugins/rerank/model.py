"""What a runtime has to offer to score rows of ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class ScoringModel(Protocol):
    """Scores rows of token ids at their last position."""

    can_share: bool
    """Whether `prefill` saves anything."""

    def prefill(self, ids: Sequence[int]) -> Any:
        """What later rows need of the ids they all begin with."""
        ...

    def score(self, rows: Sequence[Sequence[int]], shared: Any | None = None) -> NDArray[np.float32]:
        """(n_rows,) ``logit(positive) - logit(negative)`` after each row, in float32.

        Args:
            rows: ids of each row, those of ``shared`` left out.
            shared: from `prefill`; None for nothing.
        """
        ...

    def answer_mass(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """(n_rows,) probability of all answers together after each whole row: the format rate."""
        ...
