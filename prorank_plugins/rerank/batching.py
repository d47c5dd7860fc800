"""Which rows go through the model together."""

from __future__ import annotations

from collections.abc import Sequence

# Rows of one batch differ in length by at most this factor: what is right of a short row is computed in vain.
_SPREAD = 1.25


def plan_batches(lengths: Sequence[int], max_tokens: int, shared: int = 0) -> list[list[int]]:
    """Group rows of similar length under a budget of tokens, longest first.

    Args:
        lengths: tokens of each row, without those shared by all rows.
        max_tokens: most positions of a batch, padding included; a single longer row is a batch of its own.
        shared: tokens before each row whose keys are computed once; they count in attention only and so
            weigh in the spread of lengths but not in the budget.

    Returns:
        Positions in ``lengths``, each exactly once.
    """
    order = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    batches: list[list[int]] = []
    longest = 0
    for row in order:
        batch = batches[-1] if batches else []
        fits = (len(batch) + 1) * longest <= max_tokens
        similar = longest + shared <= _SPREAD * (lengths[row] + shared)
        if batch and fits and similar:
            batch.append(row)
        else:
            batches.append([row])
            longest = lengths[row]
    return batches
