"""Text for a terminal: columns that line up, cut to its width."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from prorank_plugins.evaluation.textfiles import write_lines

_GAP = "  "
_BLANKED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_NO_WIDTH = frozenset({"Mn", "Me", "Cf"})


def terminal_width() -> int:
    """Columns of the terminal; 100 where there is none."""
    return shutil.get_terminal_size((100, 24)).columns


def one_line(text: str) -> str:
    """Text without line breaks and control characters, runs of blanks made one."""
    return " ".join("".join(" " if unicodedata.category(c) in _BLANKED else c for c in text).split())


def display_width(text: str) -> int:
    """Columns a text takes: two for East Asian wide characters, none for combining marks."""
    if text.isascii():
        return len(text)
    return sum(_char_width(char) for char in text)


def _char_width(char: str) -> int:
    if unicodedata.category(char) in _NO_WIDTH:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, width: int) -> str:
    """The start of a text in one line of at most ``width`` columns, ``…`` where it was cut."""
    if width < 1:
        return ""
    line = one_line(text[: 8 * width])
    if display_width(line) <= width and len(text) <= 8 * width:
        return line
    kept, used = [], 1
    for char in line:
        used += _char_width(char)
        if used > width:
            break
        kept.append(char)
    return "".join(kept).rstrip() + "…"


def columns(
    rows: Iterable[Sequence[str]], right: Collection[int] = (), width: int | None = None, indent: str = ""
) -> list[str]:
    """Rows as lines with their cells in columns.

    Args:
        rows: of equally many cells.
        right: columns whose cells stand at the right.
        width: the last column is cut so that lines keep within it; None does not cut.
        indent: put before every line.
    """
    table = [list(row) for row in rows]
    if not table:
        return []
    *sizes, last = (max(map(display_width, column)) for column in zip(*table, strict=True))
    if width is not None:
        room = width - display_width(indent) - sum(size + len(_GAP) for size in sizes)
        last = max(min(last, room), min(last, 20))
        for row in table:
            row[-1] = clip(row[-1], last)
    sizes.append(last)
    return [indent + _line(row, sizes, right) for row in table]


def _line(row: Sequence[str], sizes: Sequence[int], right: Collection[int]) -> str:
    cells = []
    for number, (cell, size) in enumerate(zip(row, sizes, strict=True)):
        padding = " " * (size - display_width(cell))
        cells.append(padding + cell if number in right else cell + padding)
    return _GAP.join(cells).rstrip()


def emit(lines: Iterator[str], output: str | None) -> None:
    """Print lines, or write them to a file, whole or not at all, packed if its name ends in ``.gz``."""
    if output is not None:
        write_lines(Path(output), lines)
        return
    for line in lines:
        sys.stdout.write(f"{line}\n")


def size_in_words(n_bytes: int) -> str:
    """A number of bytes with a unit: ``"3.2 MB"``, powers of 1000."""
    if n_bytes < 1000:
        return f"{n_bytes} bytes"
    size = float(n_bytes)
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.1f} {unit}"
    return f"{size / 1000:.1f} TB"
