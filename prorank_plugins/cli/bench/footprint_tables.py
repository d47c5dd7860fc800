"""Disk, memory and first answers: tables for people."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

from prorank_plugins.cli.bench.cells import as_table, mebibytes, milliseconds
from prorank_plugins.cli.bench.setting import lines_about


def footprint_section(section: dict[str, Any]) -> str:
    """Setting, then one table for building and one for searching."""
    setting = section["setting"]
    parts = [
        f"## Footprint on {setting['corpus']}\n\n"
        f"{setting['n_docs']:,} documents of {setting['facts']['mean_length']:.0f} terms. Each measurement "
        "is taken in a process that does nothing else. Documents are read from a file as a stream; bm25s and "
        f"baguetter need them in a list.\n\n{lines_about(setting)}",
        "### Building\n\nCPU time without reading the file; most resident memory.\n",
        _building(section),
        f"### Loading and searching\n\nMedian of {setting['rounds']} interleaved rounds. First answer: CPU "
        "time from the start of the process, imports included, with numba's cache empty (as after "
        "`pip install`) and with what that process left there. Memory is resident, mapped files included; "
        "private is the part of it that no file backs.\n",
        _searching(section),
    ]
    return "\n".join(parts)


def middle(rounds: Sequence[dict[str, Any]], name: str) -> float:
    """Median over rounds; not a number where the system does not tell."""
    values = [each[name] for each in rounds if each[name] is not None]
    return float(median(values)) if values else float("nan")


def _building(section: dict[str, Any]) -> str:
    header = [
        "", "raw text", "peak memory", "terms", "peak memory", "saving", "disk",
    ]  # fmt: skip
    n_docs = section["setting"]["n_docs"]
    rows = []
    for name, kinds in section["build"].items():
        raw, terms = kinds["raw text"], kinds["terms"]
        rows.append(
            [
                name,
                _rate(n_docs, raw["cpu_s"]),
                mebibytes(raw["peak"]),
                _rate(n_docs, terms["cpu_s"]),
                mebibytes(terms["peak"]),
                milliseconds(terms["save_s"]),
                mebibytes(terms["disk"]),
            ]
        )
    return as_table(header, rows)


def _searching(section: dict[str, Any]) -> str:
    header = [
        "", "load", "first answer, cache empty", "cache warm", "after imports", "after loading", "searching",
        "of it private", "peak",
    ]  # fmt: skip
    rows = []
    for label, rounds in section["warm"].items():
        memory = [
            mebibytes(middle(rounds, name)) for name in ("imported", "loaded", "searching", "private", "peak")
        ]
        first = [middle(section["empty"][label], "first_cpu_s"), middle(rounds, "first_cpu_s")]
        load = milliseconds(middle(rounds, "load_s"))
        rows.append([label, load, *(f"{seconds:.2f} s" for seconds in first), *memory])
    return as_table(header, rows)


def _rate(n_docs: int, seconds: float) -> str:
    return f"{n_docs / seconds:,.0f} docs/s" if seconds else "–"
