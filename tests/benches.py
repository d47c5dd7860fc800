"""A small collection and a setting for the tests of the benchmarks."""

import json
import random
from dataclasses import asdict

import pytest

from prorank_plugins.cli.bench.setting import Setting
from prorank_plugins.evaluation.timing import machine

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll"]
N_DOCS = 40


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def harbour(tmp_path):
    """A BEIR folder: forty documents, nine judged questions and one without a word."""
    chance = random.Random(7)
    folder = tmp_path / "harbour"
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(chance.choices(WORDS, k=12)) for _ in range(N_DOCS)]
    asked = [*(" ".join(chance.sample(WORDS, 3)) for _ in range(9)), "?!"]
    (folder / "corpus.jsonl").write_text(
        lines({"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts))
    )
    (folder / "queries.jsonl").write_text(
        lines({"_id": f"q{i}", "text": text} for i, text in enumerate(asked))
    )
    (folder / "qrels" / "test.tsv").write_text("".join(f"q{i}\td0\t1\n" for i in range(len(asked))))
    return folder


@pytest.fixture
def bench_setting():
    """As read from JSON."""
    made = Setting(
        corpus="harbour",
        n_docs=1000,
        facts={"mean_length": 12.0, "n_queries": 9, "mean_query_length": 3.0},
        rounds=3,
        seed=0,
        command="prorank bench lexical",
        machine=machine(),
        versions={"numba": "1.2.3"},
        load=[0.25, 0.5],
        skipped=["tantivy: not installed"],
    )
    return asdict(made)
