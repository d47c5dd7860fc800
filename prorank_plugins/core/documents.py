"""The unit that is indexed, retrieved and reranked."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.markup import FAINT, escaped, number
from prorank_plugins.core.passages import passage

_IMMUTABLE = frozenset({str, int, float, bool, bytes, type(None)})


@dataclass(frozen=True)
class Document:
    """A text with the caller's key and metadata.

    Attributes:
        id: the caller's key, unique within an index.
        text: what is analysed, scored and shown.
        metadata: anything else the caller wants back; filters look at it.

    Raises:
        ConfigError: ``id`` or ``text`` is not a string.
    """

    id: str
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.id, str):
            raise ConfigError(
                f"Document.id must be a str, found {type(self.id).__name__} {self.id!r}; pass str(id)"
            )
        if not isinstance(self.text, str):
            raise ConfigError(
                f"Document.text of {self.id!r} must be a str, found {type(self.text).__name__}; "
                "decode it first"
            )

    def copy(self) -> Document:
        """A document whose metadata can be changed without changing this one's."""
        return Document(self.id, self.text, copy_metadata(self.metadata))


def copy_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """A deep copy, quick for the usual flat metadata."""
    return {key: value if type(value) in _IMMUTABLE else deepcopy(value) for key, value in metadata.items()}


@dataclass(frozen=True)
class ScoredDocument:
    """A document with its score for one query.

    Attributes:
        document: the document.
        score: finite; higher is better. Comparable within one query only, unless normalised.
    """

    document: Document
    score: float

    def _repr_html_(self) -> str:
        text = passage(self.document.text, self.document.metadata)
        head = f"{number(self.score)} <b>{escaped(self.document.id)}</b>"
        return f'<div><div dir="auto">{head}</div><div dir="auto" style="{FAINT}">{text}</div></div>'
