"""Keys of a segment's documents: given by the caller, numbers in order, or strings in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from prorank_plugins.lexical.strings import StringNumbers


class NumberedIds(Sequence[str]):
    """``"start"``, ``"start + 1"``, ... as `LexicalIndex` numbers documents that come without ids.

    Args:
        start: the first.
        n: how many.
    """

    def __init__(self, start: int, n: int) -> None:
        self.start, self.n = start, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.n))]
        if not -self.n <= index < self.n:
            raise IndexError(f"id {index} of {self.n}")
        return str(self.start + int(index) % self.n)

    def find(self, id: str) -> int:
        """Place of an id, -1 if it is not among these."""
        if not (id.isascii() and id.isdigit()) or (id[0] == "0" and len(id) > 1) or len(id) > 18:
            return -1
        place = int(id) - self.start
        return place if 0 <= place < self.n else -1


class StoredIds(Sequence[str]):
    """Ids in a file, read one at a time when they are asked for."""

    def __init__(self, numbers: StringNumbers) -> None:
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: Any) -> Any:
        return self.numbers.strings[index]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers.strings)

    def find(self, id: str) -> int:
        """Place of an id, -1 if it is not among these."""
        return self.numbers.find(id)
