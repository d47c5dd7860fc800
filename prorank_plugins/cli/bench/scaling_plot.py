"""Cost by number of documents, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from prorank_plugins.cli.bench.cells import MIB
from prorank_plugins.cli.bench.scaling_tables import MEASURES, ON_PAPER, curve, extrapolate, labels_in

PICTURE = "lexical-scaling.png"
"""Its file name."""

_UNITS = {"batch": (1e6, "µs"), "single": (1e6, "µs"), "index": (1.0, "s"), "disk": (1 / MIB, "MiB"),
          "memory": (1 / MIB, "MiB")}  # fmt: skip


def draw(curves: dict[str, dict[str, Any]], file: Path) -> None:
    """A row of panels for each collection, both axes logarithmic; dashed: on paper.

    Args:
        curves: ``{collection: section}`` of `prorank bench scaling`.
        file: PNG to write.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(MEASURES), 3.4 * len(curves)), layout="constrained")
    panels = figure.subplots(len(curves), len(MEASURES), squeeze=False)
    for row, (name, section) in zip(panels, curves.items(), strict=True):
        for axes, (measure, title) in zip(row, MEASURES.items(), strict=True):
            _panel(axes, section, measure)
            axes.set_title(title.replace(", ", "\n", 1), fontsize=9)
        row[0].legend(fontsize=7)
        row[0].set_xlabel(f"documents ({name})", fontsize=8)
    figure.savefig(file, dpi=120)


def _panel(axes: Any, section: dict[str, Any], measure: str) -> None:
    scale, unit = _UNITS[measure]
    for number, label in enumerate(labels_in(section)):
        points = curve(section, label, measure)
        sizes, values = list(points), [value * scale for value in points.values()]
        axes.plot(sizes, values, "o-", color=f"C{number}", label=label, markersize=3)
        if len(points) > 1:
            beyond = np.geomspace(sizes[-1], ON_PAPER, 20)
            costs = [extrapolate(points, measure, size) * scale for size in beyond]
            axes.plot(beyond, costs, "--", color=f"C{number}", linewidth=1)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel(unit, fontsize=8)
    axes.tick_params(which="both", labelsize=7)
