"""Where a stream of batches is, as JSON data, and whether such data fits a stream."""

from __future__ import annotations

from collections.abc import Mapping
from operator import index as as_index
from typing import Any, TypeVar

import numpy as np

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.shuffling import Passes

T = TypeVar("T")


def cursors_of(passes: Mapping[str, Passes[T]]) -> dict[str, dict[str, int]]:
    """Epoch and position of each of the passes."""
    return {name: {"epoch": one.epoch, "position": one.position} for name, one in passes.items()}


def checked_cursors(
    state: Mapping[str, Any], settings: Mapping[str, Any], passes: Mapping[str, Passes[T]]
) -> dict[str, tuple[int, int]]:
    """``{name: (epoch, position)}`` of a state that fits the stream.

    Args:
        state: as given by the caller.
        settings: of the stream; the state must have the same.
        passes: of the stream.

    Raises:
        ConfigError: no state, or one of other settings or other data.
    """
    if not isinstance(state, Mapping):
        raise ConfigError(f"state is {type(state).__name__}; expected what state() returned")
    for name, value in settings.items():
        if name not in state or state[name] != value:
            found = repr(state[name]) if name in state else "nothing"
            raise ConfigError(
                f"the state has {found} for {name!r}, this stream {value!r}; "
                "resume with the data and settings it was saved with"
            )
    cursors = state.get("cursors")
    if not isinstance(cursors, Mapping) or cursors.keys() != passes.keys():
        raise ConfigError(
            f"the state's cursors are {cursors!r}; expected one for each of {', '.join(passes)}"
        )
    found_cursors = {}
    for name, cursor in cursors.items():
        if not isinstance(cursor, Mapping):
            raise ConfigError(f"the state's cursor {name!r} is {cursor!r}; expected epoch and position")
        found_cursors[name] = (
            whole_number(f"epoch of the state's cursor {name!r}", cursor.get("epoch"), 0),
            whole_number(f"position of the state's cursor {name!r}", cursor.get("position"), 0),
        )
    return found_cursors


def whole_number(name: str, value: Any, minimum: int) -> int:
    """The value as an int.

    Raises:
        ConfigError: not a whole number, or below the minimum.
    """
    try:
        number = as_index(value)
    except TypeError:
        number = minimum - 1
    if isinstance(value, (bool, np.bool_)) or number < minimum:
        raise ConfigError(f"{name} is {value!r}; expected a whole number of at least {minimum}")
    return number
