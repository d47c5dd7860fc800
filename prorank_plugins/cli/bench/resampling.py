"""Larger collections than there are: documents put together from spans of real text.

A synthetic document has the length of a real one. It is a row of spans, eight words long on average, most
of them from the neighbourhood of one place in the collection, so that frequencies within a document, common
and rare terms and what stands next to what follow the real text. One word in a hundred is a made-up one
from a Zipf distribution, so that the vocabulary goes on growing as that of real text does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

_BLOCK = 2048
_MEAN_SPAN = 8
_NEAR, _NEIGHBOURHOOD = 0.7, 500
_MADE_UP, _MOST_MADE_UP = 0.01, 1e7


class Resampler:
    """A source of as many documents as wanted. The first n are the same however many are drawn."""

    def __init__(self, texts: Iterable[str], seed: int = 0) -> None:
        """Read the real text.

        Args:
            texts: real documents; words are what stands between blanks.
            seed: of everything drawn.

        Raises:
            ConfigError: there is no word.
        """
        number_of: dict[str, int] = {}
        numbers: list[NDArray[np.int32]] = []
        for text in texts:
            words = [number_of.setdefault(word, len(number_of)) for word in text.split()]
            if words:
                numbers.append(np.array(words, np.int32))
        if not numbers:
            raise ConfigError("found no word to resample; expected at least one document with text")
        self._words = np.concatenate(numbers)
        self._lengths = np.array([len(each) for each in numbers])
        self._spelling = np.array(list(number_of), dtype=object)
        self._seed = seed

    def documents(self, n_docs: int) -> Iterator[str]:
        """``n_docs`` texts, one after the other; a block of them is in memory at a time."""
        for start in range(0, n_docs, _BLOCK):
            yield from self._block(start // _BLOCK)[: n_docs - start]

    def _block(self, number: int) -> list[str]:
        chance = np.random.default_rng([self._seed, number])
        lengths = chance.choice(self._lengths, _BLOCK)
        ends = np.cumsum(lengths)
        words = self._spelling[self._words[self._places(chance, lengths, ends)]]
        made_up = np.flatnonzero(chance.random(words.size) < _MADE_UP)
        # Logarithmically uniform: a Zipf distribution with exponent 1.
        ranks = (_MOST_MADE_UP ** chance.random(made_up.size)).astype(np.int64)
        words[made_up] = [f"zq{rank:x}" for rank in ranks.tolist()]
        row = words.tolist()
        return [" ".join(row[end - n : end]) for n, end in zip(lengths.tolist(), ends.tolist(), strict=True)]

    def _places(
        self, chance: np.random.Generator, lengths: NDArray[np.int64], ends: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """(sum of lengths,) where each word is taken from."""
        n_words, n_real = int(ends[-1]), len(self._words)
        begins = chance.random(n_words) < 1 / _MEAN_SPAN
        begins[ends - lengths] = True
        first = np.flatnonzero(begins)
        span = np.cumsum(begins) - 1
        home = np.repeat(chance.integers(0, n_real, len(lengths)), lengths)[first]
        near = home + chance.integers(-_NEIGHBOURHOOD, _NEIGHBOURHOOD, first.size)
        far = chance.integers(0, n_real, first.size)
        source = np.where(chance.random(first.size) < _NEAR, near, far)
        places: NDArray[np.int64] = (source[span] + np.arange(n_words) - first[span]) % n_real
        return places
