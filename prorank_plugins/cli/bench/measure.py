"""Run the engines in turn and keep the time of every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeAlias

from prorank_plugins.cli.bench.corpora import Corpus
from prorank_plugins.cli.bench.engines import Engine, contestants_of
from prorank_plugins.evaluation.timing import interleave

Rounds: TypeAlias = "dict[str, list[float]]"
"""Seconds of each round, by engine or contestant."""

INDEXED_FROM = ("raw text", "terms")
"""What an index is built from. The last one's indexes are searched."""

# Documents indexed to get imports and compilation out of the way.
_FIRST_DOCS = 300
# Queries called one by one in a round.
_SINGLE_CALLS = 300
# Queries whose ten best documents are compared between contestants.
_COMPARED = 100
_COMPARED_K = 10


@dataclass(frozen=True, eq=False)
class Results:
    """What was measured.

    Attributes:
        build: ``{"raw text" or "terms": CPU seconds}`` to index texts or analysed documents, by engine.
        batch: ``{k: CPU seconds a query}`` of searching all queries in one call, by contestant.
        single: ``{k: wall seconds}``, the median over single calls, by contestant.
        overlap: mean share of the ten best documents that a contestant has in common with this
            package's scorer of the same formula.
    """

    build: dict[str, Rounds]
    batch: dict[int, Rounds]
    single: dict[int, Rounds]
    overlap: dict[str, float]


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to search one engine's index, with the queries it is given."""

    label: str
    like: str
    engine: Engine
    queries: list[list[str]]
    prepared: Any = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prepared", self.engine.prepare(self.queries))

    def batch(self, k: int) -> None:
        """All queries in one call."""
        self.engine.search_many(self.label, self.prepared, k)

    def median_call(self, k: int) -> float:
        """Median wall seconds of single calls."""
        seconds = []
        for query in self.queries[:_SINGLE_CALLS]:
            start = time.perf_counter()
            self.engine.search(self.label, query, k)
            seconds.append(time.perf_counter() - start)
        return median(seconds)

    def best(self) -> list[list[int]]:
        """Rows of the best documents of the first queries."""
        answers = [self.engine.search(self.label, query, _COMPARED_K) for query in self.queries[:_COMPARED]]
        return [self.engine.rows(answer) for answer in answers]


def measure(
    engines: Sequence[type[Engine]],
    corpus: Corpus,
    ks: Sequence[int],
    rounds: int,
    say: Callable[[str], None],
    index_from: Sequence[str] = INDEXED_FROM,
) -> Results:
    """Index and search ``corpus`` with every engine.

    Args:
        engines: this package's among them.
        corpus: documents and queries.
        ks: numbers of documents to ask for.
        rounds: measured rounds of everything.
        say: told what is being done.
        index_from: which kinds of indexing to time, of `INDEXED_FROM`; at least "terms".
    """
    say("first calls, not measured")
    _warm(engines, corpus)
    build: dict[str, Rounds] = {}
    for kind in INDEXED_FROM:
        if kind in index_from:
            say(f"indexing {kind}")
            build[kind], built = _builds(engines, rounds, _builder(kind, corpus))
    contestants = [
        Contestant(label, like, engine, corpus.queries[: engine.most_queries])
        for engine in built
        for label, like in contestants_of(type(engine), len(corpus.documents)).items()
    ]
    batch: dict[int, Rounds] = {}
    single: dict[int, Rounds] = {}
    for k in ks:
        say(f"searching, k = {k}")
        batch[k] = _batches(contestants, k, rounds)
        single[k] = _single_calls(contestants, k, rounds)
    return Results(build, batch, single, _overlaps(contestants))


def _builder(kind: str, corpus: Corpus) -> Callable[[Engine], None]:
    if kind == "terms":
        return lambda engine: engine.build_tokens(corpus.documents)
    return lambda engine: engine.build_raw(corpus.texts)


def _warm(engines: Iterable[type[Engine]], corpus: Corpus) -> None:
    """Get imports and compilation out of the way."""
    for make in engines:
        make().build_raw(corpus.texts[:_FIRST_DOCS])
        engine = make()
        engine.build_tokens(corpus.documents[:_FIRST_DOCS])
        for label in make.contestants:
            engine.search(label, corpus.queries[0], _COMPARED_K)


def _builds(
    engines: Iterable[type[Engine]], rounds: int, build: Callable[[Engine], None]
) -> tuple[Rounds, list[Engine]]:
    """CPU seconds of building, and the engines as the last round left them."""
    built: dict[str, Engine] = {}

    def building(make: type[Engine]) -> Callable[[], None]:
        def run() -> None:
            built.pop(make.name, None)
            engine = make()
            build(engine)
            built[make.name] = engine

        return run

    builders = {make.name: building(make) for make in engines}
    seconds = interleave(builders, rounds, warmup=0, clock=time.process_time)
    return seconds, [built[name] for name in builders]


def _batches(contestants: Iterable[Contestant], k: int, rounds: int) -> Rounds:
    def searching(contestant: Contestant) -> Callable[[], None]:
        return lambda: contestant.batch(k)

    n_queries = {contestant.label: len(contestant.queries) for contestant in contestants}
    searches = {contestant.label: searching(contestant) for contestant in contestants}
    seconds = interleave(searches, rounds, clock=time.process_time)
    return {label: [total / n_queries[label] for total in totals] for label, totals in seconds.items()}


def _single_calls(contestants: Iterable[Contestant], k: int, rounds: int) -> Rounds:
    medians: Rounds = {contestant.label: [] for contestant in contestants}

    def calling(contestant: Contestant) -> Callable[[], None]:
        return lambda: medians[contestant.label].append(contestant.median_call(k))

    interleave({contestant.label: calling(contestant) for contestant in contestants}, rounds, warmup=1)
    return {label: values[1:] for label, values in medians.items()}


def _overlaps(contestants: Sequence[Contestant]) -> dict[str, float]:
    best = {contestant.label: contestant.best() for contestant in contestants}
    overlaps: dict[str, float] = {}
    for contestant in contestants:
        shares = [
            len(set(rows).intersection(expected)) / len(expected)
            for rows, expected in zip(best[contestant.label], best[contestant.like], strict=False)
            if expected
        ]
        overlaps[contestant.label] = sum(shares) / len(shares) if shares else 0.0
    return overlaps
