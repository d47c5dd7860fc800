"""A document's text around the characters that it won by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prorank_plugins.core.markup import Html, escaped

SPAN_KEY = "relevance_span"
"""Metadata key under which a reranker gives the characters [start, end) of the window that won."""

_MARK = "background:rgba(255,193,7,.35);color:inherit;padding:1px 0"


def winning_span(text: str, metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """The characters [start, end) of the window that won; None if that is not known, or all of the text."""
    found = metadata.get(SPAN_KEY)
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        return None
    start, end = found
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(text)):
        return None
    return None if end - start == len(text) else (start, end)


def passage(text: str, metadata: Mapping[str, Any], n_chars: int = 240) -> Html:
    """The start of a text, or the window that won, marked, with a little of what stands around it.

    Args:
        text: the document's.
        metadata: may hold the window, see `winning_span`.
        n_chars: the most characters of the window that are shown; a quarter of it on either side.
    """
    span = winning_span(text, metadata)
    if span is None:
        return Html(escaped(_spaced(text[:n_chars])) + ("…" if len(text) > n_chars else ""))
    start, end = span
    shown, around = min(end, start + n_chars), n_chars // 4
    first = max(0, start - around)
    parts = ["…" if first else "", escaped(_spaced(text[first:start]))]
    parts.append(f'<mark style="{_MARK}">{escaped(_spaced(text[start:shown]))}')
    if shown < end:
        return Html("".join([*parts, "…</mark>"]))
    last = min(len(text), end + around)
    parts += ["</mark>", escaped(_spaced(text[end:last])), "…" if last < len(text) else ""]
    return Html("".join(parts))


def _spaced(text: str) -> str:
    """Runs of blanks as one, as HTML shows them anyway."""
    words = " ".join(text.split())
    if not words:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + words + (" " if text[-1].isspace() else "")
