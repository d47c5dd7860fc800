"""A slope chart: two orders of the same things, with a line from each one's old place to its new."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prorank_plugins.core.markup import GREEN, ORANGE, Html, escaped, one_line

_ROW, _LABEL, _MIDDLE, _NAME_CHARS = 22, 260, 200, 32


class Slope(NamedTuple):
    """One thing with its ranks, counted from 1; None where it is not in that order."""

    name: str
    before: int | None
    after: int | None


def slope_chart(slopes: Sequence[Slope], before: str = "before", after: str = "after") -> Html:
    """The chart as an SVG image: what rose in green, what fell in orange, what stayed in grey.

    Args:
        slopes: with ranks that are unique on either side.
        before: heading of the left side.
        after: heading of the right side.
    """
    n_rows = max((rank for slope in slopes for rank in slope[1:] if rank), default=0)
    width, height = 2 * _LABEL + _MIDDLE, _ROW * (n_rows + 1) + 8
    left, right = _LABEL, _LABEL + _MIDDLE
    parts = [_text(left - 12, 0, "end", before, bold=True), _text(right + 12, 0, "start", after, bold=True)]
    for slope in slopes:
        name = one_line(slope.name, _NAME_CHARS)
        if slope.before is not None:
            parts.append(_text(left - 12, slope.before, "end", f"{name}\N{EM SPACE}{slope.before}"))
        if slope.after is not None:
            parts.append(_text(right + 12, slope.after, "start", f"{slope.after}\N{EM SPACE}{name}"))
        if slope.before is not None and slope.after is not None:
            parts.append(_line(left, slope.before, right, slope.after))
        elif slope.before is not None:
            parts.append(_dot(left, slope.before, ORANGE))
        elif slope.after is not None:
            parts.append(_dot(right, slope.after, GREEN))
    return Html(
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'style="max-width:100%;height:auto" font-family="sans-serif" font-size="13">{"".join(parts)}</svg>'
    )


def _y(rank: int) -> int:
    return _ROW * rank + _ROW // 2 + 4


def _text(x: int, rank: int, anchor: str, text: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    place = f'x="{x}" y="{_y(rank) + 4}" text-anchor="{anchor}"'
    return f'<text {place}{weight} fill="currentColor">{escaped(text)}</text>'


def _line(left: int, before: int, right: int, after: int) -> str:
    colour, opacity = "currentColor", ".35"
    if before != after:
        colour, opacity = (GREEN if after < before else ORANGE), "1"
    return (
        f'<line x1="{left}" y1="{_y(before)}" x2="{right}" y2="{_y(after)}" stroke="{colour}" '
        f'stroke-opacity="{opacity}" stroke-width="2"/>'
        + _dot(left, before, colour)
        + _dot(right, after, colour)
    )


def _dot(x: int, rank: int, colour: str) -> str:
    return f'<circle cx="{x}" cy="{_y(rank)}" r="3.5" fill="{colour}"/>'
