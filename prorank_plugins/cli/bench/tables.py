"""Results as Markdown for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from prorank_plugins.cli.bench.engines import BASELINE
from prorank_plugins.cli.bench.measure import Results, Rounds
from prorank_plugins.evaluation.timing import Timing, machine, ratio

LIBRARIES = ("prorank-plugins", "numba", "bm25s", "scipy", "tantivy", "baguetter")


@dataclass(frozen=True, eq=False)
class Setting:
    """What the results depend on.

    Attributes:
        corpus: the collection's name.
        n_docs: its size.
        mean_length: terms a document.
        n_queries: queries asked.
        mean_query_length: terms a query.
        rounds: measured rounds.
        seed: of the choice of queries.
        command: the command line, with the collection's name in the place of its path.
        machine: processor, cores, system, Python, numpy.
        versions: of the libraries present.
        load: load average at the start and the end, where the system tells it.
        skipped: a sentence about each engine that did not take part.
    """

    corpus: str
    n_docs: int
    mean_length: float
    n_queries: int
    mean_query_length: float
    rounds: int
    seed: int
    command: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    load: list[float]
    skipped: list[str]


def describe_machine() -> dict[str, str | int]:
    """The machine as in `prorank_plugins.evaluation.timing.machine`."""
    return machine()


def as_json(setting: Setting, results: Results) -> dict[str, Any]:
    """Everything, with the seconds of every round."""
    return {"setting": asdict(setting), "seconds": asdict(results)}


def as_markdown(setting: Setting, results: Results) -> str:
    """Setting, then one table for indexing, one for batches, one for single calls, one for first calls."""
    ks = list(results.batch)
    parts = [
        _heading(setting),
        "## Indexing\n\nCPU time, one thread. Raw text includes each library's own analysis with the same "
        'stop words and Snowball stems; terms are those of `Analyzer("en")`.\n',
        _table(
            {"raw text": results.build_raw, "terms": results.build_tokens},
            "prorank",
            lambda seconds: f"{setting.n_docs / seconds:,.0f} docs/s",
        ),
        "## Search, all queries in one call\n\nCPU time a query, the same terms for all. "
        "Top 10 in common: with this package's scorer of the same formula.\n",
        _table(
            {f"k = {k}": results.batch[k] for k in ks},
            BASELINE,
            _microseconds,
            {"top 10 in common": {label: f"{share:.1%}" for label, share in results.overlap.items()}},
        ),
        "## Search, one query a call\n\nWall time, median over queries.\n",
        _table({f"k = {k}": results.single[k] for k in ks}, BASELINE, _microseconds),
        "## First call\n\nWall time with imports and compilation, in this order in one process; a search "
        "comes after the index of 300 documents.\n",
        _rows(["call", "seconds"], ([call, f"{seconds:.2f}"] for call, seconds in results.first.items())),
    ]
    return "\n".join(parts)


def _heading(setting: Setting) -> str:
    software = ", ".join(f"{name} {number}" for name, number in setting.versions.items())
    lines = [
        f"# Lexical search on {setting.corpus}\n",
        f"{setting.n_docs:,} documents of {setting.mean_length:.0f} terms, {setting.n_queries:,} queries of "
        f"{setting.mean_query_length:.1f} terms. Each cell is the median of {setting.rounds} interleaved "
        "rounds; `×` is how many times as long as the first row it takes, with the rounds' quartiles.\n",
        f"- `{setting.command}`",
        f"- {setting.machine['cpu']}, {setting.machine['cores']} cores, one used; {setting.machine['os']}",
        f"- Python {setting.machine['python']}, numpy {setting.machine['numpy']}, {software}",
    ]
    if setting.load:
        load = ", ".join(f"{value:.1f}" for value in setting.load)
        lines.append(f"- load average at the start and the end: {load}")
    lines += [f"- left out: {sentence}" for sentence in setting.skipped]
    return "\n".join(lines) + "\n"


def _table(
    columns: Mapping[str, Rounds],
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
            cells.append("1" if name == baseline else _factor(ratio(rounds[name], rounds[baseline])))
        rows.append(cells + [column[name] for column in more.values()])
    header = ["", *(title for name in columns for title in (name, "×")), *more]
    return _rows(header, rows)


def _rows(header: list[str], rows: Iterable[list[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _factor(timing: Timing) -> str:
    return f"{timing.median:.2f} [{timing.low:.2f}, {timing.high:.2f}]"


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs" if seconds >= 1e-4 else f"{seconds * 1e6:.1f} µs"
