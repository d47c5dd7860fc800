"""HTML for notebooks: escaped texts, tables and small marks, without scripts, classes or outside requests.

Texts of callers stand between tags only, never inside one. Colours are those of the page, or half
transparent, so that light and dark themes both do.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from typing import NewType

Html = NewType("Html", str)
"""Markup that is ready to be put between tags."""

BLUE, GREEN, ORANGE = "#4a90d9", "#2f9e6e", "#d9822b"
FAINT = "opacity:.75"

_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CELL = "padding:2px 8px;vertical-align:top"
_LEAST_WIDTH = 1


def escaped(text: str) -> Html:
    """A caller's text as HTML that shows it; control characters and lone surrogates are shown as such."""
    shown = text.encode("utf-8", "replace").decode("utf-8")
    return Html(html.escape(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", shown)))


def one_line(text: str, n_chars: int) -> str:
    """The text on one line, cut to ``n_chars`` at most."""
    line = " ".join(text[: 4 * n_chars].split())
    return line if len(line) <= n_chars else line[: n_chars - 1] + "…"


def number(value: float, digits: int = 3) -> Html:
    """A number in fixed notation, with a true minus."""
    return Html(f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}"))


def bar(share: float, colour: str = BLUE, width: int = 160) -> Html:
    """A bar over ``share`` of ``width`` pixels; nothing for 0."""
    length = round(width * min(max(share, 0.0), 1.0))
    if share > 0:
        length = max(length, _LEAST_WIDTH)
    return Html(
        f'<div style="width:{width}px"><div style="width:{length}px;height:.8em;margin-top:.25em;'
        f'background:{colour}"></div></div>'
    )


def interval(low: float, middle: float, high: float, start: float, end: float, zero: bool = False) -> Html:
    """A dot with its interval on an axis from ``start`` to ``end``; ``zero`` marks where 0 is."""
    width, reach = 200, (end - start) or 1.0
    places = [round(4 + (width - 8) * (value - start) / reach, 1) for value in (low, middle, high, 0.0)]
    axis = '<line x1="0" x2="200" y1="8" y2="8" stroke="currentColor" stroke-opacity=".2"/>'
    if zero:
        axis += (
            f'<line x1="{places[3]}" x2="{places[3]}" y1="0" y2="16" stroke="currentColor" '
            'stroke-opacity=".6"/>'
        )
    return Html(
        f'<svg width="{width}" height="16" viewBox="0 0 {width} 16">{axis}'
        f'<line x1="{places[0]}" x2="{places[2]}" y1="8" y2="8" stroke="{BLUE}" stroke-width="3"/>'
        f'<circle cx="{places[1]}" cy="8" r="4" fill="{BLUE}"/></svg>'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Html]], left: Sequence[int] = ()) -> Html:
    """A table.

    Args:
        head: names of the columns.
        rows: cells; as many as there are names.
        left: columns that are aligned left, as texts and marks are; the others hold numbers.
    """

    def cell(kind: str, column: int, content: str) -> str:
        side = "left" if column in left else "right"
        direction = ' dir="auto"' if column in left else ""
        return f'<{kind}{direction} style="{_CELL};text-align:{side}">{content}</{kind}>'

    lines = ["".join(cell("th", place, escaped(name)) for place, name in enumerate(head))]
    lines += ["".join(cell("td", place, content) for place, content in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return Html(f'<table style="border-collapse:collapse;margin:.3em 0">{body}</table>')


def note(content: Html) -> Html:
    """A line of small print."""
    return Html(f'<div style="{FAINT};font-size:90%">{content}</div>')
