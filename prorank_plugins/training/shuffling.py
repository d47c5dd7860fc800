"""Endless shuffled passes over items, each place in them named by two numbers.

The order of a pass follows from the seed and the pass's number, not from a generator carried along. A
stream is therefore resumed from ``(epoch, position)`` alone, however many items there are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn(Generic[T]):
    """An item and where it comes from.

    Attributes:
        item: the item.
        epoch: passes finished before.
        row: the item's place in the source, counting kept items only if the source is streamed.
    """

    item: T
    epoch: int
    row: int


class Passes(Protocol[T]):
    """Every item once a pass, in an order of its own for each pass, without end.

    Attributes:
        epoch: passes finished.
        position: items of the present pass that were given out.
    """

    epoch: int
    position: int

    def take(self, n: int) -> list[Drawn[T]]:
        """The next ``n`` items, from two passes or more where one ends."""
        ...

    def seek(self, epoch: int, position: int) -> None:
        """Go to a place that ``epoch`` and ``position`` named before."""
        ...


class RowPasses(Generic[T]):
    """`Passes` over the chosen rows of a sequence; a pass is a permutation of them.

    Args:
        items: indexed by row.
        rows: (n,) the rows to draw, n at least 1.
        key: numbers that seed the permutations.
    """

    def __init__(self, items: Sequence[T], rows: NDArray[np.int64], key: Sequence[int]) -> None:
        assert rows.size
        self._items, self._rows, self._key = items, rows, tuple(key)
        self._order: tuple[int, NDArray[np.int64]] = (-1, rows)
        self.epoch = self.position = 0

    def take(self, n: int) -> list[Drawn[T]]:
        """The next ``n`` items."""
        drawn: list[Drawn[T]] = []
        while len(drawn) < n:
            if self.position == self._rows.size:
                self.epoch, self.position = self.epoch + 1, 0
            if self._order[0] != self.epoch:
                order = np.random.default_rng([*self._key, self.epoch]).permutation(self._rows)
                self._order = (self.epoch, order)
            rows = self._order[1][self.position : self.position + n - len(drawn)].tolist()
            drawn += [Drawn(self._items[row], self.epoch, row) for row in rows]
            self.position += len(rows)
        return drawn

    def seek(self, epoch: int, position: int) -> None:
        """Go to a place.

        Raises:
            ConfigError: beyond the end of a pass.
        """
        if position > self._rows.size:
            raise ConfigError(
                f"the state is at position {position} of a pass over {self._rows.size} items; "
                "restore it with the data it was saved with"
            )
        self.epoch, self.position = epoch, position


class WindowPasses(Generic[T]):
    """`Passes` over a source that is read from its start in every pass, shuffled a window at a time.

    Blocks of ``window`` items are read in order and each is permuted, so a pass holds one block in
    memory. Seeking reads past the blocks before.

    Args:
        source: gives the same items in every loop.
        keep: which items to draw; may raise for one that it does not accept.
        window: items a block, at least 1; the larger, the better shuffled.
        key: numbers that seed the permutations.
        wanted: what ``keep`` looks for, for messages.
    """

    def __init__(
        self, source: Iterable[T], keep: Callable[[T], bool], window: int, key: Sequence[int], wanted: str
    ) -> None:
        self._source, self._keep, self._window = source, keep, window
        self._key, self._wanted = tuple(key), wanted
        self.seek(0, 0)

    def take(self, n: int) -> list[Drawn[T]]:
        """The next ``n`` items.

        Raises:
            ConfigError: a whole pass finds nothing to draw, or the source is shorter than it was when
                the place of `seek` was noted.
        """
        drawn: list[Drawn[T]] = []
        while len(drawn) < n:
            offset = self.position - self._start
            rest = self._block[offset : offset + n - len(drawn)]
            drawn += rest
            self.position += len(rest)
            if len(drawn) < n:
                self._read_block()
        return drawn

    def seek(self, epoch: int, position: int) -> None:
        """Go to a place; whether the source reaches that far shows when items are taken."""
        self.epoch, self.position = epoch, position
        self._start = position // self._window * self._window
        self._block: list[Drawn[T]] = []
        self._reading: Iterator[T] | None = None

    def _read_block(self) -> None:
        """Read the block that holds ``position``, in the next pass if this one is over."""
        self._start, self._block = self._start + len(self._block), []
        # Forgotten while reading: an error of the source then leads to a fresh start, not to a short pass.
        reading, self._reading = self._reading or self._open(), None
        items = list(islice(reading, self._window))
        if self.position - self._start > len(items):
            raise self._too_short(self._start + len(items))
        self._reading = reading
        if not items:
            if self.position == 0:
                raise ConfigError(
                    f"{self._source!r} holds no {self._wanted}; expected at least one. Check the data"
                )
            self.seek(self.epoch + 1, 0)
            return
        order = np.random.default_rng([*self._key, self.epoch, self._start]).permutation(len(items))
        self._block = [Drawn(items[i], self.epoch, self._start + i) for i in order.tolist()]

    def _open(self) -> Iterator[T]:
        reading = (item for item in self._source if self._keep(item))
        skipped = sum(1 for _ in islice(reading, self._start))
        if skipped < self._start:
            raise self._too_short(skipped)
        return reading

    def _too_short(self, found: int) -> ConfigError:
        return ConfigError(
            f"the state is at position {self.position} of a pass over {self._source!r}, which holds {found} "
            f"{self._wanted}; restore it with the data it was saved with"
        )
