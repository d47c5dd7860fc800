"""Groups of rows to scores: what is shared is computed once, the rest in batches."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank.batching import plan_batches
from prorank_plugins.rerank.model import ScoringModel

_LOG = logging.getLogger(__name__)

# A beginning shared by one row saves nothing.
_SHARE_FROM_ROWS = 2


@dataclass(frozen=True)
class RowGroup:
    """Rows of one query, and whom to tell about progress.

    Attributes:
        rows: ids of each row, whole.
        advance: called with the number of rows done.
    """

    rows: Sequence[Sequence[int]]
    advance: Callable[[int], object]


class Scheduler:
    """Runs groups of rows through a model. Not for several threads at once.

    Args:
        model: scores rows.
        max_tokens: positions that go through the model together.
    """

    def __init__(self, model: ScoringModel, max_tokens: int) -> None:
        self._model = model
        self._max_tokens = max_tokens

    def score(self, groups: Sequence[RowGroup]) -> list[NDArray[np.float32]]:
        """(n_rows,) scores of each group, in order."""
        results = [np.empty(len(group.rows), np.float32) for group in groups]
        lonely: list[tuple[int, int]] = []  # (group, row) of rows that share nothing
        for number, group in enumerate(groups):
            length = common_length(group.rows) if self._shares(group) else 0
            if length == 0:
                lonely += ((number, row) for row in range(len(group.rows)))
                continue
            shared = self._model.prefill(group.rows[0][:length])
            own = [row[length:] for row in group.rows]
            for batch in plan_batches([len(row) for row in own], self._max_tokens, length):
                results[number][batch] = self._score_batch([own[place] for place in batch], shared)
                group.advance(len(batch))
        for batch in plan_batches([len(groups[g].rows[r]) for g, r in lonely], self._max_tokens):
            places = [lonely[place] for place in batch]
            scores = self._score_batch([groups[g].rows[r] for g, r in places], None)
            for (g, r), score in zip(places, scores, strict=True):
                results[g][r] = score
                groups[g].advance(1)
        return results

    def _shares(self, group: RowGroup) -> bool:
        return self._model.can_share and len(group.rows) >= _SHARE_FROM_ROWS

    def _score_batch(self, rows: list[Sequence[int]], shared: Any | None) -> NDArray[np.float32]:
        """Scores of a batch; halved for as long as memory does not suffice."""
        import torch

        try:
            return self._model.score(rows, shared)
        except torch.OutOfMemoryError as error:
            if len(rows) == 1:
                raise ModelError(
                    f"out of memory with a single row of {len(rows[0])} tokens; lower max_length"
                ) from error
        # Outside the handler, which would keep the failed pass's tensors alive.
        torch.cuda.empty_cache()
        _LOG.warning("out of memory with %d rows; halving the batch", len(rows))
        half = len(rows) // 2
        return np.concatenate(
            (self._score_batch(rows[:half], shared), self._score_batch(rows[half:], shared))
        )


def common_length(rows: Sequence[Sequence[int]]) -> int:
    """How many ids all rows begin with, leaving at least one of each row to itself."""
    first, last = min(map(list, rows)), max(map(list, rows))  # what these two share, all share
    most = min(map(len, rows)) - 1
    length = 0
    while length < most and first[length] == last[length]:
        length += 1
    return length
