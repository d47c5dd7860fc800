"""Compiled loops that tell which bytes of a text belong to runs, eight bytes at a time.

In a word ``w`` of eight bytes below 128, ``w + (128 - c) · 0x01…01`` has the high bit set of each byte that
is at least ``c``, and no sum reaches the next byte (Warren, *Hacker's Delight*, 6-2). Compilers turn the
loops below into vector instructions: a tenth of a nanosecond a byte.
"""

# mypy sees numba's decorators as untyped; the signatures here are documentation for people.
from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.kernels.compiling import kernel, prefetch, view
from prorank_plugins.lexical.kernels.objects import bytes_of, item_at, utf8_of

_ONE = np.uint64(1)
_TWO = np.uint64(2)
_SEVEN = np.uint64(7)
_LOW_BITS = np.uint64(0x0101010101010101)
_HIGH_BITS = np.uint64(0x8080808080808080)
# Multiplied by it, the lowest bits of eight bytes come to lie side by side in the highest byte.
_GATHER = np.uint64(0x0102040810204080)
_LOWER_CASE = np.uint64(0x20)
# So much of a text is fetched before it is read; what follows in order, processors fetch by themselves.
_FETCHED = 512
_CACHE_LINE = 64
# Ends a text: a byte that UTF-8 does not contain, after a zero.
_END = np.uint64(0xFF00)


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
def _separated(
    word: np.uint64, kept: int, also_kept: int, capitals: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """A word with zeros for what separates, and the high bits of the bytes that are not zero."""
    low = word & ~_HIGH_BITS
    lowered = low | _everywhere(_LOWER_CASE)
    is_letter = _at_least(lowered, ord("a")) & ~_at_least(lowered, ord("z") + 1)
    is_digit = _at_least(low, ord("0")) & ~_at_least(low, ord("9") + 1)
    is_other = ~(_differs(low, kept) & _differs(low, also_kept))
    is_kept = (is_letter | is_digit | is_other | word) & _HIGH_BITS
    is_capital = is_letter & ~(word << _TWO) & ~word & capitals
    return (word | (is_capital >> _TWO)) & ((is_kept << _ONE) - (is_kept >> _SEVEN)), is_kept


@kernel(holds_lock=True)
def separate(
    texts: int,
    are_str: NDArray[np.bool_],
    kept: int,
    also_kept: int,
    lowers: bool,
    words: NDArray[np.uint64],
    solid: NDArray[np.uint8],
) -> int:
    """Copy texts with zeros for all ASCII characters but letters, digits and two others.

    Returns how many words were written, -1 if a text cannot be read.

    Args:
        texts: address of a list of texts, as str or, in UTF-8, as bytes.
        are_str: (n_texts,) which are str; they hold ASCII only.
        kept, also_kept: the two others, by code point.
        lowers: copy ASCII capitals as small letters.
        words: the copies one after the other, written: each in words of eight bytes, padded with zeros, and
            a word for its end, in which only the second byte is not zero, but `_END`.
        solid: for each word eight bits, written: which of its bytes are not zero.
    """
    capitals = _HIGH_BITS if lowers else np.uint64(0)
    n_words = 0
    for i in range(are_str.size):
        piece = item_at(texts, i)
        later = item_at(texts, min(i + 2, are_str.size - 1))
        for at in range(0, _FETCHED, _CACHE_LINE):
            prefetch(later + at)
        data, n_bytes = utf8_of(piece) if are_str[i] else bytes_of(piece)
        if data == 0:
            return -1
        n_whole = n_bytes >> 3
        text, rest = view(data, np.uint64), view(data + (n_bytes & ~7), np.uint8)
        for at in range(n_whole):
            words[n_words + at], is_kept = _separated(text[at], kept, also_kept, capitals)
            solid[n_words + at] = _side_by_side(is_kept)
        n_words += n_whole
        last = np.uint64(0)
        for at in range(n_bytes & 7):
            last |= np.uint64(rest[at]) << np.uint64(8 * at)
        words[n_words], is_kept = _separated(last, kept, also_kept, capitals)
        solid[n_words] = _side_by_side(is_kept)
        words[n_words + 1] = _END
        solid[n_words + 1] = 2
        n_words += 2
    return n_words


@kernel()
def mark(words: NDArray[np.uint64], solid: NDArray[np.uint8]) -> None:
    """Write for each of (n,) words of eight bytes, as eight bits, which bytes are not zero."""
    for i in range(words.size):
        word = words[i]
        solid[i] = _side_by_side((_differs(word & ~_HIGH_BITS, 0) | word) & _HIGH_BITS)
