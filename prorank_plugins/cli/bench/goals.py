"""What the lexical engine is meant to reach, next to what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from prorank_plugins.cli.bench.cells import as_table, factor
from prorank_plugins.cli.bench.engine import BASELINE
from prorank_plugins.cli.bench.footprint_tables import middle
from prorank_plugins.evaluation.timing import Timing, ratio

PASSAGES_19K, PASSAGES_250K, PASSAGES_1M = "squad-rt-train", "wiki-250k", "wiki-250k-resampled-1000000"
"""Names of the collections that goals are set on."""

_BM25S, _TANTIVY, _PISA, _BAGUETTER = "bm25s numba", "tantivy", "PISA MaxScore", "baguetter BMX"

# collection, measure, k: how many times as fast as each peer
_SEARCH: dict[tuple[str, str, int], dict[str, float]] = {
    (PASSAGES_19K, "batch", 10): {_BM25S: 4.6, _TANTIVY: 6.6, _PISA: 3.9, _BAGUETTER: 70},
    (PASSAGES_19K, "batch", 100): {_BM25S: 3.4, _TANTIVY: 6.8, _PISA: 6.3},
    (PASSAGES_19K, "single", 10): {_BM25S: 7.7, _TANTIVY: 3.6},
    (PASSAGES_250K, "batch", 10): {_BM25S: 5.5, _TANTIVY: 7.2, _PISA: 5.9},
    (PASSAGES_250K, "batch", 100): {_BM25S: 5.0, _TANTIVY: 4.3, _PISA: 5.5},
    (PASSAGES_250K, "batch", 1000): {_BM25S: 3.5, _TANTIVY: 4.0, _PISA: 5.5},
    (PASSAGES_1M, "batch", 10): {_BM25S: 8.4, _TANTIVY: 6.4, _PISA: 6.8},
    (PASSAGES_1M, "batch", 100): {_BM25S: 5.9, _TANTIVY: 6.2, _PISA: 5.7},
    (PASSAGES_1M, "single", 10): {_BM25S: 9.9, _TANTIVY: 6.2},
}
# collection, what is indexed: how many times as fast as each peer
_INDEXING: dict[tuple[str, str], dict[str, float]] = {
    (PASSAGES_19K, "raw text"): {"bm25s": 10, "tantivy": 4},
    (PASSAGES_19K, "terms"): {"baguetter": 100},
    (PASSAGES_1M, "terms"): {"tantivy": 5},
}
# Mixed edits after which the results must be those of a fresh build.
_EDITS = 10_000


@dataclass(frozen=True)
class Goal:
    """One row of the table.

    Attributes:
        what: is measured.
        aim: as text.
        found: as text.
        reached: whether it is.
    """

    what: str
    aim: str
    found: str
    reached: bool


def goals_table(record: dict[str, Any]) -> str:
    """The goals whose measurements are in the record; empty if there are none."""
    goals = [*_search(record), *_indexing(record), *_footprint(record), *_edits(record)]
    if not goals:
        return ""
    rows = [[goal.what, goal.aim, goal.found, "yes" if goal.reached else "**no**"] for goal in goals]
    return (
        f"## Goals\n\n{sum(goal.reached for goal in goals)} of {len(goals)} reached. Ratios are medians of "
        "the rounds' ratios with their quartiles, of `prorank BMX` against the peer's BM25 (baguetter: "
        "BMX).\n\n" + as_table(["", "goal", "measured", "reached"], rows)
    )


def _search(record: dict[str, Any]) -> Iterator[Goal]:
    for (corpus, measure, k), aims in _SEARCH.items():
        section = record.get("search", {}).get(corpus, {"seconds": {measure: {}}})
        rounds = section["seconds"][measure].get(str(k), {})
        what = "all queries in one call" if measure == "batch" else "one query a call"
        yield from _faster(f"{corpus}, {what}, k = {k}", rounds, BASELINE, aims)


def _indexing(record: dict[str, Any]) -> Iterator[Goal]:
    for (corpus, kind), aims in _INDEXING.items():
        section = record.get("search", {}).get(corpus, {"seconds": {"build": {}}})
        yield from _faster(
            f"{corpus}, indexing {kind}", section["seconds"]["build"].get(kind, {}), "prorank", aims
        )


def _faster(what: str, rounds: dict[str, list[float]], ours: str, aims: dict[str, float]) -> Iterator[Goal]:
    for peer, aim in aims.items():
        if ours in rounds and peer in rounds:
            found: Timing = ratio(rounds[peer], rounds[ours])
            yield Goal(f"{what}: {peer}", f"≥ {aim:g}×", f"{factor(found)}×", found.median >= aim)


def _footprint(record: dict[str, Any]) -> Iterator[Goal]:
    section = record.get("footprint", {}).get(PASSAGES_1M)
    if section is None:
        return
    build, warm = section["build"], section["warm"]
    ours, peer = build["prorank"], build.get("bm25s")
    if peer is not None:
        yield _at_most("disk: bm25s", ours["terms"]["disk"] / peer["terms"]["disk"], 0.5, _times)
    if _BM25S in warm:
        memory = middle(warm[BASELINE], "searching") / middle(warm[_BM25S], "searching")
        yield _at_most("memory while searching: bm25s numba", memory, 0.6, _times)
    for kind, measured in ours.items():
        yield _at_most(f"peak memory, indexing {kind}", measured["peak"], 0.7e9, _gigabytes)
    yield _at_most("load", middle(warm[BASELINE], "load_s"), 0.02, _seconds)
    yield _at_most("first answer, cache warm (CPU)", middle(warm[BASELINE], "first_cpu_s"), 0.9, _seconds)
    yield _at_most(
        "first answer, cache empty (CPU)", middle(section["empty"][BASELINE], "first_cpu_s"), 3, _seconds
    )


def _edits(record: dict[str, Any]) -> Iterator[Goal]:
    section = record.get("edits", {}).get(PASSAGES_250K)
    if section is None:
        return
    for name in ("memory", "durable"):
        if name not in section:
            continue
        measured = section[name]
        for kind, seconds in measured["singles"].items():
            found = float(np.median(seconds))
            yield _at_most(f"{kind} one document, {name}, median", found, 0.005, _milliseconds, PASSAGES_250K)
        mixed = measured["mixed"]
        different, enough = mixed["different"], mixed["edits"] >= _EDITS
        yield Goal(
            f"{PASSAGES_250K}, queries with other results than a fresh build, {name}",
            f"0 after {_EDITS:,} edits",
            f"{different:,} after {mixed['edits']:,}",
            different == 0 and enough,
        )
        for pace in ("paced", "busy"):
            found = ratio(measured["median"][pace], measured["median"]["idle"]).median
            yield _at_most(f"search during {pace} edits, {name}: idle", found, 2, _times, PASSAGES_250K)


def _at_most(
    what: str, found: float, aim: float, show: Callable[[float], str], corpus: str = PASSAGES_1M
) -> Goal:
    return Goal(f"{corpus}, {what}", f"≤ {show(aim)}", show(found), found <= aim)


def _times(value: float) -> str:
    return f"{value:.2f}×"


def _gigabytes(value: float) -> str:
    return f"{value / 1e9:.2f} GB"


def _seconds(value: float) -> str:
    return f"{value:.3g} s"


def _milliseconds(value: float) -> str:
    return f"{value * 1e3:.3g} ms"
