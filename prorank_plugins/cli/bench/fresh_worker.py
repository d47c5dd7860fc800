"""The process in which one engine is measured from its start.

Reads a `Job` from standard input, writes what it measured to standard output, both as JSON. It is started by
`prorank_plugins.cli.bench.fresh` in a way that loads nothing of this package but what an engine needs.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from prorank_plugins.cli.bench.engines import ENGINES, Engine
from prorank_plugins.cli.bench.memory import memory

# Documents and queries that get compilation out of the way.
_FIRST_DOCS, _FIRST_QUERIES = 300, 20
# Queries called one by one.
_SINGLE_CALLS = 300
_FIRST_K = 10


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        task: ``"build"`` or ``"search"``.
        engine: key of `ENGINES`.
        folder: of the index.
        file: documents, one a line; to build from.
        n_docs: how many of them.
        raw: whether they are texts, not terms.
        contestant: to search with.
        queries: as terms.
        ks: numbers of documents to ask for; none to stop after the first answer.
        started: when the process was started, seconds since the epoch.
    """

    task: str
    engine: str
    folder: str
    file: str = ""
    n_docs: int = 0
    raw: bool = False
    contestant: str = ""
    queries: tuple[tuple[str, ...], ...] = ()
    ks: tuple[int, ...] = ()
    started: float = 0.0


def build(job: Job) -> dict[str, Any]:
    """Index and save. Reading the file is timed alone and taken off.

    Returns:
        ``cpu_s`` to index, ``save_s`` (CPU) to save, ``disk`` and ``peak`` in bytes, ``before`` the
        resident bytes when imports and compilation were done.
    """
    make = ENGINES[job.engine]
    with tempfile.TemporaryDirectory() as folder:
        _build(make(Path(folder) / "index"), job, _FIRST_DOCS)
    start = time.process_time()
    for _ in _documents(job, job.n_docs):
        pass
    reading = time.process_time() - start
    before = memory().now
    engine = make(Path(job.folder))
    start = time.process_time()
    _build(engine, job, job.n_docs)
    built = time.process_time()
    if not job.raw:
        engine.save()
    saved = time.process_time()
    files = [path for path in Path(job.folder).rglob("*") if path.is_file()]
    return {
        "cpu_s": max(0.0, built - start - reading),
        "save_s": saved - built,
        "disk": sum(path.stat().st_size for path in files),
        "before": before,
        "peak": memory().peak,
    }


def _build(engine: Engine, job: Job, n_docs: int) -> None:
    documents = _documents(job, n_docs)
    if job.raw:
        engine.build_raw(documents)
    else:
        engine.build_tokens(documents)


def _documents(job: Job, n_docs: int) -> Iterator[Any]:
    with open(job.file, encoding="utf-8") as lines:
        for line in islice(lines, n_docs):
            yield line.rstrip("\n") if job.raw else line.split()


def search(job: Job) -> dict[str, Any]:
    """Load the index and search.

    Returns:
        ``load_s`` (wall); ``first_cpu_s`` and ``first_wall_s`` from the start of the process to the first
        answer; resident bytes ``imported``, ``loaded``, ``searching`` (of these ``private``) and at their
        ``peak``; ``batch`` and ``single``: ``{k: seconds a query}``, CPU and median wall.
    """
    engine = ENGINES[job.engine](Path(job.folder))
    imported = memory().now
    start = time.perf_counter()
    engine.load()
    load = time.perf_counter() - start
    loaded = memory().now
    queries = [list(query) for query in job.queries]
    engine.search(job.contestant, queries[0], _FIRST_K)
    first_cpu, first_wall = time.process_time(), time.time() - job.started
    measured: dict[str, Any] = {
        "load_s": load,
        "first_cpu_s": first_cpu,
        "first_wall_s": first_wall,
        "imported": imported,
        "loaded": loaded,
        "batch": {},
        "single": {},
    }
    for k in job.ks:
        measured["batch"][k] = _batch(engine, job.contestant, queries[: engine.most_queries], k)
        measured["single"][k] = _single(engine, job.contestant, queries, k)
    after = memory()
    return {**measured, "searching": after.now, "private": after.private, "peak": after.peak}


def _batch(engine: Engine, contestant: str, queries: list[list[str]], k: int) -> float:
    few, prepared = engine.prepare(queries[:_FIRST_QUERIES]), engine.prepare(queries)
    engine.search_many(contestant, few, k)
    start = time.process_time()
    engine.search_many(contestant, prepared, k)
    return (time.process_time() - start) / len(queries)


def _single(engine: Engine, contestant: str, queries: list[list[str]], k: int) -> float:
    seconds = []
    for query in queries[:_SINGLE_CALLS]:
        start = time.perf_counter()
        engine.search(contestant, query, k)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def main() -> None:
    """Do one job. What libraries print goes to standard error."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = Job(**json.load(sys.stdin))
    with answer:
        json.dump(build(job) if job.task == "build" else search(job), answer)


def as_json(job: Job) -> str:
    """What `main` reads."""
    return json.dumps(asdict(job))
