"""LangChain's documents as the engine's, and back as copies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

from langchain_core.documents import Document as LCDocument

from prorank_plugins.core.documents import Document, ScoredDocument, copy_metadata
from prorank_plugins.core.errors import ConfigError

BMX_SCORE = "bmx_score"
"""Metadata key of the retrieval score."""

RELEVANCE_SCORE = "relevance_score"
"""Metadata key of the reranking score."""


def documents_of(
    texts: Iterable[str],
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Iterable[str | None] | None,
) -> list[LCDocument]:
    """Texts with what belongs to each, as documents."""
    if isinstance(texts, str):
        raise ConfigError("texts must be a collection of str, found one str; pass [text]")
    parts: list[list[Any]] = [list(texts)]
    for name, given in (("metadatas", metadatas), ("ids", ids)):
        parts.append([None] * len(parts[0]) if given is None else list(given))
        if len(parts[-1]) != len(parts[0]):
            raise ConfigError(f"{len(parts[-1])} {name} for {len(parts[0])} texts; give one for each text")
    for position, text in enumerate(parts[0]):
        if not isinstance(text, str):
            raise ConfigError(f"texts[{position}] must be a str, found {type(text).__name__}")
    return [
        LCDocument(id=id, page_content=text, metadata=dict(metadata or {}))
        for text, metadata, id in zip(*parts, strict=True)
    ]


def from_langchain(documents: Iterable[LCDocument]) -> Iterator[Document]:
    """What is to be indexed; a document without an id gets one."""
    for position, document in enumerate(documents):
        if not isinstance(document, LCDocument):
            raise ConfigError(
                f"docs[{position}] must be a langchain_core.documents.Document, found "
                f"{type(document).__name__}; from_texts and add_texts take str"
            )
        id = str(uuid4()) if document.id is None else document.id
        yield Document(id, document.page_content, document.metadata)


def to_langchain(hit: ScoredDocument, id_key: str | None) -> LCDocument:
    """A document of the caller's own: whatever is done to it stays with it."""
    metadata = copy_metadata(hit.document.metadata)
    if id_key is not None:
        metadata.setdefault(id_key, hit.document.id)
    metadata[BMX_SCORE] = float(hit.score)
    return LCDocument(id=hit.document.id, page_content=hit.document.text, metadata=metadata)


def texts_of(documents: Iterable[LCDocument]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is to be reranked: each document's text and metadata."""
    for position, document in enumerate(documents):
        if not isinstance(document, LCDocument):
            raise ConfigError(
                f"documents[{position}] must be a langchain_core.documents.Document, found "
                f"{type(document).__name__}; wrap a str as Document(page_content=...)"
            )
        yield document.page_content, document.metadata


def reranked(document: LCDocument, hit: ScoredDocument) -> LCDocument:
    """A copy of the document with its reranking score and whatever metadata the reranker added."""
    metadata = copy_metadata({**document.metadata, **hit.document.metadata})
    return document.model_copy(update={"metadata": {**metadata, RELEVANCE_SCORE: hit.score}})
