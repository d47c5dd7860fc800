"""How loops are compiled, and how they reach memory that Python hands over as addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np import arrayobj

_UNBOUNDED = 1 << 60


def kernel(*signatures: Any, holds_lock: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Compile a function; keep the machine code on disk where there is a place for it.

    Args:
        signatures: the types it is compiled for at once; without any, it is compiled when first called.
        holds_lock: keep the interpreter's lock while it runs: for a short loop, or one that reads Python's
            objects.
    """
    options: dict[str, Any] = {"nogil": not holds_lock, "error_model": "numpy"}

    def compiled(function: Callable[..., Any]) -> Any:
        given = (list(signatures),) if signatures else ()
        njit: Any = numba.njit
        try:
            return njit(*given, cache=True, **options)(function)
        except RuntimeError:
            # Neither the package's folder nor the user's cache can be written to, as in a sealed container.
            return njit(*given, **options)(function)

    return compiled


@intrinsic
def _view(typing_context: Any, address: Any, dtype: Any) -> Any:
    kind = types.Array(dtype.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        step = context.get_constant(types.intp, np.dtype(str(dtype.dtype)).itemsize)
        data = builder.inttoptr(arguments[0], array.data.type)
        length = context.get_constant(types.intp, _UNBOUNDED)
        fill: Any = arrayobj.populate_array
        fill(array, data=data, shape=[length], strides=[step], itemsize=step, meminfo=None)
        return array._getvalue()

    return kind(address, dtype), generate


@intrinsic
def _address(typing_context: Any, array: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(data, context.get_value_type(types.int64))

    return types.int64(array), generate


@intrinsic
def _choose(typing_context: Any, condition: Any, this: Any, that: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        chosen = builder.select(*arguments)
        chosen.set_metadata("unpredictable", builder.module.add_metadata([]))
        return chosen

    return this(types.boolean, this, this), generate


@intrinsic
def _prefetch(typing_context: Any, address: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, number = ir.PointerType(ir.IntType(8)), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", (pointer,), kind)
        reading, keep_it, data = number(0), number(3), number(1)
        builder.call(function, [builder.inttoptr(arguments[0], pointer), reading, keep_it, data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def _give_lock_away(typing_context: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        state = context.get_python_api(builder).save_thread()
        return builder.ptrtoint(state, context.get_value_type(types.int64))

    return types.int64(), generate


@intrinsic
def _take_lock_back(typing_context: Any, state: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.PointerType(ir.IntType(8))
        context.get_python_api(builder).restore_thread(builder.inttoptr(arguments[0], pointer))
        return context.get_dummy_value()

    return types.void(types.int64), generate


# The type checker is told what numba makes of them.

view: Any = _view
"""``view(address, dtype)``: memory that somebody else owns as an array of unknown length.

An index is a list of segments, each with a dozen arrays. A table of their addresses costs one argument,
where numba would unpack every array on every call, and hand its parts on to every function called.
``numba.carray`` does the same and takes twice as long to compile.
"""

address: Any = _address
"""The int64 address of an array's data; ``array.ctypes.data`` is a second of compilation."""

choose: Any = _choose
"""``choose(condition, this, that)``: one of two integers of one type, by a conditional move.

A branch that goes either way as often costs twenty times as much; LLVM makes one of ``this if condition
else that`` unless it is told that nobody can predict it.
"""

prefetch: Any = _prefetch
"""``prefetch(address)``: have memory that will be read soon brought near; any address will do."""

give_lock_away: Any = _give_lock_away
"""``give_lock_away()``: let other threads run Python from here on; returns what `take_lock_back` needs.

For kernels with ``holds_lock`` that see for themselves whether their work is worth it.
"""

take_lock_back: Any = _take_lock_back
"""``take_lock_back(state)``: wait for the interpreter's lock."""
