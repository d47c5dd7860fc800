"""The contestants: each library behind the same few methods, on one thread, with its own best options."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from prorank_plugins.cli.bench.engine import BASELINE, Engine
from prorank_plugins.cli.bench.engine_baguetter import Baguetter
from prorank_plugins.cli.bench.engine_bm25s import Bm25s
from prorank_plugins.cli.bench.engine_pisa import Pisa
from prorank_plugins.cli.bench.engine_prorank import ProRank
from prorank_plugins.cli.bench.engine_tantivy import Tantivy

__all__ = ["BASELINE", "ENGINES", "Baguetter", "Engine", "choose_engines", "contestants_of"]

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (ProRank, Bm25s, Tantivy, Pisa, Baguetter)
}


def choose_engines(names: Sequence[str], n_docs: int) -> tuple[list[type[Engine]], list[str]]:
    """The engines that can take part, and a sentence about each that cannot.

    Args:
        names: keys of `ENGINES`.
        n_docs: size of the collection.
    """
    present: list[type[Engine]] = []
    skipped: list[str] = []
    for engine in map(ENGINES.__getitem__, names):
        missing = [module for module in engine.modules if find_spec(module) is None]
        if missing:
            skipped.append(f"{engine.name}: {', '.join(missing)} not installed; run: {engine.install}")
        elif n_docs > engine.most_docs:
            skipped.append(f"{engine.name}: only run on collections of up to {engine.most_docs:,} documents")
        else:
            present.append(engine)
            skipped += [
                f"{label}: only run on collections of up to {most:,} documents"
                for label, most in engine.most_docs_of.items()
                if n_docs > most
            ]
    return present, skipped


def contestants_of(engine: type[Engine], n_docs: int) -> dict[str, str]:
    """``{label: label with the same formula}`` of the ways to search that many documents."""
    unlimited = float("inf")
    return {
        label: like
        for label, like in engine.contestants.items()
        if n_docs <= engine.most_docs_of.get(label, unlimited)
    }
