"""Numbers and tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prorank_plugins.evaluation.timing import Timing

MIB = 2**20


def as_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column holds names and whose others hold numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def factor(timing: Timing) -> str:
    """A ratio with its quartiles."""
    return f"{timing.median:.2f} [{timing.low:.2f}, {timing.high:.2f}]"


def microseconds(seconds: float) -> str:
    """Three digits at least."""
    return f"{seconds * 1e6:,.0f} µs" if seconds >= 1e-4 else f"{seconds * 1e6:.1f} µs"


def milliseconds(seconds: float) -> str:
    """Three digits at least."""
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.3g} ms"


def mebibytes(n_bytes: float) -> str:
    """Whole ones from ten on."""
    size = n_bytes / MIB
    return f"{size:,.0f} MiB" if size >= 10 else f"{size:.2g} MiB"
