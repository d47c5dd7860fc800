"""Compiled loops of indexing: bytes to numbered runs, runs to terms, terms to counts.

Runs are read eight bytes at a time. In a word ``w`` of eight bytes, ``(w - 0x01…01) & ~w & 0x80…80`` has
its lowest bit in the first byte that is zero (Mycroft; Warren, *Hacker's Delight*, 6-1), so a run of up to
seven bytes is found and cut out without a loop, and is a number that stands for itself.
"""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel

# One instruction; the type checker is told what numba makes of it.
_n_low_zeros: Any = trailing_zeros

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_EIGHT = np.uint64(8)
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
# Set in keys of runs of eight bytes and more, which are hashes; the keys of shorter runs leave it clear.
_IS_HASH = np.uint64(1 << 63)
_RUN_NUMBER = np.uint64(0xFFFFFFFF)
# An odd number near 2⁶⁴ / golden ratio: its products spread close keys far apart (Knuth, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


@kernel()
def _word(buffer: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    """Eight bytes, the first one lowest; compiles to one load."""
    word: np.uint64 = (
        np.uint64(buffer[at])
        | np.uint64(buffer[at + np.uint64(1)]) << np.uint64(8)
        | np.uint64(buffer[at + np.uint64(2)]) << np.uint64(16)
        | np.uint64(buffer[at + np.uint64(3)]) << np.uint64(24)
        | np.uint64(buffer[at + np.uint64(4)]) << np.uint64(32)
        | np.uint64(buffer[at + np.uint64(5)]) << np.uint64(40)
        | np.uint64(buffer[at + np.uint64(6)]) << np.uint64(48)
        | np.uint64(buffer[at + np.uint64(7)]) << np.uint64(56)
    )
    return word


@kernel()
def home(key: np.uint64, last_slot: np.uint64) -> np.uint64:
    """The slot where the search for a key begins."""
    mixed = (key ^ (key >> np.uint64(32))) * _SPREAD
    slot: np.uint64 = (mixed >> np.uint64(32)) & last_slot
    return slot


@kernel()
def number_runs(
    buffer: NDArray[np.uint8],
    state: NDArray[np.int64],
    slots: NDArray[np.uint64],
    arena: NDArray[np.uint64],
    runs: NDArray[np.int32],
) -> None:
    """Write the number of each run of non-zero bytes in ``buffer``; equal bytes have equal numbers.

    Stops at the end of the buffer, or before a run that is new when the table is three quarters full: call
    again with more slots.

    Args:
        buffer: bytes that end with at least eight zeros.
        state: position in the buffer, runs written, distinct runs so far, words of ``arena`` in use;
            read and updated.
        slots: (twice a power of two,) pairs: key, or zero where free; run number, and from bit 32 on
            where its bytes begin in ``arena``. Runs of up to seven bytes are their own keys; longer
            ones with equal keys are compared.
        arena: the distinct runs, each padded with one to eight zero bytes; has room for half as many
            words as there are bytes in the buffer.
        runs: room for half as many numbers as there are bytes in the buffer.
    """
    at = np.uint64(state[0])
    n_written = np.uint64(state[1])
    n_runs = np.uint64(state[2])
    used = np.uint64(state[3])
    end = np.uint64(buffer.size) - _EIGHT
    last_slot = np.uint64(slots.size // 2 - 1)
    most_runs = np.uint64(slots.size // 8 * 3)
    while at < end:
        word = _word(buffer, at)
        zeros = (word - _LOW_BITS) & ~word & _HIGH_BITS
        key = _ZERO
        stop = at
        while zeros == _ZERO:
            key = (key ^ word) * _SPREAD
            key ^= key >> np.uint64(32)
            stop += _EIGHT
            word = _word(buffer, stop)
            zeros = (word - _LOW_BITS) & ~word & _HIGH_BITS
        inside = ((zeros & (_ZERO - zeros)) - _ONE) >> np.uint64(7)  # ones over the bytes before the zero
        tail = word & inside
        n_whole = (stop - at) >> np.uint64(3)
        stop += _n_low_zeros(zeros) >> np.uint64(3)
        if stop == at:
            at += _ONE
            continue
        key = tail if n_whole == _ZERO else ((key ^ tail) * _SPREAD) | _IS_HASH
        slot = home(key, last_slot)
        while True:
            found = slots[slot * _TWO]
            if found == key:
                if n_whole == _ZERO:
                    break
                first = slots[slot * _TWO + _ONE] >> np.uint64(32)
                i = _ZERO
                while i < n_whole and arena[first + i] == _word(buffer, at + (i << np.uint64(3))):
                    i += _ONE
                if i == n_whole and arena[first + i] == tail:
                    break
            elif found == _ZERO:
                break
            slot = (slot + _ONE) & last_slot
        if found == _ZERO:
            if n_runs >= most_runs:
                break
            slots[slot * _TWO] = key
            slots[slot * _TWO + _ONE] = n_runs | (used << np.uint64(32))
            for i in range(n_whole):
                arena[used + i] = _word(buffer, at + (i << np.uint64(3)))
            arena[used + n_whole] = tail
            used += n_whole + _ONE
            n_runs += _ONE
        runs[n_written] = slots[slot * _TWO + _ONE] & _RUN_NUMBER
        n_written += _ONE
        at = stop + _ONE
    state[0] = at
    state[1] = n_written
    state[2] = n_runs
    state[3] = used


@kernel()
def move_slots(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> None:
    """Put the entries of a table into a larger one, which is all zeros."""
    last_slot = np.uint64(new.size // 2 - 1)
    for at in range(np.uint64(old.size // 2)):
        key = old[at * _TWO]
        if key != _ZERO:
            slot = home(key, last_slot)
            while new[slot * _TWO] != _ZERO:
                slot = (slot + _ONE) & last_slot
            new[slot * _TWO] = key
            new[slot * _TWO + _ONE] = old[at * _TWO + _ONE]


@kernel()
def spell_out(
    runs: NDArray[np.int32],
    indptr: NDArray[np.int64],
    run_terms: NDArray[np.int32],
    terms: NDArray[np.int32],
    lengths: NDArray[np.int32],
) -> int:
    """Write the terms of runs one after the other, and the lengths of documents; returns how many terms.

    Run 0 ends a document; run ``r`` stands for ``run_terms[indptr[r]:indptr[r + 1]]``. Where ``terms`` is
    too short, nothing is written beyond its end: call again with room for as many as were returned.
    """
    n_docs = 0
    n_terms = np.uint64(0)
    start = np.uint64(0)
    room = np.uint64(terms.size)
    for at in range(np.uint64(runs.size)):
        run = np.uint64(runs[at])
        if run == _ZERO:
            lengths[n_docs] = n_terms - start
            n_docs += 1
            start = n_terms
            continue
        first = np.uint64(indptr[run])
        n = np.uint64(indptr[run + _ONE]) - first
        if n_terms + n < room:
            terms[n_terms] = run_terms[first]  # whether or not there is one: a branch costs more
            for i in range(_ONE, n):
                terms[n_terms + i] = run_terms[first + i]
        n_terms += n
    return int(n_terms)


@kernel()
def count_terms(
    tokens: NDArray[np.int32],
    lengths: NDArray[np.int32],
    places: NDArray[np.int32],
    terms: NDArray[np.int32],
    term_freqs: NDArray[np.int32],
    n_distinct: NDArray[np.int32],
) -> int:
    """Count the distinct terms of consecutive documents; returns how many were written.

    Args:
        tokens: term numbers of the documents, one after the other.
        lengths: (n_docs,) tokens of each document.
        places: (n_terms,) working memory with any content: a place is believed only if it lies in the
            document and names the term (Briggs & Torczon's sparse sets, 1993).
        terms: room for one entry a token; grouped by document.
        term_freqs: room as for ``terms``; occurrences of each.
        n_distinct: (n_docs,) distinct terms of each document.
    """
    written = np.uint64(0)
    read = np.uint64(0)
    for doc in range(lengths.size):
        start = written
        for _ in range(lengths[doc]):
            term = tokens[read]
            read += _ONE
            place = np.uint64(places[np.uint64(term)])
            if start <= place < written and terms[place] == term:
                term_freqs[place] += 1
            else:
                places[np.uint64(term)] = written
                terms[written] = term
                term_freqs[written] = 1
                written += _ONE
        n_distinct[doc] = written - start
    return int(written)
