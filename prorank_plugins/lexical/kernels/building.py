"""Counts of documents to lists of postings, and lists of several segments to those of one."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel

_I32 = types.Array(types.int32, 1, "C", readonly=True)
_U32 = types.Array(types.uint32, 1, "C", readonly=True)
_U16 = types.Array(types.uint16, 1, "C", readonly=True)
_U8 = types.Array(types.uint8, 1, "C", readonly=True)
_CODE_OF = types.Array(types.uint8, 2, "C", readonly=True)
_LISTS = (types.uint32[::1], types.uint16[::1], types.uint8[::1], types.uint32[::1], types.int32[::1])


@kernel()
def count(numbers: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
    """Add to each of ``counts`` how often its place occurs among ``numbers``."""
    for i in range(numbers.size):
        counts[np.uint64(numbers[i])] += 1


@kernel(types.int64(_I32, _I32, _I32, _CODE_OF, _U8, *_LISTS))
def transpose(
    terms: NDArray[np.int32],
    freqs: NDArray[np.int32],
    n_distinct: NDArray[np.int32],
    code_of: NDArray[np.uint8],
    buckets: NDArray[np.uint8],
    next_place: NDArray[np.uint32],
    docs: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    large_places: NDArray[np.uint32],
    large_freqs: NDArray[np.int32],
) -> int:
    """Move counts grouped by document to lists grouped by term; returns how many frequencies are large.

    Args:
        terms, freqs: (n_postings,) terms, by any numbers, and frequencies, document after document.
        n_distinct: (n_docs,) how many of these each document owns.
        code_of: (n_freqs, n_buckets) code of a frequency and a length; the last row is for large ones.
        buckets: (n_docs,) the length's column in ``code_of``.
        next_place: where the list of the term with each number begins; changed.
        docs, codes: (n_postings,) the lists, written.
        large_places, large_freqs: room for the frequencies that codes do not tell, written in any order.
    """
    most = code_of.shape[0]
    n_large = 0
    read = 0
    for doc in range(n_distinct.size):
        bucket = buckets[doc]
        for _ in range(n_distinct[doc]):
            term = np.uint64(terms[read])
            freq = freqs[read]
            read += 1
            place = next_place[term]
            next_place[term] = place + np.uint32(1)
            docs[place] = doc
            if freq < most:
                codes[place] = code_of[np.uint64(freq - 1), bucket]
            else:
                codes[place] = code_of[most - 1, bucket]
                large_places[n_large] = place
                large_freqs[n_large] = freq
                n_large += 1
    return n_large


@kernel()
def append_lists(
    new_term: NDArray[np.int32],
    indptr: NDArray[np.uint32],
    old_docs: NDArray[np.uint16],
    freqs: NDArray[np.int32],
    new_doc: NDArray[np.int32],
    code_of: NDArray[np.uint8],
    buckets: NDArray[np.uint8],
    next_place: NDArray[np.uint32],
    docs: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    large_places: NDArray[np.uint32],
    large_freqs: NDArray[np.int32],
    n_large: int,
) -> int:
    """Append the lists of one segment to those of a larger one; as `transpose` otherwise.

    Args:
        new_term: (n_old_terms,) each term's number in the larger segment, -1 if it has no document left.
        indptr, old_docs, freqs: the segment's lists.
        new_doc: (n_old_docs,) each document's number in the larger segment, -1 for a deleted one.
        n_large: large frequencies so far.
    """
    most = code_of.shape[0]
    for old in range(new_term.size):
        term = new_term[old]
        if term < 0:
            continue
        place = next_place[term]
        for at in range(indptr[old], indptr[old + 1]):
            doc = new_doc[old_docs[at]]
            if doc < 0:
                continue
            docs[place] = doc
            freq = freqs[at]
            if freq < most:
                codes[place] = code_of[freq - 1, buckets[doc]]
            else:
                codes[place] = code_of[most - 1, buckets[doc]]
                large_places[n_large] = place
                large_freqs[n_large] = freq
                n_large += 1
            place += np.uint32(1)
        next_place[term] = place
    return n_large


@kernel(types.void(_U32, _U8, types.uint8[::1], types.uint8[:, ::1]))
def best_codes(
    indptr: NDArray[np.uint32],
    codes: NDArray[np.uint8],
    highest: NDArray[np.uint8],
    levels: NDArray[np.uint8],
) -> None:
    """The highest code of each list; those of the 10th, 100th and 1000th best posting of long lists, else 0.

    Args:
        indptr, codes: of the lists.
        highest: (n_terms,) written.
        levels: (n_long, 3) written; a list is long from 10 postings on.
    """
    histogram = np.zeros(256, np.int64)
    n_long = 0
    for term in range(highest.size):
        begin = indptr[term]
        end = indptr[term + 1]
        most = np.uint8(0)
        for at in range(begin, end):
            if codes[at] > most:
                most = codes[at]
        highest[term] = most
        if end - begin < 10:
            continue
        for at in range(begin, end):
            histogram[codes[at]] += 1
        levels[n_long, 0] = levels[n_long, 1] = levels[n_long, 2] = 0
        before = 0
        for code in range(np.int64(most), -1, -1):
            count = histogram[code]
            histogram[code] = 0
            if before < 10 <= before + count:
                levels[n_long, 0] = code
            if before < 100 <= before + count:
                levels[n_long, 1] = code
            if before < 1000 <= before + count:
                levels[n_long, 2] = code
            before += count
        n_long += 1


@kernel()
def first_fault(
    indptr: NDArray[np.uint32],
    docs: NDArray[np.uint16],
    codes: NDArray[np.uint8],
    freqs: NDArray[np.int32],
    lengths: NDArray[np.int32],
    limits: NDArray[np.float32],
) -> int:
    """The first list whose documents do not ascend, or are out of range or of what their codes say; else -1.

    ``indptr`` must ascend and end within the other arrays.
    """
    for term in range(indptr.size - 1):
        last = -1
        for at in range(indptr[term], indptr[term + 1]):
            doc = np.int64(docs[at])
            if doc <= last or doc >= lengths.size:
                return term
            last = doc
            code = codes[at]
            freq = np.float32(freqs[at])
            length = np.float32(lengths[doc])
            # Written so that a limit that is no number is a fault.
            if not (
                limits[2, code] <= freq <= limits[0, code] and limits[1, code] <= length <= limits[3, code]
            ):
                return term
    return -1
