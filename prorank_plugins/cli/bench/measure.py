"""Run the engines in turn and keep the time of every round."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from prorank_plugins.cli.bench.corpora import Corpus
from prorank_plugins.cli.bench.engines import Engine
from prorank_plugins.evaluation.timing import interleave

Rounds: TypeAlias = "dict[str, list[float]]"
"""Seconds of each round, by engine or contestant."""

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
        first: wall seconds of an engine's first small index and a contestant's first search, compilation
            included. In one process, so that whoever comes first pays for shared imports.
        build_tokens: CPU seconds to index analysed documents, by engine.
        build_raw: CPU seconds to index texts, by engine.
        batch: ``{k: CPU seconds a query}`` of searching all queries in one call, by contestant.
        single: ``{k: wall seconds}``, the median over single calls, by contestant.
        overlap: mean share of the ten best documents that a contestant has in common with this
            package's scorer of the same formula.
    """

    first: dict[str, float]
    build_tokens: Rounds
    build_raw: Rounds
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

    def batch(self, k: int) -> None:
        """All queries in one call."""
        self.engine.search_many(self.label, self.queries, k)

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
        answers = self.engine.search_many(self.label, self.queries[:_COMPARED], _COMPARED_K)
        return [self.engine.rows(answer) for answer in answers]


def measure(
    engines: Sequence[type[Engine]],
    corpus: Corpus,
    ks: Sequence[int],
    rounds: int,
    say: Callable[[str], None],
) -> Results:
    """Index and search ``corpus`` with every engine.

    Args:
        engines: this package's among them.
        corpus: documents and queries.
        ks: numbers of documents to ask for.
        rounds: measured rounds of everything.
        say: told what is being done.
    """
    say("first calls")
    first = _first_calls(engines, corpus)
    say("indexing texts")
    build_raw, _ = _builds(engines, rounds, lambda engine: engine.build_raw(corpus.texts))
    say("indexing analysed documents")
    build_tokens, built = _builds(engines, rounds, lambda engine: engine.build_tokens(corpus.documents))
    contestants = [
        Contestant(label, like, engine, corpus.queries[: engine.most_queries])
        for engine in built
        for label, like in engine.contestants.items()
    ]
    batch: dict[int, Rounds] = {}
    single: dict[int, Rounds] = {}
    for k in ks:
        say(f"searching, k = {k}")
        batch[k] = _batches(contestants, k, rounds)
        single[k] = _single_calls(contestants, k, rounds)
    return Results(first, build_tokens, build_raw, batch, single, _overlaps(contestants))


def _first_calls(engines: Iterable[type[Engine]], corpus: Corpus) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for make in engines:
        start = time.perf_counter()
        engine = make()
        engine.build_tokens(corpus.documents[:_FIRST_DOCS])
        seconds[f"{make.name}, index"] = time.perf_counter() - start
        for label in make.contestants:
            start = time.perf_counter()
            engine.search(label, corpus.queries[0], _COMPARED_K)
            seconds[f"{label}, search"] = time.perf_counter() - start
    return seconds


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
