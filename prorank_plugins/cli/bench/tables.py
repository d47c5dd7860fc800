"""Indexing and searching side by side: tables for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prorank_plugins.cli.bench.cells import as_table, factor, microseconds
from prorank_plugins.cli.bench.engine import BASELINE
from prorank_plugins.cli.bench.setting import lines_about
from prorank_plugins.evaluation.timing import Timing, machine, ratio


def describe_machine() -> dict[str, str | int]:
    """The machine as in `prorank_plugins.evaluation.timing.machine`."""
    return machine()


def search_section(section: dict[str, Any]) -> str:
    """Setting, then one table for indexing, one for batches and one for single calls."""
    setting, seconds = section["setting"], section["seconds"]
    shares = {label: f"{share:.1%}" for label, share in seconds["overlap"].items()}
    parts = [
        _heading(setting),
        "### Indexing\n\nCPU time, one thread. Raw text includes each library's own analysis with the same "
        'stop words and Snowball stems; terms are those of `Analyzer("en")`.\n',
        _table(seconds["build"], "prorank", lambda each: f"{setting['n_docs'] / each:,.0f} docs/s"),
        "### Search, all queries in one call\n\nCPU time a query, the same terms for all. "
        "Top 10 in common: with this package's scorer of the same formula.\n",
        _table(_by_k(seconds["batch"]), BASELINE, microseconds, {"top 10 in common": shares}),
        "### Search, one query a call\n\nWall time, median over queries.\n",
        _table(_by_k(seconds["single"]), BASELINE, microseconds),
    ]
    return "\n".join(parts)


def _heading(setting: dict[str, Any]) -> str:
    facts = setting["facts"]
    return (
        f"## Search on {setting['corpus']}\n\n"
        f"{setting['n_docs']:,} documents of {facts['mean_length']:.0f} terms, {facts['n_queries']:,} "
        f"queries of {facts['mean_query_length']:.1f} terms. Each cell is the median of {setting['rounds']} "
        "interleaved rounds; `×` is how many times as long as the first row it takes, with the rounds' "
        f"quartiles.\n\n{lines_about(setting)}"
    )


def _by_k(by_k: Mapping[str, Any]) -> dict[str, Any]:
    return {f"k = {k}": rounds for k, rounds in by_k.items()}


def _table(
    columns: Mapping[str, Mapping[str, list[float]]],
    baseline: str,
    show: Callable[[float], str],
    more: Mapping[str, Mapping[str, str]] | None = None,
) -> str:
    more = more or {}
    rows = []
    for name in next(iter(columns.values())):
        cells = [name]
        for rounds in columns.values():
            cells.append(show(Timing.of(rounds[name]).median))
            cells.append("1" if name == baseline else factor(ratio(rounds[name], rounds[baseline])))
        rows.append(cells + [column[name] for column in more.values()])
    header = ["", *(title for name in columns for title in (name, "×")), *more]
    return as_table(header, rows)
