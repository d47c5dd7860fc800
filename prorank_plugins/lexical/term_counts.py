"""How often each term occurs in each document, grouped by document."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class TermCounts:
    """Distinct terms of consecutive documents with their frequencies, grouped by document.

    Attributes:
        terms: (n_postings,) term numbers; those of one document are distinct.
        term_freqs: (n_postings,) occurrences.
        n_distinct: (n_docs,) how many positions above each document owns.
        lengths: (n_docs,) |D|: tokens in each document, repeats included.
    """

    terms: NDArray[np.int32]
    term_freqs: NDArray[np.int32]
    n_distinct: NDArray[np.int32]
    lengths: NDArray[np.int32]

    @classmethod
    def concatenate(cls, parts: Sequence[TermCounts]) -> TermCounts:
        """The counts of several batches of documents, in order."""
        if len(parts) == 1:
            return parts[0]
        empty = np.empty(0, np.int32)
        return cls(
            *(
                np.concatenate([getattr(part, name) for part in parts]) if parts else empty
                for name in ("terms", "term_freqs", "n_distinct", "lengths")
            )
        )
