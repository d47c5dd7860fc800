"""A compiled loop over the objects of Python lists, told apart by identity."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel
from prorank_plugins.lexical.kernels.scanning import home

_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)


@intrinsic
def _item(typing_context: Any, address: Any, at: Any) -> Any:
    """Address of the object at a place of the list at an address, 0 if there is none: ``PyList_GetItem``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        objects = builder.inttoptr(arguments[0], python.pyobj)
        item = python.list_getitem(objects, arguments[1])  # a borrowed reference
        with builder.if_then(builder.icmp_unsigned("==", item, item.type(None)), likely=False):
            python.err_clear()
        return builder.ptrtoint(item, context.get_value_type(types.int64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _append(typing_context: Any, address: Any, item: Any) -> Any:
    """Append the object at an address to the list at an address; 0 if that worked: ``PyList_Append``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        status = python.list_append(*(builder.inttoptr(each, python.pyobj) for each in arguments))
        with builder.if_then(builder.icmp_signed("<", status, status.type(0)), likely=False):
            python.err_clear()
        return builder.sext(status, context.get_value_type(types.int64))

    return types.int64(types.int64, types.int64), generate


# The type checker is told what numba makes of the two.
_item_at: Any = _item
_append_to: Any = _append


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
        objects = _item_at(lists, i)
        for at in range(start, lengths[i]):
            item = _item_at(objects, at)
            key = np.uint64(item)
            slot = home(key, last_slot)
            found = slots[slot * _TWO]
            while found != key and found != _ZERO:
                slot = (slot + _ONE) & last_slot
                found = slots[slot * _TWO]
            if found == _ZERO:
                if item == 0 or n_distinct >= most or _append_to(kept, item) != 0:
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
