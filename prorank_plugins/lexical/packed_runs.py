"""Many runs in one bytes object with zeros between: most are words as they are, few are looked at alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# Zeros separate runs; letters, digits and apostrophes stay what they are; the others are read from the run.
_BLANK, _APOSTROPHE, _UNCLEAR = b" '_"
_KINDS = bytes(
    byte if byte < 128 and (chr(byte).isalnum() or byte == _APOSTROPHE) else _UNCLEAR if byte else _BLANK
    for byte in range(256)
)


def pack(runs: Iterable[bytes]) -> bytes:
    """Runs, not empty and without zeros, as the functions below take them."""
    return b"\0".join(runs)


def unpack(packed: bytes) -> list[bytes]:
    """The runs; any number of zeros may stand between them, before and after."""
    return list(filter(None, packed.split(b"\0")))


def read(packed: bytes) -> tuple[list[str], list[int]]:
    """The (n_runs,) runs as text, and the places of those that are not ASCII letters and digits alone.

    Args:
        packed: runs in UTF-8, lone surrogates included.
    """
    kinds = packed.translate(_KINDS)
    texts = kinds.decode("ascii").split()
    bounded = np.frombuffer(b" " + kinds + b" ", np.uint8)
    is_blank = bounded == _BLANK
    starts = np.flatnonzero(is_blank[:-1] & ~is_blank[1:])
    is_unclear = bounded == _UNCLEAR
    marks = np.flatnonzero(is_unclear | (bounded == _APOSTROPHE))
    places = np.searchsorted(starts, marks) - 1
    unclear = _once(places[is_unclear[marks]])
    ends = np.flatnonzero(~is_blank[:-1] & is_blank[1:])[unclear]
    spans = zip(unclear.tolist(), starts[unclear].tolist(), ends.tolist(), strict=True)
    for place, start, end in spans:
        texts[place] = packed[start:end].decode("utf-8", "surrogatepass")
    return texts, _once(places).tolist()


def _once(ascending: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each of ascending numbers of at least 0 once."""
    return ascending[np.diff(ascending, prepend=-1) > 0]
