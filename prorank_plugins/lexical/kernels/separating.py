"""Compiled loops that tell which bytes of a text belong to runs, eight bytes at a time.

In a word ``w`` of eight bytes below 128, ``w + (128 - c) · 0x01…01`` has the high bit set of each byte that
is at least ``c``, and no sum reaches the next byte (Warren, *Hacker's Delight*, 6-2). Compilers turn the
loops below into vector instructions: a tenth of a nanosecond a byte.
"""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_SEVEN = np.uint64(7)
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
# Multiplied by it, the lowest bits of eight bytes come to lie side by side in the highest byte.
_GATHER = np.uint64(0x0102040810204080)
_LOWER_CASE = np.uint64(0x20)


@kernel()
def _everywhere(byte: int) -> np.uint64:
    """A word of eight equal bytes."""
    word: np.uint64 = np.uint64(byte) * _LOW_BITS
    return word


@kernel()
def _at_least(word: np.uint64, byte: int) -> np.uint64:
    """High bits of the bytes of a word that are at least ``byte``; all are below 128."""
    high: np.uint64 = word + _everywhere(128 - byte)
    return high


@kernel()
def _differs(word: np.uint64, byte: int) -> np.uint64:
    """High bits of the bytes of a word that are not ``byte``; all are below 128."""
    high: np.uint64 = (word ^ _everywhere(byte)) + ~_HIGH_BITS
    return high


@kernel()
def _side_by_side(high: np.uint64) -> np.uint64:
    """High bits of eight bytes as one byte, the first one lowest."""
    bits: np.uint64 = ((high >> _SEVEN) * _GATHER) >> np.uint64(56)
    return bits


@kernel()
def separate(
    text: NDArray[np.uint64],
    kept: int,
    also_kept: int,
    lowers: bool,
    words: NDArray[np.uint64],
    solid: NDArray[np.uint8],
) -> None:
    """Copy UTF-8 with zeros for all ASCII characters but letters, digits and two others.

    Args:
        text: (n,) eight bytes each.
        kept, also_kept: the two others, by code point.
        lowers: copy ASCII capitals as small letters.
        words: (n,) the copy, written.
        solid: (n,) eight bits each, written: whether the bytes of the copy are not zero.
    """
    capitals = _HIGH_BITS if lowers else np.uint64(0)
    for i in range(text.size):
        word = text[i]
        low = word & ~_HIGH_BITS
        lowered = low | _everywhere(_LOWER_CASE)
        is_letter = _at_least(lowered, ord("a")) & ~_at_least(lowered, ord("z") + 1)
        is_digit = _at_least(low, ord("0")) & ~_at_least(low, ord("9") + 1)
        is_other = ~(_differs(low, kept) & _differs(low, also_kept))
        is_kept = (is_letter | is_digit | is_other | word) & _HIGH_BITS
        is_capital = is_letter & ~(word << _TWO) & ~word & capitals
        words[i] = (word | (is_capital >> _TWO)) & ((is_kept << _ONE) - (is_kept >> _SEVEN))
        solid[i] = _side_by_side(is_kept)


@kernel()
def mark(words: NDArray[np.uint64], solid: NDArray[np.uint8]) -> None:
    """Write for each of (n,) words of eight bytes, as eight bits, which bytes are not zero."""
    for i in range(words.size):
        word = words[i]
        solid[i] = _side_by_side((_differs(word & ~_HIGH_BITS, 0) | word) & _HIGH_BITS)
