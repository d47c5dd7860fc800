"""What results depend on, as data and as lines for a reader."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

from prorank_plugins.cli.bench.common import library_versions, load_average
from prorank_plugins.cli.bench.single_thread import command_line
from prorank_plugins.evaluation.timing import machine

LIBRARIES = ("prorank-plugins", "numba", "bm25s", "scipy", "tantivy", "pyterrier-pisa", "baguetter")


@dataclass(frozen=True, eq=False)
class Setting:
    """What the results depend on.

    Attributes:
        corpus: the collection's name.
        n_docs: its size.
        facts: more numbers about it: ``mean_length`` in terms, ``n_queries``, ``mean_query_length``.
        rounds: measured rounds.
        seed: of everything drawn by chance.
        command: the command line, with the collection's name in the place of its path.
        machine: processor, cores, system, Python, numpy.
        versions: of the libraries present.
        load: load average at the start and the end, where the system tells it.
        skipped: a sentence about each engine that did not take part.
    """

    corpus: str
    n_docs: int
    facts: dict[str, float]
    rounds: int
    seed: int
    command: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    load: list[float]
    skipped: list[str]


def setting_of(
    kind: str,
    arguments: argparse.Namespace,
    corpus: str,
    n_docs: int,
    facts: dict[str, float],
    load: list[float],
    skipped: list[str],
) -> Setting:
    """The setting of a benchmark that has just ended.

    Args:
        kind: of benchmark.
        arguments: of its command.
        corpus: as in `Setting`.
        n_docs: as in `Setting`.
        facts: as in `Setting`.
        load: `load_average` when it began.
        skipped: as in `Setting`.
    """
    return Setting(
        corpus=corpus,
        n_docs=n_docs,
        facts=facts,
        rounds=arguments.rounds,
        seed=arguments.seed,
        command=command_line(kind, arguments),
        machine=machine(),
        versions=library_versions(LIBRARIES),
        load=load + load_average(),
        skipped=skipped,
    )


def lines_about(setting: dict[str, Any]) -> str:
    """A Markdown list: command, machine, software, load, who did not take part."""
    computer = setting["machine"]
    software = ", ".join(f"{name} {number}" for name, number in setting["versions"].items())
    lines = [
        f"- `{setting['command']}`",
        f"- {computer['cpu']}, {computer['cores']} cores, one used; {computer['os']}",
        f"- Python {computer['python']}, numpy {computer['numpy']}, {software}; seed {setting['seed']}",
    ]
    if setting["load"]:
        load = ", ".join(f"{value:.1f}" for value in setting["load"])
        lines.append(f"- load average at the start and the end: {load}")
    lines += [f"- left out: {sentence}" for sentence in setting["skipped"]]
    return "\n".join(lines) + "\n"
