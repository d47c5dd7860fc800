"""Checks of what callers pass to an index, with what to do about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from operator import index as as_index

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.ids import NumberedIds


def check_k(k: int) -> int:
    """``k`` as an int.

    Raises:
        ConfigError: not a whole number, or negative.
    """
    try:
        number = as_index(k)
    except TypeError:
        number = -1
    if isinstance(k, bool) or number < 0:
        raise ConfigError(f"k must be a whole number of at least 0, found {k!r}")
    return number


def check_threads(n_threads: int | None) -> int:
    """The number of threads meant: all cores for None.

    Raises:
        ConfigError: less than 1.
    """
    if n_threads is None:
        return os.cpu_count() or 1
    if isinstance(n_threads, bool) or not isinstance(n_threads, int) or n_threads < 1:
        raise ConfigError(f"n_threads must be None or at least 1, found {n_threads!r}")
    return n_threads


def id_list(ids: Iterable[str]) -> list[str]:
    """Ids as a list.

    Raises:
        ConfigError: a single string, or an id that is no str.
    """
    if isinstance(ids, (str, bytes)):
        raise ConfigError(f"ids must be a collection of str, found one {type(ids).__name__}; pass [id]")
    keys = list(ids)
    for position, key in enumerate(keys):
        if not isinstance(key, str):
            raise ConfigError(
                f"ids[{position}] must be a str, found {type(key).__name__} {key!r}; pass str(id)"
            )
    return keys


def new_ids(
    ids: Iterable[str] | None, n_docs: int, n_present: int, is_taken: Callable[[str], bool]
) -> Sequence[str]:
    """Keys for ``n_docs`` new documents beside the ``n_present`` that are there.

    Args:
        ids: as given by the caller; None numbers the documents on.
        n_docs: new documents.
        n_present: documents in the index.
        is_taken: whether a document in the index has a key.

    Raises:
        ConfigError: ids that repeat, are taken, or are not as many as the documents.
    """
    if ids is None:
        if n_present == 0:
            return NumberedIds(0, n_docs)
        return list(islice(_free_numbers(n_present, is_taken), n_docs))
    keys = id_list(ids)
    if len(keys) != n_docs:
        raise ConfigError(f"{len(keys)} ids for {n_docs} texts; give one id a text")
    seen: set[str] = set()
    for position, key in enumerate(keys):
        if key in seen:
            raise ConfigError(f"ids[{position}] {key!r} is given twice; ids must be unique")
        if is_taken(key):
            raise ConfigError(f"ids[{position}] {key!r} is already in the index; use update")
        seen.add(key)
    return keys


def _free_numbers(start: int, is_taken: Callable[[str], bool]) -> Iterator[str]:
    """Numbers from ``start`` on that are not taken.

    Behind a taken one it looks further and further ahead, then back to where numbers are free, so that a
    thousand taken ones cost twenty looks; free ones between them may be passed over.
    """
    number = start
    while True:
        if is_taken(str(number)):
            step = 1
            while is_taken(str(number + step)):
                number, step = number + step, 2 * step
            taken, number = number, number + step
            while number - taken > 1:
                middle = (taken + number) // 2
                if is_taken(str(middle)):
                    taken = middle
                else:
                    number = middle
        yield str(number)
        number += 1
