"""Compiled loops of indexing: bytes to numbered runs, runs to terms, terms to counts.

Runs are read eight bytes at a time: up to seven bytes are a number that stands for itself, up to fifteen are
two. Where runs begin and end is told by bits, one a byte, so that no run waits for the one before.
"""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import address, choose, kernel, prefetch

# One instruction; the type checker is told what numba makes of it.
_n_low_zeros: Any = trailing_zeros

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
_FOUR = np.uint64(4)
_SIX = np.uint64(6)
_SEVEN = np.uint64(7)
_EIGHT = np.uint64(8)
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
# Set in hashes of the ninth and later bytes of a run; clear in up to seven bytes as they are.
_IS_HASH = np.uint64(1 << 63)
# Blocks of 64 bytes whose runs are found before they are looked up.
_BLOCKS = np.uint64(32)
# Most blocks have at most so many places where a run begins or ends.
_USUAL_EDGES = 24
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
def _below(n_bytes: np.uint64) -> np.uint64:
    """Ones over the first ``n_bytes mod 8`` bytes of a word."""
    ones: np.uint64 = (_ONE << ((n_bytes & _SEVEN) << _THREE)) - _ONE
    return ones


@kernel()
def _hash(buffer: NDArray[np.uint8], begin: np.uint64, n_bytes: np.uint64) -> np.uint64:
    """The hash of a run without its first eight bytes; told from other second words by its highest bit."""
    key = _ZERO
    for at in range(begin + _EIGHT, begin + n_bytes + _ONE, _EIGHT):
        word = _word(buffer, at)
        if at + _EIGHT > begin + n_bytes:
            word &= _below(n_bytes)
        key = (key ^ word) * _SPREAD
        key ^= key >> np.uint64(32)
    return key | _IS_HASH


@kernel()
def _is_in_arena(
    buffer: NDArray[np.uint8],
    begin: np.uint64,
    n_bytes: np.uint64,
    arena: NDArray[np.uint64],
    first: np.uint64,
) -> bool:
    """Whether a run is the one that begins at a place of the arena."""
    n_whole = n_bytes >> _THREE
    for i in range(n_whole):
        if arena[first + i] != _word(buffer, begin + (i << _THREE)):
            return False
    last = _word(buffer, begin + (n_whole << _THREE)) & _below(n_bytes)
    return bool(arena[first + n_whole] == last)


@kernel()
def _n_ones(bits: np.uint64) -> np.uint64:
    """How many of 64 bits are set (Warren, *Hacker's Delight*, 5-1); compiles to one instruction."""
    bits = bits - ((bits >> _ONE) & np.uint64(0x5555555555555555))
    bits = (bits & np.uint64(0x3333333333333333)) + ((bits >> _TWO) & np.uint64(0x3333333333333333))
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    n: np.uint64 = (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)
    return n


@kernel()
def _find_edges(
    solid: NDArray[np.uint64],
    block: np.uint64,
    kept: np.uint64,
    edges: NDArray[np.uint64],
    n_edges: np.uint64,
) -> np.uint64:
    """Write where runs begin and end in some blocks of 64 bytes, in turn; returns how many edges there are.

    Args:
        solid: for each block 64 bits that tell which bytes belong to runs.
        block: the first.
        kept: the bits that are looked at in the first.
        edges: what was found so far, and room for more; what stands after the edges is of no account.
        n_edges: edges so far; an odd one is the beginning of a run that ends in these blocks or later.
    """
    before = n_edges & _ONE
    for i in range(block, min(block + _BLOCKS, np.uint64(solid.size))):
        bits = solid[i] & kept
        kept = _ALL
        changes = bits ^ ((bits << _ONE) | before)
        before = bits >> np.uint64(63)
        at, n_edges = n_edges, n_edges + _n_ones(changes)
        # Few blocks have more; to end at the last edge would be a branch that could not be predicted.
        for _ in range(_USUAL_EDGES):
            edges[at] = (i << _SIX) + _n_low_zeros(changes)
            changes &= changes - _ONE
            at += _ONE
        while changes != _ZERO:
            edges[at] = (i << _SIX) + _n_low_zeros(changes)
            changes &= changes - _ONE
            at += _ONE
    return n_edges


@kernel()
def number_runs(
    buffer: NDArray[np.uint8],
    solid: NDArray[np.uint64],
    state: NDArray[np.int64],
    slots: NDArray[np.uint64],
    arena: NDArray[np.uint64],
    runs: NDArray[np.int32],
) -> None:
    """Write the number of each run of non-zero bytes in ``buffer``; equal bytes have equal numbers.

    Stops at the end of the buffer, or before a run that is new when the table is three quarters full: call
    again with more slots.

    Args:
        buffer: bytes that end with at least sixteen zeros.
        solid: for each 64 of these bytes, or bytes beyond them, 64 bits that tell which are not zero.
        state: position in the buffer, runs written, distinct runs so far, words of ``arena`` in use;
            read and updated.
        slots: (four times a power of two,) of each run: its first eight bytes, or zero where free; the
            next ones, or a hash of all others if there are more than seven; its number; where its bytes
            begin in ``arena``. Runs with equal hashes are compared.
        arena: the distinct runs, each padded with one to eight zero bytes; has room for half as many
            words as there are bytes in the buffer.
        runs: room for half as many numbers as there are bytes in the buffer.
    """
    at = np.uint64(state[0])
    n_written = np.uint64(state[1])
    n_runs = np.uint64(state[2])
    used = np.uint64(state[3])
    end = np.uint64(solid.size) << _SIX
    last_slot = np.uint64(slots.size // 4 - 1)
    most_runs = np.uint64(slots.size // 16 * 3)
    edges = np.empty((np.int64(_BLOCKS) << 6) + 1 + _USUAL_EDGES, np.uint64)
    n_edges = _ZERO
    # Of the runs of some blocks, both words and the slot, which is fetched before it is looked at.
    looked_up = np.empty((np.int64(_BLOCKS) << 5, 3), np.uint64)
    table = address(slots)
    while at < end:
        n_edges = _find_edges(solid, at >> _SIX, _ALL << (at & np.uint64(63)), edges, n_edges)
        at = ((at >> _SIX) + _BLOCKS) << _SIX
        n_looked_up = _ZERO
        for edge in range(_ZERO, n_edges & ~_ONE, _TWO):
            begin = edges[edge]
            n_bytes = edges[edge + _ONE] - begin
            # Most runs have up to seven bytes, but a branch could not be predicted; sixteen are rare.
            is_short = n_bytes < _EIGHT
            head = _word(buffer, begin) & choose(is_short, _below(n_bytes), _ALL)
            tail = _word(buffer, begin + _EIGHT) & choose(is_short, _ZERO, _below(n_bytes))
            if n_bytes >= _EIGHT + _EIGHT:
                tail = _hash(buffer, begin, n_bytes)
            slot = home(head ^ (tail * _SPREAD), last_slot) << _TWO
            prefetch(table + np.int64(slot << _THREE))
            looked_up[n_looked_up, 0], looked_up[n_looked_up, 1], looked_up[n_looked_up, 2] = head, tail, slot
            n_looked_up += _ONE
        for i in range(n_looked_up):
            head, tail, slot = looked_up[i, 0], looked_up[i, 1], looked_up[i, 2]
            begin = edges[i << _ONE]
            n_bytes = edges[(i << _ONE) + _ONE] - begin
            is_long = n_bytes >= _EIGHT + _EIGHT
            while slots[slot] != _ZERO:
                differ = (slots[slot] ^ head) | (slots[slot + _ONE] ^ tail)
                if differ == _ZERO and (
                    not is_long or _is_in_arena(buffer, begin, n_bytes, arena, slots[slot + _THREE])
                ):
                    break
                slot = ((slot >> _TWO) + _ONE & last_slot) << _TWO
            if slots[slot] == _ZERO:
                if n_runs >= most_runs:
                    at = begin
                    end = _ZERO
                    break
                slots[slot] = head
                slots[slot + _ONE] = tail
                slots[slot + _TWO] = n_runs
                slots[slot + _THREE] = used
                for j in range(n_bytes >> _THREE):
                    arena[used] = _word(buffer, begin + (j << _THREE))
                    used += _ONE
                arena[used] = _word(buffer, begin + (n_bytes & ~_SEVEN)) & _below(n_bytes)
                used += _ONE
                n_runs += _ONE
            runs[n_written] = slots[slot + _TWO]
            n_written += _ONE
        edges[0] = edges[n_edges & ~_ONE]
        n_edges &= _ONE
    state[0] = at
    state[1] = n_written
    state[2] = n_runs
    state[3] = used


@kernel()
def move_runs(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> None:
    """Put the entries of a table of runs into a larger one, which is all zeros."""
    last_slot = np.uint64(new.size // 4 - 1)
    for at in range(_ZERO, np.uint64(old.size), _FOUR):
        if old[at] != _ZERO:
            slot = home(old[at] ^ (old[at + _ONE] * _SPREAD), last_slot) << _TWO
            while new[slot] != _ZERO:
                slot = ((slot >> _TWO) + _ONE & last_slot) << _TWO
            for i in range(_FOUR):
                new[slot + i] = old[at + i]


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
