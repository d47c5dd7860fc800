"""A compiled loop over the objects of a Python list, told apart by identity."""

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
    """The address of the object at a place of the list at an address, by CPython's ``PyList_GetItem``."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        objects = builder.inttoptr(arguments[0], python.pyobj)
        item = python.list_getitem(objects, arguments[1])  # a borrowed reference
        return builder.ptrtoint(item, context.get_value_type(types.uint64))

    return types.uint64(types.int64, types.int64), generate


# The type checker is told what numba makes of it.
_item_at: Any = _item


@kernel(holds_lock=True)
def number_objects(
    objects: int,
    n_objects: int,
    most_new: int,
    state: NDArray[np.int64],
    slots: NDArray[np.uint64],
    numbers: NDArray[np.int32],
    firsts: NDArray[np.int32],
) -> None:
    """Write the number of each object of a list; one object has one number, in order of first appearance.

    Stops at the end of the list, before an object that is new when the table is three quarters full (call
    again with more slots), or when there are too many new objects.

    Args:
        objects: address of the list, which nobody changes meanwhile and whose objects outlive the table.
        n_objects: its length.
        most_new: new objects to stop at.
        state: position in the list, distinct objects so far, new ones of this list; read and updated.
        slots: (twice a power of two,) pairs: an object's address, or zero where free, and its number.
        numbers: (n_objects,) written.
        firsts: room for ``most_new`` places where new objects stand first.
    """
    n_distinct, n_new = state[1], state[2]
    last_slot = np.uint64(slots.size // 2 - 1)
    most_distinct = slots.size // 8 * 3
    at = state[0]
    while at < n_objects:
        key = _item_at(objects, at)
        slot = home(key, last_slot)
        found = slots[slot * _TWO]
        while found != key and found != _ZERO:
            slot = (slot + _ONE) & last_slot
            found = slots[slot * _TWO]
        if found == _ZERO:
            if n_distinct >= most_distinct or n_new >= most_new:
                break
            slots[slot * _TWO] = key
            slots[slot * _TWO + _ONE] = n_distinct
            firsts[n_new] = at
            n_distinct += 1
            n_new += 1
        numbers[at] = slots[slot * _TWO + _ONE]
        at += 1
    state[0], state[1], state[2] = at, n_distinct, n_new
