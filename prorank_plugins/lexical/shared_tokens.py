"""Numbers of tokens in lists where a term is mostly one object, as tokenizers with a cache leave them.

Such an object is looked up in the vocabulary once; after that its address tells its number, which costs a
sixth of a look-up. Where most tokens are objects of their own, addresses tell nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.lexical.runs import with_room
from prorank_plugins.lexical.vocabulary import Vocabulary

_FIRST_SLOTS = 1 << 15

# Beyond, objects are forgotten; learning them again costs time only.
_MOST_OBJECTS = 1_000_000


class SharedTokens:
    """Objects that were looked up, kept alive so that no other gets their address.

    Args:
        vocabulary: numbers for terms; grows.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self.forget()

    def forget(self) -> None:
        """Start anew, keeping the vocabulary."""
        self._kept: list[str] = []
        self._slots = np.zeros(2 * _FIRST_SLOTS, np.uint64)
        self._terms = np.empty(0, np.int32)

    def numbers(self, documents: Sequence[Sequence[str]], n_tokens: int) -> NDArray[np.int32] | None:
        """(n_tokens,) the terms' numbers, one document after the other; None if few tokens share an object.

        Raises:
            TypeError: a token that is no str; what was learnt is forgotten.
        """
        if len(self._kept) > _MOST_OBJECTS:
            self.forget()
        tokens: list[str] = []  # of its own, so that no other thread changes it
        for document in documents:
            tokens += document
        found = self._objects(tokens)
        if found is None:
            return None
        objects, firsts = found
        new = [tokens[place] for place in firsts.tolist()]
        n_known = len(self._kept)
        self._kept += new
        self._terms = with_room(self._terms, n_known, len(new))
        try:
            self._terms[n_known : len(self._kept)] = self._vocabulary.add_all(new, len(new))
        except TypeError:
            self.forget()
            raise
        return self._terms.take(objects)

    def _objects(self, tokens: list[str]) -> tuple[NDArray[np.int32], NDArray[np.int32]] | None:
        """(n_tokens,) numbers of the objects, and the places of those that were not known."""
        from prorank_plugins.lexical.kernels import identity, scanning

        n_tokens, most_new = len(tokens), len(tokens) // 2
        state = np.array([0, len(self._kept), 0], np.int64)
        objects, firsts = np.empty(n_tokens, np.int32), np.empty(most_new, np.int32)
        while True:
            identity.number_objects(id(tokens), n_tokens, most_new, state, self._slots, objects, firsts)
            n_new = int(state[2])
            if state[0] == n_tokens:
                return objects, firsts[:n_new]
            if n_new == most_new:
                self.forget()
                return None
            larger = np.zeros(2 * len(self._slots), np.uint64)
            scanning.move_slots(self._slots, larger)
            self._slots = larger
