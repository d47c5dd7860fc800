"""Measuring in processes of their own: files, memory, the worker, footprint and scaling."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time

import pytest

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import fresh, fresh_worker, memory
from prorank_plugins.cli.bench.corpora import Source
from prorank_plugins.cli.bench.document_files import write_documents
from prorank_plugins.cli.bench.engine import BASELINE
from prorank_plugins.cli.bench.footprint_tables import footprint_section
from prorank_plugins.cli.bench.fresh_worker import Job
from prorank_plugins.cli.bench.scaling import names_at
from prorank_plugins.core.errors import ProRankError

TEXTS = ["Two foxes\nran home.", "", "A fox sleeps", *(f"paper number {i}" for i in range(30))]
QUERIES = (("fox", "ran"), ("paper",))


@pytest.fixture
def files(tmp_path):
    return write_documents(Source("foxes", len(TEXTS), [], TEXTS, None), tmp_path)


@pytest.fixture
def build(files, tmp_path):
    return Job("build", "prorank", str(tmp_path / "index"), file=str(files.terms), n_docs=len(TEXTS))


def test_each_document_is_one_line_of_text_and_one_of_terms(files):
    assert files.texts.read_text().splitlines()[:3] == ["Two foxes ran home.", "", "A fox sleeps"]
    assert files.terms.read_text().splitlines()[:3] == ["two fox ran home", "", "fox sleep"]
    assert files.n_terms == 6 + 30 * 3


def test_what_was_built_can_be_searched(build, tmp_path):
    built = fresh_worker.build(build)
    sizes = [path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.is_file()]
    assert built["disk"] == sum(sizes) > 0
    assert built["cpu_s"] >= 0
    assert built["peak"] > 0
    started = time.time()
    job = Job(
        "search", "prorank", build.folder, contestant=BASELINE, queries=QUERIES, ks=(3, 5), started=started
    )
    found = fresh_worker.search(job)
    assert list(found["batch"]) == list(found["single"]) == [3, 5]
    assert min(found["batch"].values()) > 0
    assert 0 < found["first_wall_s"] <= time.time() - started


def test_raw_text_is_indexed_without_saving(build, files, tmp_path):
    job = Job("build", "prorank", str(tmp_path / "raw"), file=str(files.texts), n_docs=3, raw=True)
    assert fresh_worker.build(job)["disk"] == 0
    assert not (tmp_path / "raw").exists()


def test_a_process_of_its_own_loads_nothing_that_its_engine_does_not_need():
    folders = {
        "prorank_plugins.cli": "nowhere",
        "prorank_plugins.cli.bench": fresh.__file__.rpartition("/")[0],
    }
    code = fresh._START.format(folders=folders).replace("main()\n", "")
    code += "heavy = ('numpy', 'numba', 'Stemmer', 'prorank_plugins.lexical.index', 'argparse')\n"
    code += "print([module for module in heavy if module in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_job_that_fails_in_its_process_is_an_error_that_names_the_engine(tmp_path):
    with pytest.raises(ProRankError, match=r"prorank failed to search .*IndexNotFoundError"):
        fresh._run(Job("search", "prorank", str(tmp_path / "nothing"), contestant=BASELINE), tmp_path)


def test_memory_is_at_most_its_peak():
    now = memory.memory()
    assert now.peak > 1 << 20
    if now.now is not None:
        assert now.private <= now.now <= now.peak


def test_without_proc_only_the_peak_is_known(monkeypatch):
    monkeypatch.setattr(memory, "Path", NoFile)
    found = memory.memory()
    assert (found.now, found.private) == (None, None)
    assert found.peak > 1 << 20


class NoFile:
    def __init__(self, name):
        pass

    def read_text(self, encoding):
        raise FileNotFoundError


def rounds(seconds, size):
    return {
        "load_s": seconds, "first_cpu_s": seconds, "first_wall_s": seconds, "imported": size, "loaded": size,
        "searching": size, "private": None, "peak": size, "batch": {}, "single": {},
    }  # fmt: skip


def test_the_footprint_page_shows_medians_of_rounds(bench_setting):
    built = {"cpu_s": 2.0, "save_s": 0.25, "disk": 50 << 20, "before": 1, "peak": 300 << 20}
    section = {
        "setting": bench_setting,
        "build": {"prorank": {"raw text": built, "terms": built}},
        "engine_of": {BASELINE: "prorank"},
        "empty": {BASELINE: [rounds(3.0, 1), rounds(5.0, 1), rounds(4.0, 1)]},
        "warm": {BASELINE: [rounds(0.01, 20 << 20), rounds(0.02, 30 << 20), rounds(0.5, 90 << 20)]},
    }
    page = footprint_section(section)
    assert "| prorank | 500 docs/s | 300 MiB | 500 docs/s | 300 MiB | 250 ms | 50 MiB |" in page
    assert f"| {BASELINE} | 20 ms | 4.00 s | 0.02 s | 30 MiB | 30 MiB | 30 MiB | nan MiB | 30 MiB |" in page


def test_other_engines_grow_as_far_as_they_are_told_to():
    arguments = argparse.Namespace(engines=["prorank", "tantivy", "bm25s"], others_up_to=1000)
    assert names_at(1000, arguments) == ["prorank", "tantivy", "bm25s"]
    assert names_at(1001, arguments) == ["prorank"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "kind"), [(["footprint"], "footprint"), (["scaling", "--sizes", "20,40"], "scaling")]
)
def test_the_commands_measure_in_new_processes(command, kind, harbour, tmp_path, capfd):
    options = [
        "--corpus",
        str(harbour),
        "--engines",
        "prorank",
        "--rounds",
        "1",
        "--output",
        str(tmp_path),
    ]
    assert main(["bench", *command, *options]) == 0
    assert BASELINE in capfd.readouterr().out
    (section,) = json.loads((tmp_path / "lexical.json").read_text(encoding="utf-8"))[kind].values()
    assert section["setting"]["corpus"] == "harbour"
