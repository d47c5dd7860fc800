"""Edit an index of this package and keep the time of every edit."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from prorank_plugins import LexicalIndex
from prorank_plugins.cli.bench.resampling import Resampler

# How many results of each query are compared between an edited index and a fresh one.
_COMPARED_K = 100


@dataclass(frozen=True, eq=False)
class Plan:
    """What to do.

    Attributes:
        texts: documents of the index before it is edited.
        queries: texts.
        k: documents asked for while others are edited.
        singles: timed edits of each kind.
        edits: mixed edits before the comparison with a fresh build.
        rate: edits a second while searching.
        rounds: interleaved measurements of searching idle and during edits.
        seconds: wall time of one of them.
        seed: of the edits and of new documents.
    """

    texts: list[str]
    queries: list[str]
    k: int
    singles: int
    edits: int
    rate: int
    rounds: int
    seconds: float
    seed: int


class Editor:
    """Edits an index and a dict beside it, which remembers what the index must hold.

    Attributes:
        index: edited.
        present: ``{id: text}`` in the order of the index: an updated document moves to the end.
    """

    def __init__(self, index: Any, plan: Plan) -> None:
        self.index = index
        self.present = {str(row): text for row, text in enumerate(plan.texts)}
        self._ids = list(self.present)
        self._chance = random.Random(plan.seed)
        self._new = self._texts(plan)
        self._n_new = 0

    @staticmethod
    def _texts(plan: Plan) -> Iterator[str]:
        return Resampler(plan.texts, plan.seed + 1).documents(1 << 40)

    def add(self) -> float:
        """Add one document; returns wall seconds."""
        text, key = next(self._new), f"new-{self._n_new}"
        self._n_new += 1
        seconds = _timed(lambda: self.index.add([text], ids=[key]))
        self.present[key] = text
        self._ids.append(key)
        return seconds

    def delete(self) -> float:
        """Delete one document chosen by chance; returns wall seconds."""
        place = self._chance.randrange(len(self._ids))
        self._ids[place], self._ids[-1] = self._ids[-1], self._ids[place]
        key = self._ids.pop()
        del self.present[key]
        return _timed(lambda: self.index.delete([key]))

    def update(self) -> float:
        """Replace the text of one document chosen by chance; returns wall seconds."""
        key, text = self._chance.choice(self._ids), next(self._new)
        del self.present[key]
        self.present[key] = text
        return _timed(lambda: self.index.update([key], [text]))

    def any(self) -> float:
        """One of the three: four in ten are additions. Never deletes the last document."""
        kinds = [self.add, self.delete, self.update]
        edit = self._chance.choices(kinds, [4, 3, 3])[0] if len(self._ids) > 1 else self.add
        return edit()


def measure_edits(plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Edit an index in memory and one on disk.

    Args:
        plan: what to do.
        say: told what is being done.

    Returns:
        for ``"memory"`` and ``"durable"``, the latter only where indexes can be opened for editing:
        ``singles`` ``{kind: wall seconds}``; ``mixed`` (wall seconds in all, number of edits, of queries, of
        queries whose results differ from a fresh build's; reopened for the durable one); ``median`` and
        ``p99`` ``{"idle", "paced", "busy": rounds of wall seconds}`` of single calls; ``per_second``: edits
        made while searching.
    """
    measured = {"memory": _measure(Editor(_build(plan.texts), plan), plan, say, "in memory", None)}
    open_index = getattr(LexicalIndex, "open", None)
    if open_index is not None:
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "index"
            _build(plan.texts).save(place)
            editor = Editor(open_index(place), plan)
            measured["durable"] = _measure(editor, plan, say, "durable", lambda: open_index(place))
    return measured


def _measure(
    editor: Editor,
    plan: Plan,
    say: Callable[[str], None],
    name: str,
    reopen: Callable[[], Any] | None,
) -> dict[str, Any]:
    say(f"{name}: single edits")
    for edit in (editor.add, editor.delete, editor.update):
        edit()
    singles: dict[str, list[float]] = {"add": [], "delete": [], "update": []}
    for _ in range(plan.singles):
        for kind, seconds in singles.items():
            seconds.append(getattr(editor, kind)())
    say(f"{name}: searching during edits")
    searching = _searching(editor, plan)
    say(f"{name}: {plan.edits:,} mixed edits")
    total = sum(editor.any() for _ in range(plan.edits))
    if reopen is not None:
        editor.index.close()
        editor.index = reopen()
    mixed = {
        "seconds": total,
        "edits": plan.edits,
        "queries": len(plan.queries),
        "different": _different(editor, plan),
    }
    if reopen is not None:
        editor.index.close()
    return {"singles": singles, "mixed": mixed, **searching}


def _build(texts: list[str]) -> LexicalIndex:
    return LexicalIndex.build(texts, n_threads=1)


def _different(editor: Editor, plan: Plan) -> int:
    """Queries to which a fresh build of the same documents answers with other ids or float32 scores."""
    fresh = LexicalIndex.build(editor.present.values(), ids=editor.present, n_threads=1)
    answers = zip(
        editor.index.search_many(plan.queries, _COMPARED_K, n_threads=1),
        fresh.search_many(plan.queries, _COMPARED_K, n_threads=1),
        strict=True,
    )
    return sum(
        list(edited.ids) != list(built.ids)
        or not np.array_equal(np.float32(edited.scores), np.float32(built.scores))
        for edited, built in answers
    )


def _searching(editor: Editor, plan: Plan) -> dict[str, Any]:
    """Latency of single calls while nobody edits, at a steady pace and without a pause, in turn."""
    pauses = {"idle": None, "paced": 1 / plan.rate, "busy": 0.0}
    found: dict[str, dict[str, list[float]]] = {
        name: {pace: [] for pace in pauses} for name in ("median", "p99", "per_second")
    }
    for _ in range(plan.rounds):
        for pace, pause in pauses.items():
            for name, value in _latency(editor, plan, pause).items():
                found[name][pace].append(value)
    return found


def _latency(editor: Editor, plan: Plan, pause: float | None) -> dict[str, float]:
    """Wall seconds of a search while another thread edits, and the edits it made a second."""
    done, edits = threading.Event(), 0

    def keep_editing() -> None:
        nonlocal edits
        while pause is not None and not done.wait(pause):
            editor.any()
            edits += 1

    thread = threading.Thread(target=keep_editing)
    latencies = []
    start = time.perf_counter()
    thread.start()
    try:
        for query in cycle(plan.queries):
            latencies.append(_timed(partial(editor.index.search, query, plan.k)))
            if time.perf_counter() - start > plan.seconds:
                break
    finally:
        done.set()
        thread.join()
    median, p99 = np.quantile(latencies, [0.5, 0.99])
    elapsed = time.perf_counter() - start
    return {"median": float(median), "p99": float(p99), "per_second": edits / elapsed}


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
