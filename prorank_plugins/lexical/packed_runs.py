"""Many runs in one bytes object with zeros between: most are words as they are, few are looked at alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

# Zeros separate words; letters and digits make them; whatever else makes a run that needs a closer look.
_BLANK, _OTHER = ord(" "), ord("_")
_PLAIN = bytes(
    byte if byte < 128 and chr(byte).isalnum() else _OTHER if byte else _BLANK for byte in range(256)
)


def pack(runs: Iterable[bytes]) -> bytes:
    """Runs, not empty and without zeros, as the functions below take them."""
    return b"\0".join(runs)


def unpack(packed: bytes) -> list[bytes]:
    """The runs; any number of zeros may stand between them, before and after."""
    return list(filter(None, packed.split(b"\0")))


def plain_words(packed: bytes) -> list[str]:
    """The (n_runs,) runs as text; right for those of ASCII letters and digits, nonsense for `other_runs`."""
    return packed.translate(_PLAIN).decode("ascii").split()


def other_runs(packed: bytes) -> tuple[list[int], list[str]]:
    """Runs of other than ASCII letters and digits: how many runs stand before each, and its text.

    Args:
        packed: runs in UTF-8, lone surrogates included.
    """
    kinds = np.frombuffer(b" " + packed.translate(_PLAIN) + b" ", np.uint8)
    is_blank = kinds == _BLANK
    starts = np.flatnonzero(is_blank[:-1] & ~is_blank[1:])
    places = np.searchsorted(starts, np.flatnonzero(kinds == _OTHER), "left") - 1
    places = places[np.diff(places, prepend=-1) > 0]
    ends = np.flatnonzero(~is_blank[:-1] & is_blank[1:])[places]
    spans = zip(starts[places].tolist(), ends.tolist(), strict=True)
    text = pack([packed[start:end] for start, end in spans]).decode("utf-8", "surrogatepass")
    return places.tolist(), text.split("\0") if text else []
