"""LlamaIndex's metadata filters, nested ones included, as a function of a node's metadata."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llama_index.core.vector_stores.types import FilterCondition, MetadataFilter, MetadataFilters
from llama_index.core.vector_stores.utils import build_metadata_filter_fn

from prorank_plugins.core.errors import ConfigError


def predicate(filters: MetadataFilters) -> Callable[[Mapping[str, Any]], bool]:
    """Filters as a function of a node's metadata. LlamaIndex's own builder takes no nested ones."""
    parts = [
        predicate(part) if isinstance(part, MetadataFilters) else _condition(part) for part in filters.filters
    ]
    if not parts:
        return lambda _: True
    if filters.condition == FilterCondition.OR:
        return lambda metadata: any(part(metadata) for part in parts)
    if filters.condition == FilterCondition.NOT:
        return lambda metadata: not any(part(metadata) for part in parts)
    return lambda metadata: all(part(metadata) for part in parts)


def _condition(part: MetadataFilter) -> Callable[[Mapping[str, Any]], bool]:
    found: Any = build_metadata_filter_fn(lambda metadata: metadata, MetadataFilters(filters=[part]))  # type: ignore[arg-type, return-value]

    def accepts(metadata: Mapping[str, Any]) -> bool:
        try:
            return bool(found(metadata))
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"the filter {part.key} {part.operator.value} {part.value!r} does not suit node "
                f"{metadata['node_id']!r}, whose {part.key} is {metadata.get(part.key)!r} ({error})"
            ) from error

    return accepts
