"""A compiled loop over distinct runs: the word that is easily seen to be all of a run."""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel

_APOSTROPHE = ord("'")


@kernel()
def _is_clitic(packed: NDArray[np.uint8], begin: int, end: int) -> bool:
    """Whether some bytes are s, t, d, m, ll, re or ve."""
    first = packed[begin]
    if end - begin == 1:
        return bool(first == ord("s") or first == ord("t") or first == ord("d") or first == ord("m"))
    if end - begin != 2:
        return False
    second = packed[begin + 1]
    if first == ord("l"):
        return bool(second == ord("l"))
    return bool(second == ord("e") and (first == ord("r") or first == ord("v")))


@kernel()
def _word_in(packed: NDArray[np.uint8], begin: int, end: int) -> tuple[int, int]:
    """Begin and end of the only word of a run of letters, digits and apostrophes; equal if none is seen."""
    while begin < end and packed[begin] == _APOSTROPHE:
        begin += 1
    while begin < end and packed[end - 1] == _APOSTROPHE:
        end -= 1
    stop = begin
    while stop < end and packed[stop] != _APOSTROPHE:
        stop += 1
    return begin, stop if stop == end or _is_clitic(packed, stop + 1, end) else begin


@kernel()
def read_words(
    packed: NDArray[np.uint8],
    kinds: NDArray[np.uint8],
    words: NDArray[np.uint8],
    marked: NDArray[np.int32],
    unseen: NDArray[np.int32],
    sizes: NDArray[np.int64],
) -> None:
    """Write the words of runs as `prorank_plugins.lexical.packed_runs.only_word` sees them in ASCII.

    Args:
        packed: runs with zeros between them and one at the end.
        kinds: (256,) 0 for letters and digits of ASCII, 1 for the apostrophe, 2 for all others.
        words: as long as ``packed``; written, each word with a blank after it, ``?`` if none is seen.
        marked: (n_runs or more,) written, places of the runs that are not letters and digits alone.
        unseen: (n_runs or more, 3) written, place, begin and end of those whose word is not seen.
        sizes: (3,) written, how much of ``words``, ``marked`` and ``unseen`` is.
    """
    n_bytes = n_marked = n_unseen = place = at = 0
    while at < packed.size:
        begin, kind = at, np.uint8(0)
        while packed[at] != 0:
            kind = max(kind, kinds[packed[at]])
            at += 1
        start, stop = begin, at
        at += 1
        if start == stop:
            continue
        if kind > 0:
            marked[n_marked] = place
            n_marked += 1
            start, stop = _word_in(packed, start, stop) if kind == 1 else (begin, begin)
            if start == stop:
                unseen[n_unseen, 0], unseen[n_unseen, 1], unseen[n_unseen, 2] = place, begin, at - 1
                n_unseen += 1
                words[n_bytes] = ord("?")
                n_bytes += 1
        for i in range(start, stop):
            words[n_bytes] = packed[i]
            n_bytes += 1
        words[n_bytes] = ord(" ")
        n_bytes += 1
        place += 1
    sizes[0], sizes[1], sizes[2] = n_bytes, n_marked, n_unseen
