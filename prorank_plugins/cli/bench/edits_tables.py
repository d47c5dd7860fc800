"""Edits: tables for people."""

from __future__ import annotations

from statistics import median
from typing import Any

import numpy as np

from prorank_plugins.cli.bench.cells import as_table, factor, microseconds
from prorank_plugins.cli.bench.setting import lines_about
from prorank_plugins.evaluation.timing import ratio

NAMES = {"memory": "in memory", "durable": "on disk when the call returns"}
"""Kinds of index."""

_WHEN = {"idle": "nobody edits", "paced": "edits at a steady pace", "busy": "edits without a pause"}


def edits_section(section: dict[str, Any]) -> str:
    """Setting, then single edits, many edits, searches during edits."""
    setting = section["setting"]
    present = [name for name in NAMES if name in section]
    parts = [
        f"## Edits on {setting['corpus']}\n\n"
        f"An index of {setting['n_docs']:,} documents; wall time. New texts are put together from spans of "
        f"the collection's.\n\n{lines_about(setting)}",
        "### One document at a time\n",
        as_table(
            ["", "median", "99th percentile", "most"],
            [
                [f"{kind}, {NAMES[name]}", *_quantiles(seconds)]
                for name in present
                for kind, seconds in section[name]["singles"].items()
            ],
        ),
        "### Many edits, then a fresh build of what is left\n\nFour in ten are additions, three deletions, "
        "three updates. Results: ids and float32 scores of the best 100 of each query; the index on disk is "
        "closed and opened again first.\n",
        as_table(
            ["", "edits", "an edit, mean", "queries", "with other results"],
            [[NAMES[name], *_mixed(section[name]["mixed"])] for name in present],
        ),
        f"### Searching meanwhile\n\nSingle calls; edits come from another thread; median of "
        f"{setting['rounds']} rounds in turn, with quartiles of the ratio.\n",
        as_table(
            ["", "search", "× idle", "99th percentile", "× idle", "edits/s"],
            [row for name in present for row in _during(section, name)],
        ),
    ]
    return "\n".join(parts)


def _quantiles(seconds: list[float]) -> list[str]:
    return [f"{value * 1e3:.3g} ms" for value in np.quantile(seconds, [0.5, 0.99, 1.0])]


def _mixed(mixed: dict[str, Any]) -> list[str]:
    mean = mixed["seconds"] / mixed["edits"] * 1e3
    return [f"{mixed['edits']:,}", f"{mean:.3g} ms", f"{mixed['queries']:,}", f"{mixed['different']:,}"]


def _during(section: dict[str, Any], name: str) -> list[list[str]]:
    measured = section[name]
    rows = []
    for pace, when in _WHEN.items():
        row = [f"{when}, {NAMES[name]}"]
        for rounds in (measured["median"], measured["p99"]):
            row.append(microseconds(median(rounds[pace])))
            row.append("1" if pace == "idle" else factor(ratio(rounds[pace], rounds["idle"])))
        rows.append([*row, f"{median(measured['per_second'][pace]):,.0f}"])
    return rows
