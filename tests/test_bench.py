"""``prorank bench lexical`` on forty documents."""

from __future__ import annotations

import json
import random

import pytest

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import engines, tables
from prorank_plugins.cli.bench.corpora import Corpus, load_corpus
from prorank_plugins.cli.bench.engines import BASELINE, ENGINES, choose_engines
from prorank_plugins.cli.bench.measure import Results, measure
from prorank_plugins.core.errors import DataFormatError

WORDS = ["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll"]
N_DOCS = 40


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def collection(tmp_path):
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
def corpus(collection):
    return load_corpus(str(collection), "test", most_queries=100, seed=0)


def results(**changes):
    seconds = {"prorank": [2.0, 2.0, 2.0], "bm25s": [4.0, 6.0, 8.0]}
    searches = {BASELINE: [1e-5, 1e-5, 1e-5], "bm25s numba": [3e-5, 3e-5, 6e-5]}
    fields = {
        "first": {"prorank, index": 0.5},
        "build_tokens": seconds,
        "build_raw": seconds,
        "batch": {10: searches},
        "single": {10: searches},
        "overlap": {BASELINE: 1.0, "bm25s numba": 0.975},
    }
    return Results(**{**fields, **changes})


def setting():
    return tables.Setting(
        corpus="harbour",
        n_docs=1000,
        mean_length=12.0,
        n_queries=9,
        mean_query_length=3.0,
        rounds=3,
        seed=0,
        command="prorank bench lexical",
        machine=tables.describe_machine(),
        versions={"numba": "1.2.3"},
        load=[0.25, 0.5],
        skipped=["tantivy: not installed"],
    )


def test_the_command_writes_the_table_and_the_seconds_of_every_round_without_paths(
    collection, tmp_path, capfd
):
    folder = tmp_path / "results" / "today"
    command = ["bench", "lexical", "--corpus", str(collection), "--engines", "prorank", "--k", "3,100"]
    assert main([*command, "--rounds", "2", "--queries", "5", "--output", str(folder)]) == 0
    page = (folder / "lexical-harbour.md").read_text(encoding="utf-8")
    assert page in capfd.readouterr().out
    assert "40 documents" in page
    assert "5 queries" in page
    for label in ENGINES["prorank"].contestants:
        assert f"| {label} |" in page
    record = json.loads((folder / "lexical-harbour.json").read_text(encoding="utf-8"))
    assert {len(rounds) for rounds in record["seconds"]["batch"]["100"].values()} == {2}
    assert min(record["seconds"]["single"]["3"][BASELINE]) > 0
    assert record["seconds"]["build_raw"].keys() == {"prorank"}
    assert record["setting"]["command"].startswith("prorank bench lexical --corpus harbour ")
    assert str(tmp_path) not in json.dumps(record)
    assert record["setting"]["seed"] == 0
    assert {"cpu", "cores", "python"} <= record["setting"]["machine"].keys()


def test_a_folder_that_cannot_be_read_is_an_error_on_one_line(tmp_path, capfd):
    assert main(["bench", "lexical", "--corpus", str(tmp_path / "nowhere"), "--output", str(tmp_path)]) == 2
    assert "is not a folder" in capfd.readouterr().err


@pytest.mark.parametrize("option", [["--k", "0"], ["--rounds", "0"], ["--engines", "lucene"]])
def test_options_out_of_range_are_refused_before_anything_runs(option, capsys):
    assert main(["bench", "lexical", *option]) == 2
    assert "expected" in capsys.readouterr().err


def test_queries_without_a_term_are_left_out(corpus):
    assert len(corpus.queries) == 9
    assert all(corpus.queries)
    assert corpus.name == "harbour"


def test_the_choice_of_queries_depends_on_the_seed_alone(collection, corpus):
    first, again = (load_corpus(str(collection), "test", most_queries=4, seed=3).queries for _ in range(2))
    assert first == again
    assert len(first) == 4
    assert [query for query in corpus.queries if query in first] == first


def test_a_collection_without_a_usable_query_is_refused(collection):
    (collection / "queries.jsonl").write_text(lines({"_id": f"q{i}", "text": "?"} for i in range(10)))
    with pytest.raises(DataFormatError, match="0 queries"):
        load_corpus(str(collection), "test", most_queries=10, seed=0)


def test_the_standard_library_is_a_corpus_for_everybody():
    corpus = load_corpus("stdlib", "test", most_queries=5, seed=0)
    assert corpus.name == "stdlib"
    assert len(corpus.queries) == 5
    assert len(corpus.texts) == len(corpus.documents) > 1000


def test_a_missing_library_is_left_out_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    present, skipped = choose_engines(["prorank", "bm25s", "tantivy", "baguetter"], n_docs=10)
    assert present == [ENGINES["prorank"]]
    assert [sentence.partition(":")[0] for sentence in skipped] == ["bm25s", "tantivy", "baguetter"]
    assert skipped[1] == "tantivy: tantivy not installed; run: pip install tantivy"
    assert "--no-deps baguetter" in skipped[2]


def test_a_slow_engine_is_spared_large_collections(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda module: True)
    assert choose_engines(["baguetter"], n_docs=25_000)[1] == []
    assert "25,000" in choose_engines(["baguetter"], n_docs=25_001)[1][0]


def test_ratios_are_against_this_package_with_their_spread():
    page = tables.as_markdown(setting(), results())
    assert "| prorank | 500 docs/s | 1 | 500 docs/s | 1 |" in page
    assert "| bm25s | 167 docs/s | 3.00 [2.50, 3.50] |" in page
    assert f"| {BASELINE} | 10.0 µs | 1 | 100.0% |" in page
    assert "| bm25s numba | 30.0 µs | 3.00 [3.00, 4.50] | 97.5% |" in page
    assert "left out: tantivy: not installed" in page


def test_what_is_written_can_be_read_as_json():
    record = json.loads(json.dumps(tables.as_json(setting(), results())))
    assert record["setting"]["versions"] == {"numba": "1.2.3"}
    assert record["seconds"]["build_raw"]["bm25s"] == [4.0, 6.0, 8.0]


def test_every_scorer_of_this_package_takes_part(corpus):
    said = []
    found = measure([ENGINES["prorank"]], corpus, ks=[10], rounds=1, say=said.append)
    assert list(found.batch[10]) == list(found.single[10]) == list(ENGINES["prorank"].contestants)
    assert found.overlap[BASELINE] == 1.0
    assert said[-1] == "searching, k = 10"


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning")
@pytest.mark.parametrize("name", sorted(ENGINES))
def test_an_engine_finds_what_this_package_finds(name):
    chosen, skipped = choose_engines([name], n_docs=300)
    if skipped:
        pytest.skip(skipped[0])
    chance = random.Random(5)
    vocabulary = [f"w{i}" for i in range(400)]
    documents = [chance.choices(vocabulary, k=chance.randint(5, 60)) for _ in range(300)]
    queries = [chance.sample(vocabulary, 4) for _ in range(30)]
    corpus = Corpus("random", [" ".join(document) for document in documents], documents, queries)
    ours = ENGINES["prorank"]
    found = measure(
        [ours] if chosen == [ours] else [ours, *chosen], corpus, [10], 1, say=lambda sentence: None
    )
    assert min(found.overlap.values()) > 0.8
