"""Long documents: windows of tokens, scored one by one, and one score made of them.

::

    tokens    0 1 2 3 4 5 6 7 8 9          max_tokens=5, overlap=2
    window 0  0 1 2 3
    window 1      2 3 4 5 6                 as few windows as cover the tokens, sizes within one of
    window 2            5 6 7 8 9           each other, so that no rest of a few tokens is left

The winning window comes back with its characters: a citation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

_AGGREGATES = ("max", "first", "mean_top")


@dataclass(frozen=True)
class Chunking:
    """How a long document is cut and how its windows' scores become one.

    ``"max"`` and ``"first"`` are MaxP and FirstP of Dai and Callan (SIGIR 2019); ``"mean_top"`` averages
    the best windows (compared with both by Zhang, Yates and Lin, ECIR 2021).

    Attributes:
        max_tokens: the longest window, at least 1.
        overlap: tokens that neighbouring windows share, at least 0 and below ``max_tokens``.
        aggregate: ``"max"`` the best window, ``"first"`` the first, ``"mean_top"`` the mean of the best.
        top: windows averaged by ``"mean_top"``, at least 1; all of a document that has fewer.

    Raises:
        ConfigError: a value out of range.
    """

    max_tokens: int = 512
    overlap: int = 64
    aggregate: Literal["max", "first", "mean_top"] = "max"
    top: int = 3

    def __post_init__(self) -> None:
        for name, low in (("max_tokens", 1), ("overlap", 0), ("top", 1)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < low:
                raise ConfigError(f"{name} must be a whole number of at least {low}, found {value!r}")
        if self.overlap >= self.max_tokens:
            raise ConfigError(
                f"overlap is {self.overlap} and max_tokens {self.max_tokens}; windows must be longer than "
                "what they share"
            )
        if self.aggregate not in _AGGREGATES:
            raise ConfigError(
                f"unknown aggregate {self.aggregate!r}; expected one of {', '.join(_AGGREGATES)}"
            )


class Span(NamedTuple):
    """A window: tokens ``[first_token, end_token)`` and characters ``[start_char, end_char)``."""

    first_token: int
    end_token: int
    start_char: int
    end_char: int


def split_spans(
    offsets: Sequence[tuple[int, int]], chunking: Chunking, n_chars: int | None = None
) -> list[Span]:
    """Windows that cover a document's tokens, in order; neighbours share exactly ``overlap`` tokens.

    With stride ``w = max_tokens - overlap`` there are ``m = ⌈(n - overlap) / w⌉`` windows; window ``i``
    is ``[⌊i (n - overlap) / m⌋, ⌊(i + 1) (n - overlap) / m⌋ + overlap)``.

    Args:
        offsets: for each token the characters ``[start, end)`` it stands for, not descending, as
            tokenizers return them; several tokens may stand for one character. No special tokens.
        chunking: length and overlap of the windows.
        n_chars: length of the text; the last window reaches it. None for the end of the last token.

    Returns:
        At least one window. The first starts at character 0; a document that fits, or that has no token,
        is one window over the whole text.
    """
    n_tokens = len(offsets)
    if n_chars is None:
        n_chars = offsets[-1][1] if n_tokens else 0
    if n_tokens <= chunking.max_tokens:
        return [Span(0, n_tokens, 0, n_chars)]
    own_tokens = n_tokens - chunking.overlap
    n_spans = -(-own_tokens // (chunking.max_tokens - chunking.overlap))
    starts = [i * own_tokens // n_spans for i in range(n_spans + 1)]
    spans = []
    for i in range(n_spans):
        first, end = starts[i], starts[i + 1] + chunking.overlap
        start_char = offsets[first][0] if i else 0
        end_char = offsets[end - 1][1] if i < n_spans - 1 else n_chars
        spans.append(Span(first, end, start_char, end_char))
    return spans


def aggregate_scores(
    scores: NDArray[np.floating[Any]], spans_per_document: Sequence[int], chunking: Chunking
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """One score per document from those of its windows.

    Args:
        scores: raw scores of all windows, document after document.
        spans_per_document: windows of each document, each at least 1.
        chunking: says how they are aggregated.

    Returns:
        (n_documents,) scores, and (n_documents,) which of its windows decided: counted from 0 within the
        document, the first of equals. For ``"first"`` that is window 0, for ``"mean_top"`` the best one.

    Raises:
        ConfigError: the counts are not those of the scores.
    """
    if sum(spans_per_document) != len(scores) or any(count < 1 for count in spans_per_document):
        raise ConfigError(
            f"{len(scores)} scores do not match spans_per_document, which sums to "
            f"{sum(spans_per_document)}; expected one score per window and a window for every document"
        )
    document_scores = np.empty(len(spans_per_document), np.float32)
    best_spans = np.zeros(len(spans_per_document), np.int64)
    start = 0
    for row, count in enumerate(spans_per_document):
        of_document = scores[start : start + count]
        start += count
        document_scores[row] = _aggregate(of_document, chunking)
        if chunking.aggregate != "first":
            best_spans[row] = of_document.argmax()
    return document_scores, best_spans


def _aggregate(scores: NDArray[np.floating[Any]], chunking: Chunking) -> float:
    if chunking.aggregate == "first":
        return float(scores[0])
    if chunking.aggregate == "max":
        return float(scores.max())
    return float(np.sort(scores)[-chunking.top :].mean(dtype=np.float64))
