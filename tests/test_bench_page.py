"""The record of all lexical benchmarks, the goals, the growth and the page."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from itertools import pairwise

import pytest

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import goals, scaling_plot
from prorank_plugins.cli.bench.engine import BASELINE
from prorank_plugins.cli.bench.record import keep, read_record
from prorank_plugins.cli.bench.resampling import Resampler
from prorank_plugins.cli.bench.scaling_tables import curve, extrapolate, scaling_section
from prorank_plugins.core.errors import ConfigError, DataFormatError
from tests.benches import WORDS


def at_size(seconds, size):
    search = {
        "batch": {"10": seconds, "100": 1.0},
        "single": {"10": 2 * seconds, "100": 1.0},
        "searching": size,
    }
    return {
        "build": {"prorank": {"cpu_s": 100 * seconds, "disk": size}},
        "engine_of": {BASELINE: "prorank"},
        "search": {BASELINE: [search, search]},
    }


@pytest.fixture
def growth(bench_setting):
    return {
        "setting": bench_setting,
        "sizes": {"1000": at_size(1e-5, 1 << 20), "100000": at_size(1e-4, 11 << 20)},
    }


def edits(slower):
    searching = {"idle": [1e-5, 1e-5], "paced": [1.5e-5, 1.5e-5], "busy": [slower * 1e-5, slower * 1e-5]}
    return {
        "singles": {"add": [0.001, 0.002, 0.009]},
        "mixed": {"seconds": 1.0, "edits": 100, "queries": 7, "different": 0},
        "median": searching,
        "p99": searching,
        "per_second": {"idle": [0, 0], "paced": [100, 100], "busy": [900, 900]},
    }


def test_each_section_has_its_place_and_others_stay(tmp_path, bench_setting):
    first = keep(tmp_path, "edits", "harbour", {"setting": bench_setting, "memory": edits(1)})
    keep(tmp_path, "edits", "island", {"setting": {**bench_setting, "corpus": "island"}, "memory": edits(2)})
    record = read_record(tmp_path)
    assert record["edits"]["harbour"] == first
    page = (tmp_path / "lexical.md").read_text(encoding="utf-8")
    assert "## Edits on harbour" in page
    assert "## Edits on island" in page
    assert "| add, in memory | 2 ms | 8.86 ms | 9 ms |" in page
    assert "| edits without a pause, in memory | 20.0 µs | 2.00 [2.00, 2.00] |" in page


def test_a_file_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "lexical.json").write_text('{"speed": 1}')
    with pytest.raises(DataFormatError, match="Delete it"):
        keep(tmp_path, "edits", "harbour", {})
    (tmp_path / "lexical.json").write_text("{")
    with pytest.raises(DataFormatError, match="not JSON"):
        read_record(tmp_path)


def test_the_page_can_be_written_again(tmp_path, growth):
    (tmp_path / "lexical.json").write_text(json.dumps({"scaling": {"harbour": growth}}))
    (tmp_path / "lexical-notes.md").write_text("The third goal needs another cache.\n")
    assert main(["bench", "page", "--output", str(tmp_path)]) == 0
    page = (tmp_path / "lexical.md").read_text(encoding="utf-8")
    assert "# Lexical search" in page
    assert "## Growth, on text resampled from harbour" in page
    assert scaling_plot.PICTURE in page
    assert page.index("another cache") < page.index("## Growth")


def test_goals_are_reached_or_not_by_the_median_ratio(bench_setting):
    batch = {BASELINE: [1.0, 1.0, 1.0], "bm25s numba": [4.0, 4.7, 9.0], "tantivy": [6.0, 6.5, 6.7]}
    seconds = {"build": {}, "batch": {"10": batch}, "single": {}}
    record = {
        "search": {goals.PASSAGES_19K: {"setting": bench_setting, "seconds": seconds}},
        "edits": {goals.PASSAGES_250K: {"setting": bench_setting, "durable": edits(2.5)}},
    }
    table = goals.goals_table(record)
    assert "k = 10: bm25s numba | ≥ 4.6× | 4.70 [4.35, 6.85]× | yes |" in table
    assert "k = 10: tantivy | ≥ 6.6× | 6.50 [6.25, 6.60]× | **no** |" in table
    assert "add one document, durable, median | ≤ 5 ms | 2 ms | yes |" in table
    assert "search during busy edits, durable: idle | ≤ 2.00× | 2.50× | **no** |" in table
    assert "durable | 0 after 10,000 edits | 0 after 100 | **no** |" in table
    assert "3 of 6 reached" in table
    assert goals.goals_table({}) == ""


def test_goals_of_size_are_on_a_million_documents(bench_setting):
    built = {"cpu_s": 1.0, "disk": 100, "peak": 8e8}
    searched = [{"searching": 60, "load_s": 0.01, "first_cpu_s": 0.5}]
    section = {
        "setting": bench_setting,
        "build": {"prorank": {"terms": {**built, "disk": 40}}, "bm25s": {"terms": built}},
        "warm": {BASELINE: searched, "bm25s numba": [{"searching": 100}]},
        "empty": {BASELINE: searched},
    }
    table = goals.goals_table({"footprint": {goals.PASSAGES_1M: section}})
    assert "disk: bm25s | ≤ 0.50× | 0.40× | yes |" in table
    assert "memory while searching: bm25s numba | ≤ 0.60× | 0.60× | yes |" in table
    assert "peak memory, indexing terms | ≤ 0.70 GB | 0.80 GB | **no** |" in table
    assert "first answer, cache warm (CPU) | ≤ 0.9 s | 0.5 s | yes |" in table


def test_a_query_grows_by_a_power_and_a_size_by_a_line(growth):
    batch, disk = curve(growth, BASELINE, "batch"), curve(growth, BASELINE, "disk")
    assert batch == {1000: 1e-5, 100_000: 1e-4}
    # Ten times as long at a hundred times the documents.
    assert extrapolate(batch, "batch", 10_000_000) == pytest.approx(1e-3)
    assert extrapolate(disk, "disk", 199_000) == pytest.approx(21 << 20)
    assert math.isnan(extrapolate({1000: 1.0}, "batch"))


def test_growth_is_shown_with_what_it_comes_to_on_paper(growth):
    page = scaling_section(growth)
    assert "|  | 1,000 | 100,000 | 100,000,000 (on paper) |" in page
    assert f"| {BASELINE} | 10.0 µs | 100 µs | 3,162 µs |" in page
    assert f"| {BASELINE} | 1 MiB | 11 MiB |" in page


def test_growth_is_drawn(growth, tmp_path):
    image = pytest.importorskip("matplotlib.image")
    scaling_plot.draw({"harbour": growth}, tmp_path / "scaling.png")
    assert image.imread(tmp_path / "scaling.png").shape[2] == 4


def test_without_matplotlib_the_page_is_written_without_its_picture(growth, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    keep(tmp_path, "scaling", "harbour", growth)
    assert "pip install matplotlib" in capsys.readouterr().err
    assert (tmp_path / "lexical.md").exists()


def real_texts():
    return [" ".join(WORDS[i % 11 :] + WORDS[: i % 5]) for i in range(300)]


def test_resampled_documents_depend_on_the_seed_and_their_place_alone():
    few, many = (list(Resampler(real_texts(), seed=3).documents(n)) for n in (5, 2100))
    assert len(few) == 5
    assert len(many) == 2100
    assert many[:5] == few
    assert list(Resampler(real_texts(), seed=4).documents(5)) != few


def test_resampled_documents_have_real_lengths_and_mostly_real_words():
    lengths = {len(text.split()) for text in real_texts()}
    documents = [text.split() for text in Resampler(real_texts()).documents(3000)]
    assert {len(document) for document in documents} <= lengths
    counts = Counter(word in WORDS for document in documents for word in document)
    assert counts[False] / counts.total() == pytest.approx(0.01, abs=0.003)


def test_resampled_documents_keep_neighbouring_words_together():
    following = set(pairwise(WORDS))
    pairs = Counter(
        pair in following
        for text in Resampler([" ".join(WORDS)] * 50).documents(500)
        for pair in pairwise(text.split())
    )
    assert pairs[True] / pairs.total() > 0.7


def test_nothing_can_be_resampled_from_no_word():
    with pytest.raises(ConfigError, match="no word"):
        Resampler(["", " "])
