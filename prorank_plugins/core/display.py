"""What a reranking changed, to look at in a notebook or a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.markup import FAINT, Html, escaped, note, number, one_line, table
from prorank_plugins.core.passages import passage
from prorank_plugins.core.shown import print_str
from prorank_plugins.core.slopes import Slope, slope_chart

Ranked: TypeAlias = "Sequence[ScoredDocument | Document]"

_LINE_CHARS = 60


@dataclass(frozen=True, repr=False)
class RankingChange:
    """Two rankings of one query's documents. Shows itself in notebooks; ``str()`` is for terminals.

    Attributes:
        before: best first, as the first stage had them.
        after: best first, as the second stage has them; may hold fewer, or others.
        query: the question, shown above.
        limit: ranks that are shown on either side.
    """

    before: tuple[ScoredDocument | Document, ...]
    after: tuple[ScoredDocument | Document, ...]
    query: str
    limit: int

    def __str__(self) -> str:
        old = _ranks(self.before)
        lines = [one_line(self.query, 100)] if self.query else []
        for rank, item in enumerate(self.after[: self.limit], start=1):
            document = _document(item)
            score = f"{item.score:9.3f}" if isinstance(item, ScoredDocument) else " " * 9
            title = one_line(document.text, _LINE_CHARS)
            lines.append(f"{rank:3} {_move(old.get(document.id), rank):5}{score}  {document.id}  {title}")
        return "\n".join(lines)

    __repr__ = __str__
    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        old, new = _ranks(self.before[: self.limit]), _ranks(self.after[: self.limit])
        slopes = [Slope(id, old.get(id), new.get(id)) for id in {**old, **new}]
        heading = Html(f'<div dir="auto"><b>{escaped(self.query)}</b></div>') if self.query else Html("")
        rows = [_row(rank, item, _ranks(self.before)) for rank, item in enumerate(self.after, start=1)]
        shown = table(["rank", "was", "score", "document"], rows[: self.limit], left=(3,))
        left_out = len(self.after) - self.limit
        more = note(Html(f"and {left_out} more")) if left_out > 0 else Html("")
        return f"<div>{heading}{slope_chart(slopes)}{shown}{more}</div>"


def show_ranking(before: Ranked, after: Ranked, query: str = "", limit: int = 10) -> RankingChange:
    """Two rankings side by side: a slope chart, scores, and texts with the winning window marked.

    ::

        candidates = retriever.retrieve(query, 20)
        ranked = reranker.rerank(query, [candidate.document for candidate in candidates])
        show_ranking(candidates, ranked, query)

    Args:
        before: the candidates, best first.
        after: what the reranker made of them, best first.
        query: the question.
        limit: ranks to show, at least 1.

    Raises:
        ConfigError: ids that repeat within a ranking, an item that is no document, or ``limit`` below 1.
    """
    if limit < 1:
        raise ConfigError(f"limit must be at least 1, found {limit}")
    for name, ranking in (("before", before), ("after", after)):
        for item in ranking:
            if not isinstance(item, (ScoredDocument, Document)):
                raise ConfigError(f"{name} holds {type(item).__name__}; expected ScoredDocument or Document")
        if len(_ranks(ranking)) != len(ranking):
            raise ConfigError(f"ids repeat in {name}; a ranking holds each document once")
    return RankingChange(tuple(before), tuple(after), query, limit)


def _row(rank: int, item: ScoredDocument | Document, old: dict[str, int]) -> tuple[Html, Html, Html, Html]:
    document = _document(item)
    was = old.get(document.id)
    score = number(item.score) if isinstance(item, ScoredDocument) else Html("")
    text = passage(document.text, document.metadata)
    shown = Html(f'<b>{escaped(document.id)}</b><div dir="auto" style="{FAINT}">{text}</div>')
    return Html(str(rank)), Html("new" if was is None else str(was)), score, shown


def _move(was: int | None, rank: int) -> str:
    if was is None:
        return "new"
    if was == rank:
        return "="
    return f"▲{was - rank}" if was > rank else f"▼{rank - was}"


def _document(item: ScoredDocument | Document) -> Document:
    return item.document if isinstance(item, ScoredDocument) else item


def _ranks(ranking: Ranked) -> dict[str, int]:
    return {_document(item).id: rank for rank, item in enumerate(ranking, start=1)}
