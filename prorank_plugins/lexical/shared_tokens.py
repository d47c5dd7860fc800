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

_FIRST_SLOTS = 1 << 16

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
        self._are_terms = True  # whether objects have the numbers of their terms

    def numbers(
        self, documents: Sequence[Sequence[str]], lengths: NDArray[np.int32]
    ) -> NDArray[np.int32] | None:
        """Numbers of the terms, one document after the other; None if few tokens share an object.

        Args:
            documents: their tokens; lists, else there are no numbers.
            lengths: (n_docs,) of the documents.

        Raises:
            TypeError: a token that is no str; what was learnt is forgotten.
        """
        if len(self._kept) > _MOST_OBJECTS:
            self.forget()
        n_known = len(self._kept)
        objects = self._objects(list(documents), lengths)
        if objects is None:
            self.forget()
            return None
        n_new = len(self._kept) - n_known
        try:
            found = self._vocabulary.add_all(self._kept[n_known:], n_new)
        except TypeError:
            self.forget()
            raise
        self._terms = with_room(self._terms, n_known, n_new)
        self._terms[n_known : n_known + n_new] = found
        self._are_terms &= bool((found == np.arange(n_known, n_known + n_new)).all())
        return objects if self._are_terms else self._terms.take(objects)

    def _objects(
        self, documents: list[Sequence[str]], lengths: NDArray[np.int32]
    ) -> NDArray[np.int32] | None:
        """Numbers of the objects, one document after the other; None if too many are new."""
        from prorank_plugins.lexical.kernels import identity

        n_tokens = int(lengths.sum())
        most = len(self._kept) + n_tokens // 2
        state = np.array([0, 0, 0, len(self._kept)], np.int64)
        objects = np.empty(n_tokens, np.int32)
        while True:
            identity.number_objects(id(documents), lengths, id(self._kept), most, state, self._slots, objects)
            if state[2] == n_tokens:
                return objects
            if state[3] < len(self._slots) // 8 * 3 or state[3] == most:
                return None
            larger = np.zeros(2 * len(self._slots), np.uint64)
            identity.move_slots(self._slots, larger)
            self._slots = larger
