"""``prorank bench lexical`` on forty documents."""

from __future__ import annotations

import json
import os
import random

import pytest

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import engines, tables
from prorank_plugins.cli.bench.corpora import Corpus, load_corpus
from prorank_plugins.cli.bench.engine_pisa import Spelling
from prorank_plugins.cli.bench.engines import BASELINE, ENGINES, choose_engines, contestants_of
from prorank_plugins.cli.bench.measure import measure
from prorank_plugins.cli.bench.silence import silence
from prorank_plugins.core.errors import DataFormatError
from tests.benches import WORDS, lines


@pytest.fixture
def corpus(harbour):
    return load_corpus(str(harbour), "test", most_queries=100, seed=0)


def section(bench_setting, **changes):
    seconds = {"prorank": [2.0, 2.0, 2.0], "bm25s": [4.0, 6.0, 8.0]}
    searches = {BASELINE: [1e-5, 1e-5, 1e-5], "bm25s numba": [3e-5, 3e-5, 6e-5]}
    measured = {
        "build": {"raw text": seconds, "terms": seconds},
        "batch": {"10": searches},
        "single": {"10": searches},
        "overlap": {BASELINE: 1.0, "bm25s numba": 0.975},
    }
    return {"setting": bench_setting, "seconds": {**measured, **changes}}


def test_the_command_writes_the_table_and_the_seconds_of_every_round_without_paths(harbour, tmp_path, capfd):
    folder = tmp_path / "results" / "today"
    command = ["bench", "lexical", "--corpus", str(harbour), "--engines", "prorank", "--k", "3,100"]
    assert main([*command, "--rounds", "2", "--queries", "5", "--output", str(folder)]) == 0
    shown = capfd.readouterr().out.strip()
    assert shown in (folder / "lexical.md").read_text(encoding="utf-8")
    assert "40 documents" in shown
    assert "5 queries" in shown
    for label in ENGINES["prorank"].contestants:
        assert f"| {label} |" in shown
    record = json.loads((folder / "lexical.json").read_text(encoding="utf-8"))
    found = record["search"]["harbour"]
    assert {len(rounds) for rounds in found["seconds"]["batch"]["100"].values()} == {2}
    assert min(found["seconds"]["single"]["3"][BASELINE]) > 0
    assert found["seconds"]["build"]["raw text"].keys() == {"prorank"}
    assert found["setting"]["command"].startswith("prorank bench lexical --corpus harbour ")
    assert str(tmp_path) not in json.dumps(record)
    assert found["setting"]["seed"] == 0
    assert {"cpu", "cores", "python"} <= found["setting"]["machine"].keys()


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


def test_the_choice_of_queries_depends_on_the_seed_alone(harbour, corpus):
    first, again = (load_corpus(str(harbour), "test", most_queries=4, seed=3).queries for _ in range(2))
    assert first == again
    assert len(first) == 4
    assert [query for query in corpus.queries if query in first] == first


def test_a_collection_without_a_usable_query_is_refused(harbour):
    (harbour / "queries.jsonl").write_text(lines({"_id": f"q{i}", "text": "?"} for i in range(10)))
    with pytest.raises(DataFormatError, match="0 queries"):
        load_corpus(str(harbour), "test", most_queries=10, seed=0)


def test_the_standard_library_is_a_corpus_for_everybody():
    corpus = load_corpus("stdlib", "test", most_queries=5, seed=0)
    assert corpus.name == "stdlib"
    assert len(corpus.queries) == 5
    assert len(corpus.texts) == len(corpus.documents) > 1000


def test_a_resampled_corpus_has_the_size_and_the_questions_asked_for(harbour, corpus):
    larger = load_corpus(str(harbour), "test", most_queries=100, seed=0, resample=90)
    assert larger.name == "harbour-resampled-90"
    assert len(larger.texts) == len(larger.documents) == 90
    assert larger.queries == corpus.queries


def test_a_missing_library_is_left_out_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda module: None)
    present, skipped = choose_engines(["prorank", "bm25s", "tantivy", "pisa", "baguetter"], n_docs=10)
    assert present == [ENGINES["prorank"]]
    assert [sentence.partition(":")[0] for sentence in skipped] == ["bm25s", "tantivy", "pisa", "baguetter"]
    assert skipped[1] == "tantivy: tantivy not installed; run: pip install tantivy"
    assert "--no-deps baguetter" in skipped[3]


def test_a_slow_engine_is_spared_large_collections(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda module: True)
    assert choose_engines(["baguetter"], n_docs=25_000)[1] == []
    assert "25,000" in choose_engines(["baguetter"], n_docs=25_001)[1][0]


def test_a_slow_way_to_search_is_left_out_while_its_engine_takes_part(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda module: True)
    present, skipped = choose_engines(["bm25s"], n_docs=1_000_000)
    assert present == [ENGINES["bm25s"]]
    assert skipped == ["bm25s numpy: only run on collections of up to 300,000 documents"]
    assert list(contestants_of(ENGINES["bm25s"], 1_000_000)) == ["bm25s numba"]
    assert len(contestants_of(ENGINES["bm25s"], 1000)) == 2


def test_terms_that_a_tokeniser_would_split_are_spelled_in_letters_and_digits():
    spelled = Spelling()
    assert spelled["paris"] == "paris"
    assert spelled["naïve"] == "x6e61c3af7665"
    assert spelled["snake_case"].isalnum()
    assert len({spelled["naïve"], spelled["naive"], spelled["snake_case"]}) == 3


def test_what_native_code_prints_goes_nowhere_while_silent(capfd):
    with silence():
        os.write(1, b"progress 5%")
        os.write(2, b"progress 10%")
    os.write(1, b"answer")
    assert capfd.readouterr() == ("answer", "")


def test_an_engine_without_a_folder_says_that_it_cannot_save(corpus):
    engine = ENGINES["prorank"]()
    engine.build_tokens(corpus.documents)
    with pytest.raises(ValueError, match="without a folder"):
        engine.save()


def test_ratios_are_against_this_package_with_their_spread(bench_setting):
    page = tables.search_section(section(bench_setting))
    assert "| prorank | 500 docs/s | 1 | 500 docs/s | 1 |" in page
    assert "| bm25s | 167 docs/s | 3.00 [2.50, 3.50] |" in page
    assert f"| {BASELINE} | 10.0 µs | 1 | 100.0% |" in page
    assert "| bm25s numba | 30.0 µs | 3.00 [3.00, 4.50] | 97.5% |" in page
    assert "left out: tantivy: not installed" in page


def test_every_scorer_of_this_package_takes_part(corpus):
    said = []
    found = measure([ENGINES["prorank"]], corpus, ks=[10], rounds=1, say=said.append, index_from=["terms"])
    assert list(found.batch[10]) == list(found.single[10]) == list(ENGINES["prorank"].contestants)
    assert list(found.build) == ["terms"]
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


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning")
@pytest.mark.parametrize("name", sorted(ENGINES))
def test_a_saved_index_answers_as_the_one_that_was_built(name, tmp_path):
    chosen, skipped = choose_engines([name], n_docs=100)
    if not chosen:
        pytest.skip(skipped[0])
    chance = random.Random(6)
    documents = [chance.choices(WORDS, k=chance.randint(3, 40)) for _ in range(100)]
    built = chosen[0](tmp_path / "index")
    built.build_tokens(iter(documents))
    built.save()
    loaded = chosen[0](tmp_path / "index")
    loaded.load()
    for label in chosen[0].contestants:
        answers = [engine.rows(engine.search(label, ["amber", "fjord"], 10)) for engine in (built, loaded)]
        assert answers[0] == answers[1]
        assert len(answers[0]) == 10
