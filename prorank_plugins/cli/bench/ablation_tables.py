"""The ablation's page and picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

_MEASURES = {
    "ndcg@10": "nDCG@10", "auc": "AUC", "accuracy": "accuracy", "format_rate": "format rate",
    "calibration_error": "ECE", "effective_rank": "effective rank", "mean_cosine": "mean cosine",
}  # fmt: skip
# Student's t at 97.5 % by degrees of freedom.
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def page(lines: Sequence[dict[str, Any]], arms: Sequence[str], settings: dict[str, Any], machine: str) -> str:
    """The page in Markdown."""
    seeds = sorted({line["seed"] for line in lines})
    shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in settings.items())
    text = [
        "# What each stage of training does", "",
        f"`prorank bench ablation`; {shown}; {len(seeds)} seeds. {machine}.",
        "Mean over seeds with the half-width of its 95 % interval (Student's t); the base has no seed.", "",
        "nDCG@10 among BMX's best 20, over queries that have a relevant document among these; AUC, balanced "
        "accuracy of the answers and calibration error over the same pairs; rank and mean cosine of "
        "the last hidden states.", "",
        "![nDCG@10 of each arm](ablation.png)", "",
    ]  # fmt: skip
    for collection in _collections(lines):
        text += [f"## {collection}", "", "| arm | " + " | ".join(_MEASURES.values()) + " |",
                 "|---" * (1 + len(_MEASURES)) + "|"]  # fmt: skip
        for arm in arms:
            cells = [_cell(_values(lines, arm, collection, name)) for name in _MEASURES]
            text.append(f"| {arm} | " + " | ".join(cells) + " |")
        text.append("")
    return "\n".join(text)


def draw(lines: Sequence[dict[str, Any]], arms: Sequence[str], file: Path) -> None:
    """nDCG@10 of each arm on each collection: a point a seed, a bar for the mean."""
    from matplotlib.figure import Figure

    collections = _collections(lines)
    figure = Figure(figsize=(3.2 * len(collections), 3.4), layout="constrained")
    for place, collection in enumerate(collections, start=1):
        axes = figure.add_subplot(1, len(collections), place)
        for row, arm in enumerate(reversed(arms)):
            values = _values(lines, arm, collection, "ndcg@10")
            if values:
                axes.barh(row, float(np.mean(values)), color="tab:blue", alpha=0.35)
                axes.plot(values, [row] * len(values), "o", color="tab:blue", markersize=4)
        axes.set_yticks(
            range(len(arms)), list(reversed(arms)) if place == 1 else [""] * len(arms), fontsize=8
        )
        axes.set_title(f"{collection}\nnDCG@10", fontsize=9)
        axes.tick_params(axis="x", labelsize=8)
    figure.savefig(file, dpi=120)


def _collections(lines: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line["measures"]))


def _values(lines: Sequence[dict[str, Any]], arm: str, collection: str, name: str) -> list[float]:
    return [line["measures"][collection][name] for line in lines if line["arm"] == arm]


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    digits = 1 if max(values) > 10 else 3
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    half = _T.get(len(values) - 1, 1.96) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return f"{np.mean(values):.{digits}f} ± {half:.{digits}f}"
