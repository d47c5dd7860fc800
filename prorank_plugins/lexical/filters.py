"""Which documents a search may return. A document that is filtered out never comes back, whatever k is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MethodType
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.state import State

IdFilter: TypeAlias = "Collection[str] | NDArray[np.bool_] | None"
MetadataFilter: TypeAlias = "Callable[[Mapping[str, Any]], bool] | Mapping[str, Any]"

ALL_ROWS: NDArray[np.bool_] = np.empty(0, np.bool_)
"""The mask that lets every document through."""


def id_mask(allowed: Any, n_docs: int, row_of: Callable[[str], int | None]) -> NDArray[np.bool_]:
    """(n_docs,) mask for a set of ids or a boolean mask; `ALL_ROWS` for None.

    Args:
        allowed: as given by the caller. Ids that are not in the index are passed over.
        n_docs: documents in the index.
        row_of: row of an id, None for one that is not in the index.

    Raises:
        ConfigError: anything else, or a mask of the wrong shape.
    """
    if allowed is None:
        return ALL_ROWS
    if isinstance(allowed, np.ndarray) and allowed.dtype == np.bool_:
        if allowed.shape != (n_docs,):
            raise ConfigError(
                f"a boolean filter needs one entry a document, shape ({n_docs},); found {allowed.shape}"
            )
        return np.ascontiguousarray(allowed)
    if isinstance(allowed, (str, bytes, Mapping)) or callable(allowed) or not isinstance(allowed, Iterable):
        raise ConfigError(
            f"LexicalIndex.search filters by a collection of ids or a boolean mask, found "
            f"{type(allowed).__name__}; filters on metadata are for LexicalRetriever, which holds metadata"
        )
    mask = np.zeros(n_docs, np.bool_)
    for doc_id in allowed:
        row = row_of(doc_id) if isinstance(doc_id, str) else None
        if row is not None:
            mask[row] = True
    return mask


class StateFilter(Protocol):
    """A filter that looks at all that an index holds."""

    def mask(self, state: State) -> NDArray[np.bool_]:
        """(n_docs,) the documents that may come back, in order of insertion."""
        ...


DocumentFilter: TypeAlias = "IdFilter | MetadataFilter | StateFilter"


def row_mask(allowed: Any, state: State) -> NDArray[np.bool_]:
    """(n_rows,) mask over the rows of a state for any kind of filter; `ALL_ROWS` for None.

    Raises:
        ConfigError: another kind, or a filter on metadata where no documents are kept.
    """
    if allowed is None:
        return ALL_ROWS
    if isinstance(getattr(allowed, "mask", None), MethodType) and not isinstance(allowed, np.ndarray):
        allowed = allowed.mask(state)
    elif state.keeps_documents and (callable(allowed) or isinstance(allowed, Mapping)):
        allowed = metadata_mask(allowed, state.metadata())
    live = state.live_rows
    if live is None:
        return id_mask(allowed, state.n_docs, state.row_of)
    if isinstance(allowed, np.ndarray):
        mask = np.zeros(state.n_rows, np.bool_)
        mask[live] = id_mask(allowed, state.n_docs, state.row_of)
        return mask
    return id_mask(allowed, state.n_rows, state.row_of)


def metadata_mask(wanted: MetadataFilter, metadata: Sequence[Mapping[str, Any]]) -> NDArray[np.bool_]:
    """(n_docs,) mask of the documents whose metadata the filter accepts.

    Args:
        wanted: a predicate on the metadata, or a mapping: every key must be there with an equal value,
            or with one of the values if a list, tuple or set is given.
        metadata: of each document, in row order.
    """
    accepts = wanted if callable(wanted) else _matcher(wanted)
    return np.fromiter((bool(accepts(entry)) for entry in metadata), np.bool_, len(metadata))


def _matcher(wanted: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], bool]:
    def accepts(entry: Mapping[str, Any]) -> bool:
        return all(key in entry and _equals(entry[key], value) for key, value in wanted.items())

    return accepts


def _equals(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, (list, tuple, set, frozenset)):
        return found == wanted or any(found == value for value in wanted)
    return bool(found == wanted)
