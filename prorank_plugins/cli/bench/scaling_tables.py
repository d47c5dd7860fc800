"""Cost by number of documents: a table, and what it comes to at sizes that were not measured."""

from __future__ import annotations

import math
from typing import Any

from prorank_plugins.cli.bench.cells import as_table, mebibytes, microseconds
from prorank_plugins.cli.bench.footprint_tables import middle
from prorank_plugins.cli.bench.setting import lines_about

ON_PAPER = 100_000_000
"""The size that is computed, not measured."""

MEASURES = {
    "batch": "all queries in one call, CPU a query",
    "single": "one query a call, wall",
    "index": "indexing terms, CPU",
    "disk": "disk",
    "memory": "memory while searching",
}
"""What grows with the collection."""


def curve(section: dict[str, Any], label: str, measure: str) -> dict[int, float]:
    """``{documents: seconds or bytes}`` of one contestant. Times are for the smallest k measured."""
    return {
        int(size): _cost(at, label, measure)
        for size, at in section["sizes"].items()
        if at["search"].get(label)
    }


def _cost(at: dict[str, Any], label: str, measure: str) -> float:
    rounds, build = at["search"][label], at["build"][at["engine_of"][label]]
    if measure == "memory":
        return middle(rounds, "searching")
    if measure in ("index", "disk"):
        return float(build["cpu_s" if measure == "index" else "disk"])
    return middle([each[measure] for each in rounds], min(rounds[0][measure], key=int))


def extrapolate(points: dict[int, float], measure: str, size: float = ON_PAPER) -> float:
    """Cost at ``size`` by the two largest sizes measured; not a number for fewer than two.

    A query's time follows a power law of the number of documents, since common terms are pruned; the others
    are so much a document and a constant.

    Args:
        points: ``{documents: cost}``, costs above 0.
        measure: key of `MEASURES`.
        size: documents.
    """
    if len(points) < 2:
        return math.nan
    small, large = sorted(points)[-2:]
    if measure in ("batch", "single"):
        exponent = math.log(points[large] / points[small]) / math.log(large / small)
        return float(points[large] * (size / large) ** exponent)
    per_document = (points[large] - points[small]) / (large - small)
    return points[large] + per_document * (size - large)


def labels_in(section: dict[str, Any]) -> list[str]:
    """Contestants, as they were measured at the smallest size."""
    return list(next(iter(section["sizes"].values()))["search"])


def scaling_section(section: dict[str, Any]) -> str:
    """Setting, then a table for each measure."""
    setting = section["setting"]
    sizes = [int(size) for size in section["sizes"]]
    parts = [
        f"## Growth, on text resampled from {setting['corpus']}\n\n"
        f"Documents of {setting['facts']['mean_length']:.0f} terms put together from spans of real ones; "
        f"each size begins with the documents of the smaller ones. k = {_smallest_k(section)}; median of "
        f"{setting['rounds']} interleaved rounds in new processes. {ON_PAPER:,} documents on paper: "
        "through the two largest sizes, a power law for queries, a straight line for the rest.\n\n"
        f"{lines_about(setting)}"
    ]
    for measure, title in MEASURES.items():
        rows = []
        for label in labels_in(section):
            points = curve(section, label, measure)
            values = [points.get(size, math.nan) for size in sizes] + [extrapolate(points, measure)]
            rows.append([label, *(show(measure, value) for value in values)])
        header = ["", *(f"{size:,}" for size in sizes), f"{ON_PAPER:,} (on paper)"]
        parts += [f"### {title[0].upper()}{title[1:]}\n", as_table(header, rows)]
    return "\n".join(parts)


def show(measure: str, value: float) -> str:
    """A cost in its unit; a dash for what was not measured."""
    if math.isnan(value):
        return "–"
    if measure in ("batch", "single"):
        return microseconds(value)
    return f"{value:,.2f} s" if measure == "index" else mebibytes(value)


def _smallest_k(section: dict[str, Any]) -> int:
    at = next(iter(section["sizes"].values()))
    return min(map(int, next(iter(at["search"].values()))[0]["batch"]))
