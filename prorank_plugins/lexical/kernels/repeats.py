"""A compiled loop over lists of postings: how many documents contain each term twice, three times..."""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel


@kernel()
def count_repeats(
    indptr: NDArray[np.uint32],
    codes: NDArray[np.uint8],
    code_freqs: NDArray[np.int32],
    large: NDArray[np.int32],
    told: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> int:
    """Write the histograms of lists one after the other; returns how many entries that makes.

    Args:
        indptr, codes: the lists.
        code_freqs: (256,) the term frequency of a code, 0 where it does not tell.
        large: (3, n_large) lists, frequencies and counts where codes do not tell, ascending.
        told: (2, n_freqs) zeros, and left so; n_freqs is above every frequency that a code tells.
        counts: (3, room) written: lists, frequencies from 2 on, ascending within a list, and counts.
    """
    n_written = n_large = 0
    for term in range(indptr.size - 1):
        most = np.int32(1)
        for at in range(indptr[term], indptr[term + 1]):
            freq = code_freqs[codes[at]]
            most = max(most, freq)
            told[at & 1, freq] += 1  # two of them, since one waits for its last count to be written
        for freq in range(most + 1):
            count = told[0, freq] + told[1, freq]
            told[0, freq] = told[1, freq] = 0
            if freq >= 2 and count:
                counts[0, n_written], counts[1, n_written], counts[2, n_written] = term, freq, count
                n_written += 1
        while n_large < large.shape[1] and large[0, n_large] == term:
            for row in range(3):
                counts[row, n_written] = large[row, n_large]
            n_large += 1
            n_written += 1
    return n_written
