"""Many runs in one bytes object with zeros between: most are words as they are, few are looked at alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

# What is shorter is not worth compiled code.
_FEW_BYTES = 1 << 14

# What English appends with an apostrophe, as `words.drop_english_clitics` has it, in lowered runs.
_CLITICS = frozenset(("s", "t", "d", "m", "ll", "re", "ve"))

# Letters and digits, apostrophes, and what is no part of an ASCII word.
_PLAIN, _APOSTROPHE, _OTHER = range(3)
_KINDS = bytes(
    _PLAIN if byte < 128 and chr(byte).isalnum() else _APOSTROPHE if byte == ord("'") else _OTHER
    for byte in range(256)
)


class Words(NamedTuple):
    """Runs as words.

    Attributes:
        words: (n_runs,) the word of each run if one is seen, else the run itself.
        marked: ascending places of the runs that are not ASCII letters and digits alone.
        unseen: those of them whose word is not seen.
    """

    words: list[str]
    marked: list[int]
    unseen: list[int]


def pack(runs: Iterable[bytes]) -> bytes:
    """Runs, not empty and without zeros, as the functions below take them."""
    return b"\0".join(runs)


def unpack(packed: bytes) -> list[bytes]:
    """The runs; any number of zeros may stand between them, before and after."""
    return list(filter(None, packed.split(b"\0")))


def only_word(run: str) -> str:
    """The only word of a lowered run, if that is easily seen (``'word'``, ``word's``), or ""."""
    word, _, clitic = run.strip("'").partition("'")
    return word if word.isalnum() and (not clitic or clitic in _CLITICS) else ""


def read(packed: bytes) -> Words:
    """The words of runs, as far as `only_word` sees them in ASCII.

    Args:
        packed: lowered runs in UTF-8, lone surrogates included.
    """
    return _read_few(packed) if len(packed) < _FEW_BYTES else _read_many(packed)


def _read_few(packed: bytes) -> Words:
    found = Words([], [], [])
    for place, run in enumerate(unpack(packed)):
        word = text = run.decode("utf-8", "surrogatepass")
        if not (text.isascii() and text.isalnum()):
            found.marked.append(place)
            word = only_word(text) if text.isascii() else ""
            if not word:
                found.unseen.append(place)
        found.words.append(word or text)
    return found


def _read_many(packed: bytes) -> Words:
    from prorank_plugins.lexical.kernels import reading

    content = np.frombuffer(packed + b"\0", np.uint8)
    most_runs = len(content) // 2
    words, sizes = np.empty(len(content), np.uint8), np.empty(3, np.int64)
    marked, unseen = np.empty(most_runs, np.int32), np.empty((most_runs, 3), np.int32)
    reading.read_words(content, np.frombuffer(_KINDS, np.uint8), words, marked, unseen, sizes)
    n_bytes, n_marked, n_unseen = sizes.tolist()
    found = words[:n_bytes].tobytes().decode("ascii").split()
    # Columns of numbers: thousands of small lists would set off the garbage collector.
    places, starts, ends = unseen[:n_unseen].T.tolist()
    for place, start, end in zip(places, starts, ends, strict=True):
        found[place] = packed[start:end].decode("utf-8", "surrogatepass")
    return Words(found, marked[:n_marked].tolist(), places)
