"""A compiled loop over the objects of Python lists, told apart by identity."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel
from prorank_plugins.lexical.kernels.objects import append_to, item_at
from prorank_plugins.lexical.kernels.scanning import home

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


@kernel(holds_lock=True)
def number_objects(
    lists: int,
    lengths: NDArray[np.int32],
    kept: int,
    most: int,
    state: NDArray[np.int64],
    slots: NDArray[np.uint64],
    numbers: NDArray[np.int32],
) -> None:
    """Write the number of each object of some lists; one object has one number, in order of appearance.

    Stops at the end, before an object that is new when the table is three quarters full (call again with
    more slots) or holds as many as it may, or where a list is shorter than it was said to be or is none.

    Args:
        lists: address of a list of lists.
        lengths: (n_lists,) their lengths.
        kept: address of the list of all distinct objects, which keeps them alive; new ones are appended.
        most: distinct objects there may be.
        state: list, position in it, numbers written, distinct objects; read and updated.
        slots: (twice a power of two,) pairs: an object's address, or zero where free, and its number.
        numbers: (sum of lengths,) written.
    """
    n_written, n_distinct, start = state[2], state[3], state[1]
    last_slot = np.uint64(slots.size // 2 - 1)
    most = min(most, slots.size // 8 * 3)
    for i in range(state[0], lengths.size):
        objects = item_at(lists, i)
        for at in range(start, lengths[i]):
            item = item_at(objects, at)
            key = np.uint64(item)
            slot = home(key, last_slot)
            found = slots[slot * _TWO]
            while found != key and found != _ZERO:
                slot = (slot + _ONE) & last_slot
                found = slots[slot * _TWO]
            if found == _ZERO:
                if item == 0 or n_distinct >= most or append_to(kept, item) != 0:
                    state[0], state[1], state[2], state[3] = i, at, n_written, n_distinct
                    return
                slots[slot * _TWO] = key
                slots[slot * _TWO + _ONE] = n_distinct
                n_distinct += 1
            numbers[n_written] = slots[slot * _TWO + _ONE]
            n_written += 1
        start = 0
    state[0], state[1], state[2], state[3] = lengths.size, 0, n_written, n_distinct


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
