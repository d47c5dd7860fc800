"""The process in which one reranker is measured: ``python -m prorank_plugins.cli.bench.rerank_worker``.

Reads a `Job` from standard input, writes a `Measured` to standard output, both as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from prorank_plugins.cli.bench.memory import memory
from prorank_plugins.cli.bench.rerank_engines import Engine, find_contestant


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        label: of the contestant.
        folder: of the model.
        query: the question.
        documents: candidates.
        batch_sizes: to choose from.
    """

    label: str
    folder: str
    query: str
    documents: list[str]
    batch_sizes: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """One round of one contestant.

    Attributes:
        load: wall seconds to import the library and load the model.
        load_after_torch: those of them after ``import torch``, where the library runs on it.
        seconds: CPU seconds to score all candidates.
        wall: wall seconds of the same.
        peak_mib: most memory the process ever held, in MiB.
        batch_size: the one taken.
        scores: one a candidate.
    """

    load: float
    load_after_torch: float
    seconds: float
    wall: float
    peak_mib: float
    batch_size: int
    scores: list[float]


def measure(job: Job) -> Measured:
    """Load, warm up, score."""
    contestant = find_contestant(job.label)
    begun = time.perf_counter()
    if contestant.engine.on_torch:
        import_module("torch")
    imported = time.perf_counter()
    engine = contestant.engine(Path(job.folder), contestant.dtype)
    loaded = time.perf_counter()
    if sys.modules.get("torch") is not None:
        sys.modules["torch"].set_num_threads(1)
    engine.score(job.query, job.documents[:2], 1)
    batch_size = _fastest(engine, job) if len(job.batch_sizes) > 1 else job.batch_sizes[0]
    start, cpu_start = time.perf_counter(), time.process_time()
    scores = engine.score(job.query, job.documents, batch_size)
    seconds, wall = time.process_time() - cpu_start, time.perf_counter() - start
    return Measured(
        load=loaded - begun,
        load_after_torch=loaded - imported,
        seconds=seconds,
        wall=wall,
        peak_mib=memory().peak / 2**20,
        batch_size=batch_size,
        scores=scores,
    )


def _fastest(engine: Engine, job: Job) -> int:
    """The best batch size for a few of the candidates."""
    sample = job.documents[: 2 * max(job.batch_sizes)]
    seconds: dict[int, float] = {}
    for batch_size in job.batch_sizes:
        start = time.process_time()
        engine.score(job.query, sample, batch_size)
        seconds[batch_size] = time.process_time() - start
    return min(seconds, key=seconds.__getitem__)


def main() -> None:
    """Measure one job. What libraries print goes to standard error."""
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    given = json.load(sys.stdin)
    given["batch_sizes"] = tuple(given["batch_sizes"])
    with answer:
        json.dump(asdict(measure(Job(**given))), answer)


if __name__ == "__main__":
    main()
