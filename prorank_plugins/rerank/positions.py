"""Rerank what has no usable ids: texts go in numbered, positions and scores come out.

The frameworks' documents may lack ids, share them, or be equal; their positions tell them apart.
"""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.protocols import Reranker


def numbered(items: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Document]:
    """Texts with metadata as documents whose ids are their positions."""
    return [Document(str(position), text, dict(metadata)) for position, (text, metadata) in enumerate(items)]


def rank(
    reranker: Reranker,
    query: str,
    documents: Sequence[Document],
    k: int | None = None,
    threshold: float | None = None,
    instruction: str | None = None,
) -> list[tuple[int, ScoredDocument]]:
    """The best ``k`` of `numbered` documents with their positions, best first, ties by position.

    Args:
        reranker: orders them; it may leave some out.
        query: the user's question.
        documents: made by `numbered`.
        k: how many at most; None for all.
        threshold: those with a lower score are left out.
        instruction: handed to the reranker, if given.

    Raises:
        ConfigError: a negative ``k``, a reranker that takes no instruction, or one that returns
            documents it was not given, one of them twice, or a score that is not finite.
    """
    options = _options(reranker.rerank, k, instruction)
    return _best(reranker.rerank(query, documents, **options), documents, k, threshold)


async def arank(
    reranker: Reranker,
    query: str,
    documents: Sequence[Document],
    k: int | None = None,
    threshold: float | None = None,
    instruction: str | None = None,
) -> list[tuple[int, ScoredDocument]]:
    """`rank` by the reranker's own ``arerank``, in a thread if it has none."""
    arerank = getattr(reranker, "arerank", None)
    if arerank is None:
        return await asyncio.to_thread(rank, reranker, query, documents, k, threshold, instruction)
    options = _options(arerank, k, instruction)
    return _best(await arerank(query, documents, **options), documents, k, threshold)


def _options(rerank: Callable[..., Any], k: int | None, instruction: str | None) -> dict[str, Any]:
    if k is not None and k < 0:
        raise ConfigError(f"top_n must be at least 0, or None for all, found {k}")
    if instruction is None:
        return {"k": k}
    parameters = inspect.signature(rerank).parameters
    if "instruction" not in parameters and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        raise ConfigError(
            f"{getattr(rerank, '__qualname__', rerank)} takes no instruction; leave instruction=None "
            "or use a ProRankReranker"
        )
    return {"k": k, "instruction": instruction}


def _best(
    hits: Iterable[ScoredDocument], documents: Sequence[Document], k: int | None, threshold: float | None
) -> list[tuple[int, ScoredDocument]]:
    positions = {document.id: position for position, document in enumerate(documents)}
    found: dict[int, ScoredDocument] = {}
    for hit in hits:
        position, score = positions.pop(hit.document.id, None), float(hit.score)
        if position is None:
            raise ConfigError(
                f"the reranker returned a document {hit.document.id!r} that it was not given or had "
                "returned already; it must keep the ids and return each document once"
            )
        if not math.isfinite(score):
            raise ConfigError(f"the reranker gave document {position} the score {score}; it must be finite")
        if threshold is None or score >= threshold:
            found[position] = ScoredDocument(hit.document, score)
    return sorted(found.items(), key=lambda item: (-item[1].score, item[0]))[:k]
