"""``prorank bench rerank`` with the smallest shape."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")
pytest.importorskip("tokenizers")

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import rerank_engines as engines
from prorank_plugins.cli.bench import rerank_tables as tables
from prorank_plugins.cli.bench.rerank_engines import BASELINE, CONTESTANTS, REFERENCE, choose_contestants
from prorank_plugins.cli.bench.rerank_model import SHAPES, make_model
from prorank_plugins.cli.bench.rerank_worker import Job, Measured, measure
from prorank_plugins.cli.bench.rerank_workload import make_workload
from prorank_plugins.core.errors import ConfigError

TEXTS = [f"The amber ferry number {number} leaves the northern jetty at noon." for number in range(200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model folder of the smallest shape, with a tokenizer trained on a few sentences."""
    folder = tmp_path_factory.mktemp("model")
    make_model(folder, SHAPES["tiny"], None, TEXTS)
    return folder


def measured(seconds, scores=(0.0, 1.0, 2.0), **changes):
    fields = {
        "load": 2.0, "load_after_torch": 0.5, "seconds": seconds, "wall": seconds, "peak_mib": 100.0,
        "batch_size": 8,
    }  # fmt: skip
    return Measured(scores=list(scores), **{**fields, **changes})


def setting():
    return tables.Setting(
        shape="tiny",
        n_documents=3,
        mean_length=100.0,
        rounds=3,
        seed=0,
        command="prorank bench rerank",
        machine={"cpu": "one", "cores": 2, "os": "two", "python": "3", "numpy": "2"},
        versions={"torch": "1.2.3"},
        load=[0.25, 0.5],
        skipped=["onnx: not installed"],
    )


def test_the_command_writes_the_table_and_every_round_without_paths(tmp_path, capfd, folder):
    out = tmp_path / "results" / "today"
    command = ["bench", "rerank", "--shape", "tiny", "--engines", "prorank", "--rounds", "1"]
    words = ["--documents", "3", "--tokenizer", str(folder), "--output", str(out)]
    assert main([*command, *words]) == 0
    page = (out / "rerank-tiny.md").read_text(encoding="utf-8")
    assert page in capfd.readouterr().out
    assert "3 candidates" in page
    assert f"| {BASELINE} | " in page
    assert "| prorank int8 (approximate) | " in page
    record = json.loads((out / "rerank-tiny.json").read_text(encoding="utf-8"))
    assert [len(several) for several in record["rounds"].values()] == [1] * len(record["rounds"])
    assert record["rounds"][BASELINE][0]["seconds"] > 0
    assert len(record["scores"][BASELINE]) == 3
    assert record["setting"]["command"].endswith(f"--tokenizer {folder.name}")
    assert str(tmp_path) not in json.dumps(record)
    assert str(folder) not in json.dumps(record)


@pytest.mark.parametrize("option", [["--documents", "0"], ["--rounds", "0"], ["--engines", "cohere"]])
def test_options_out_of_range_are_refused_before_anything_runs(option, capsys):
    assert main(["bench", "rerank", *option]) == 2
    assert "expected" in capsys.readouterr().err


def test_a_folder_without_a_tokenizer_is_an_error_on_one_line(tmp_path, capfd):
    command = ["bench", "rerank", "--shape", "tiny", "--engines", "prorank"]
    assert main([*command, "--tokenizer", str(tmp_path), "--output", str(tmp_path)]) == 2
    assert "holds no tokenizer.json" in capfd.readouterr().err


def test_a_tokenizer_with_more_tokens_than_the_model_is_refused(folder, tmp_path):
    with pytest.raises(ConfigError, match="the model only 100"):
        make_model(tmp_path, replace(SHAPES["tiny"], vocabulary=100), folder, TEXTS)


def test_documents_are_as_long_as_said_and_depend_on_the_seed_alone(folder):
    first, again, other = (make_workload(folder, TEXTS, 20, seed) for seed in (3, 3, 4))
    assert first == again != other
    assert len(first.documents) == 20
    assert 20 * 20 <= first.n_tokens <= 20 * 300


def test_a_missing_library_is_left_out_with_the_line_that_installs_it(monkeypatch):
    ours = engines.ProRank.modules
    monkeypatch.setattr(engines, "find_spec", lambda module: module if module in ours else None)
    monkeypatch.setattr(engines, "_multiplies_bfloat16", lambda: False)
    present, skipped = choose_contestants(["prorank", "mxbai", "sentence-transformers", "onnx"])
    assert [each.label for each in present] == [BASELINE, "prorank int8 (approximate)"]
    assert skipped[0].endswith("this processor has no instructions for it")
    assert skipped[1] == "mxbai: mxbai_rerank not installed; run: pip install mxbai-rerank"
    assert [sentence.partition(":")[0] for sentence in skipped[2:]] == ["sentence-transformers", "onnx"]


def test_ratios_are_against_this_package_and_differences_against_the_reference():
    results = {
        BASELINE: [measured(1.0), measured(1.0), measured(1.0)],
        REFERENCE: [measured(4.0, (0.0, 1.0, 1.5)), measured(6.0), measured(8.0, peak_mib=400.0)],
    }
    page = tables.as_markdown(setting(), results)
    assert f"| {BASELINE} | 3.00 | 1 | 2.00 | 0.50 | 100 | 5.0e-01 | 1.000 |" in page
    assert f"| {REFERENCE} (8) | 0.50 | 6.00 [5.00, 7.00] | 2.00 | 0.50 | 400 | 0.0e+00 | 1.000 |" in page
    assert "left out: onnx: not installed" in page


def test_loading_after_torch_is_a_part_of_loading(folder):
    found = measure(Job(BASELINE, str(folder), "amber ferry", TEXTS[:2], (1,)))
    assert 0 < found.load_after_torch <= found.load


def test_without_the_reference_the_baseline_is_right():
    results = {BASELINE: [measured(1.0)], "another": [measured(2.0, (0.0, 1.0, 2.25))]}
    assert "| another | 1.50 | 2.00 [2.00, 2.00] | 2.00 | 0.50 | 100 | 2.5e-01 |" in tables.as_markdown(
        setting(), results
    )


def test_tau_counts_pairs_in_the_same_and_in_the_opposite_order():
    assert tables.kendall_tau([1.0, 2.0, 3.0], [10.0, 20.0, 30.0]) == 1.0
    assert tables.kendall_tau([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == -1.0
    assert tables.kendall_tau([1.0, 2.0, 3.0], [1.0, 3.0, 2.0]) == pytest.approx(1 / 3)
    assert tables.kendall_tau([1.0], [2.0]) == 1.0


@pytest.mark.peers
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["mxbai", "sentence-transformers", "onnx"])
def test_a_peer_gives_the_scores_that_this_package_gives(name, folder):
    chosen, skipped = choose_contestants([name])
    if skipped:
        pytest.skip(skipped[0])
    if name == "onnx":
        from prorank_plugins.cli.bench.rerank_export import export

        export(folder)
    workload = make_workload(folder, TEXTS, 4, seed=0)

    def scores(contestant):
        job = Job(contestant.label, str(folder), workload.query, workload.documents, contestant.batch_sizes)
        return measure(job).scores

    assert scores(chosen[-1]) == pytest.approx(scores(CONTESTANTS["prorank"][0]), abs=2e-5)
