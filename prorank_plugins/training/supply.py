"""Items held in memory or read again for every pass, and shuffled passes over those that are wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.shuffling import Passes, RowPasses, WindowPasses


class Supply:
    """What a stream of batches draws from.

    Args:
        items: a list or the like, or something without a length that gives the same items in every loop.
        name: what the items are, for messages.
        kind: the class that each must have.
        window: items shuffled together if there is no length.

    Attributes:
        settings: what a saved state must agree with: the number of items or the window.

    Raises:
        ConfigError: items that can be looped over only once or not at all.
    """

    def __init__(self, items: Any, name: str, kind: type, window: int) -> None:
        self._kind, self._name, self._window = kind, name, window
        self._streamed = _is_streamed(items, name)
        self._items: Any = items if self._streamed else list(items)
        size = None if self._streamed else len(self._items)
        self.settings = {f"n_{name}": size, "window": window if self._streamed else None}

    def passes(self, keep: Callable[[Any], bool], key: Sequence[int], wanted: str) -> Passes[Any]:
        """Shuffled passes over the items that are kept.

        Args:
            keep: which items to draw; may raise for one that it does not accept.
            key: numbers that seed the order.
            wanted: what ``keep`` looks for, for messages.

        Raises:
            ConfigError: an item of another class or none to keep; for data without a length when met.
        """

        def checked_keep(item: Any) -> bool:
            if not isinstance(item, self._kind):
                raise ConfigError(
                    f"{self._name} holds {type(item).__name__}; expected {self._kind.__name__} only"
                )
            return keep(item)

        if self._streamed:
            return WindowPasses(self._items, checked_keep, self._window, key, wanted)
        rows = np.flatnonzero([checked_keep(item) for item in self._items])
        if not rows.size:
            raise ConfigError(
                f"{self._name} has {len(self._items)} items and no {wanted}; expected at least one"
            )
        return RowPasses(self._items, rows, key)


def _is_streamed(items: Any, name: str) -> bool:
    """Whether items are to be read a window at a time: they can be looped over but have no length.

    Raises:
        ConfigError: an iterator, which could be read only once, or nothing to loop over.
    """
    if isinstance(items, (Iterator, str, bytes)) or not isinstance(items, Iterable):
        raise ConfigError(
            f"{name} is {type(items).__name__}, expected a list or something that can be read again and "
            f"again such as read_{name}(path); pass list({name}) for a generator"
        )
    return not hasattr(items, "__len__")
