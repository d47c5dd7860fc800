"""Arrays as the kernels are compiled for them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray


def read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array, protected from writes: kernels are compiled once, for the type mapped files have."""
    array.flags.writeable = False
    return array
