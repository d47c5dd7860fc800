"""Tell one training set from another, so that a checkpoint goes on only over its own data."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

_MOST_ITEMS = 1000


def data_fingerprint(items: Iterable[Any]) -> str:
    """A digest of the number of items and of a thousand of them; of the first thousand of a stream."""
    digest = hashlib.sha256()
    if isinstance(items, Sequence):
        digest.update(f"{len(items)} items".encode())
        looked_at: Iterable[Any] = items[:: max(1, len(items) // _MOST_ITEMS)]
    else:
        looked_at = islice(iter(items), _MOST_ITEMS)
    for item in looked_at:
        digest.update(repr(item).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
