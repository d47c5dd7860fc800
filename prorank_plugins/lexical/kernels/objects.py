"""How compiled loops read Python's objects: by their addresses, holding the interpreter's lock.

What a failed call left to be raised is forgotten; its result says that it failed.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

# The type checker knows neither's arguments.
_variable: Any = cgutils.alloca_once_value
_tuple_of: Any = types.UniTuple

_PAIR = _tuple_of(types.int64, 2)


@intrinsic
def _item(typing_context: Any, address: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        objects = builder.inttoptr(arguments[0], python.pyobj)
        item = python.list_getitem(objects, arguments[1])
        _forget_if_null(python, builder, item)
        return builder.ptrtoint(item, context.get_value_type(types.int64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _append(typing_context: Any, address: Any, item: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        status = python.list_append(*(builder.inttoptr(each, python.pyobj) for each in arguments))
        with builder.if_then(builder.icmp_signed("<", status, status.type(0)), likely=False):
            python.err_clear()
        return builder.sext(status, context.get_value_type(types.int64))

    return types.int64(types.int64, types.int64), generate


@intrinsic
def _utf8(typing_context: Any, text: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        text = builder.inttoptr(arguments[0], python.pyobj)
        _, data, length = python.string_as_string_and_size(text)
        _forget_if_null(python, builder, data)
        return context.make_tuple(builder, _PAIR, [builder.ptrtoint(data, length.type), length])

    return _PAIR(types.int64), generate


@intrinsic
def _bytes(typing_context: Any, content: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        python = context.get_python_api(builder)
        data = _variable(builder, python.cstring(None))
        length = _variable(builder, python.py_ssize_t(0))
        python.bytes_as_string_and_size(builder.inttoptr(arguments[0], python.pyobj), data, length)
        found = builder.load(data)
        _forget_if_null(python, builder, found)
        pair = [builder.ptrtoint(found, python.py_ssize_t), builder.load(length)]
        return context.make_tuple(builder, _PAIR, pair)

    return _PAIR(types.int64), generate


def _forget_if_null(python: Any, builder: Any, pointer: Any) -> None:
    with builder.if_then(builder.icmp_unsigned("==", pointer, pointer.type(None)), likely=False):
        python.err_clear()


# The type checker is told what numba makes of them.

item_at: Any = _item
"""``item_at(list, at)``: address of the object at a place, 0 if there is none: ``PyList_GetItem``."""

append_to: Any = _append
"""``append_to(list, item)``: append an object to a list; 0 if that worked: ``PyList_Append``."""

utf8_of: Any = _utf8
"""``utf8_of(text)``: address and length of the UTF-8 of a str, address 0 if it is none.

``PyUnicode_AsUTF8AndSize``: of ASCII these are the characters as they lie in the object, of other texts a
copy that stays with the object.
"""

bytes_of: Any = _bytes
"""``bytes_of(content)``: address and length of bytes, address 0 if not: ``PyBytes_AsStringAndSize``."""
