"""``prorank train``: the stages end to end on a tiny model, their options and their errors."""

import json
import re
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest

from prorank_plugins import ProRankReranker
from prorank_plugins.cli import main
from prorank_plugins.training import DistillationConfig, ScoreLearningConfig, WarmupConfig
from prorank_plugins.training.recording import read_reports
from tests import tiny_models

GROUPS = [
    {"query": "fruit", "documents": ["apple pear plum", "hammer saw", "eagle robin"], "grades": [2, 0, 0]},
    {"query": "tool", "documents": ["hammer drill saw", "apple grape", "swan finch"], "grades": [1, 0, 0]},
    {"query": "bird", "documents": ["crow heron swan", "level clamp", "peach lemon"], "grades": [1, 0, 0]},
    {"query": "metal", "documents": ["iron zinc gold", "apple pear", "saw file"], "grades": [1, 0, 0]},
]
SETTINGS = ["--steps", 4, "--batch-size", 4, "--learning-rate", "1e-3", "--device", "cpu", "--max-length", 64]
KINDS = {"warmup": WarmupConfig, "scores": ScoreLearningConfig, "distill": DistillationConfig}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("models") / "tiny")


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


@pytest.fixture
def groups(tmp_path):
    return write_lines(tmp_path / "groups.jsonl", GROUPS)


@pytest.fixture
def beir(tmp_path):
    """Three judged questions over twelve documents that share words with them."""
    folder = tmp_path / "collection"
    (folder / "qrels").mkdir(parents=True)
    texts = [f"{group['query']} {document}" for group in GROUPS for document in group["documents"]]
    write_lines(folder / "corpus.jsonl", [
        {"_id": f"d{number}", "title": "", "text": text} for number, text in enumerate(texts)
    ])  # fmt: skip
    write_lines(folder / "queries.jsonl", [
        {"_id": f"q{number}", "text": f"which {group['query']}"} for number, group in enumerate(GROUPS)
    ])  # fmt: skip
    judged = [f"q{number}\td{3 * number}\t1" for number in range(len(GROUPS))]
    (folder / "qrels" / "train.tsv").write_text("\n".join(["query-id\tcorpus-id\tscore", *judged]) + "\n")
    return folder


@pytest.fixture
def train(capsys):
    def run(*argv):
        code = main(["train", *map(str, argv)])
        out, err = capsys.readouterr()
        assert code == 0, err
        return out

    return run


@pytest.fixture
def fails(capsys):
    def run(*argv):
        assert main(["train", *map(str, argv)]) == 2
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert err.count("\n") == 1
        assert err.startswith("prorank: error: ")
        return err.removeprefix("prorank: error: ").strip()

    return run


def loaded(folder):
    return ProRankReranker.from_pretrained(folder, device="cpu", check=False)


@pytest.mark.parametrize("stage", KINDS)
def test_a_stage_trains_from_json_lines_to_a_model_with_reports_and_a_picture(
    stage, model, groups, tmp_path, train
):
    pytest.importorskip("matplotlib")
    teacher = ["--teacher", model] if stage == "distill" else []
    output = tmp_path / "out"
    shown = train(stage, "--model", model, "--data", groups, "--output", output, *teacher, *SETTINGS)
    assert shown.startswith("step 4: loss ")
    assert f"model      {output}\n" in shown
    assert [report.step for report in read_reports(output)] == [1, 2, 3, 4]
    assert (output / "curves.png").stat().st_size > 10_000
    trained = json.loads((output / "prorank.json").read_text("utf-8"))["training"]
    assert (trained["steps"], trained["batch_size"], trained["learning_rate"]) == (4, 4, 1e-3)
    pairs = [("fruit", "apple"), ("tool", "apple")]
    moved = np.abs(loaded(output).score_pairs(pairs) - loaded(model).score_pairs(pairs)).max()
    assert moved > 1e-4 or stage == "distill"  # that is its own teacher


@pytest.mark.parametrize("stage", ["warmup", "scores"])
def test_negatives_are_mined_from_a_beir_folder(stage, model, beir, tmp_path, train):
    output = tmp_path / "out"
    options = ["--beir", beir, "--negatives", 2, "--language", "en", "--no-picture"]
    train(stage, "--model", model, "--output", output, *options, *SETTINGS)
    assert [report.step for report in read_reports(output)] == [1, 2, 3, 4]
    assert not (output / "curves.png").exists()


def test_a_beir_folder_and_a_teacher_make_groups_to_distill(model, beir, tmp_path, train):
    options = ["--beir", beir, "--negatives", 2, "--teacher", model, "--no-picture"]
    train("distill", "--model", model, "--output", tmp_path / "out", *options, *SETTINGS)
    assert read_reports(tmp_path / "out")[0].loss == pytest.approx(0, abs=1e-6)


def test_a_file_with_scores_needs_no_teacher(model, tmp_path, train):
    scored = [{**group, "teacher_scores": [3.0, -1.0, -2.0]} for group in GROUPS]
    data = write_lines(tmp_path / "scored.jsonl", scored)
    train(
        "distill", "--model", model, "--data", data, "--output", tmp_path / "out", "--no-picture", *SETTINGS
    )
    losses = [report.loss for report in read_reports(tmp_path / "out")]
    assert losses[-1] < losses[0]


def test_development_groups_are_measured_and_stop_a_run_that_no_longer_gets_better(
    model, groups, tmp_path, train
):
    # nDCG over two groups that no step of this size can reorder: the first measurement stays the best.
    shown = train(
        "scores", "--model", model, "--data", groups, "--dev", groups, "--output", tmp_path / "out",
        *SETTINGS, "--steps", 50, "--learning-rate", "1e-9", "--evaluate-every", 1, "--patience", 2,
        "--no-picture",
    )  # fmt: skip
    assert "dev_ndcg@10" in shown
    assert [report.step for report in read_reports(tmp_path / "out")] == [1, 2, 3]


def test_a_run_goes_on_where_it_stopped_and_says_when_there_is_nothing_left(model, groups, tmp_path, train):
    output = tmp_path / "out"
    command = ["scores", "--model", model, "--data", groups, "--output", output, *SETTINGS,
               "--checkpoint-every", 2, "--warmup-ratio", 0, "--schedule", "constant",
               "--no-picture"]  # fmt: skip
    train(*command)
    assert "step 6: " in train(*command, "--steps", 6)
    assert [report.step for report in read_reports(output)] == [1, 2, 3, 4, 5, 6]
    assert train(*command, "--steps", 6) == f"{output} has all 6 steps already\n"
    whole = tmp_path / "whole"
    train(*command[:6], whole, *command[7:], "--steps", 6)
    assert (whole / "model.safetensors").read_bytes() == (output / "model.safetensors").read_bytes()
    train(*command, "--steps", 6, "--no-resume")
    assert [report.step for report in read_reports(output)] == [1, 2, 3, 4, 5, 6]


def test_options_reach_the_configuration(model, groups, tmp_path, train):
    train(
        "warmup", "--model", model, "--data", groups, "--output", tmp_path / "out", *SETTINGS, "--steps", 1,
        "--loss", "sft", "--reward", "format=0.5", "--reward", "accuracy=2", "--balance", "none",
        "--max-grad-norm", "none", "--scale-rewards", "none", "--betas", 0.8, 0.9, "--prompt", "prorank",
        "--allow-special-tokens", "--no-picture",
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "prorank.json").read_text("utf-8"))["training"]
    assert found["loss"] == "sft"
    weights = {name: weight for name, (_, weight) in found["rewards"].items()}
    assert weights == {"format": 0.5, "accuracy": 2.0}
    assert (found["balance"], found["max_grad_norm"], found["scale_rewards"]) == (None, None, "none")
    assert (found["betas"], found["allow_special_tokens"]) == ([0.8, 0.9], True)
    assert found["dropout"] == 0.0


def test_losses_are_mixed_by_giving_several(model, groups, tmp_path, train):
    train(
        "scores", "--model", model, "--data", groups, "--output", tmp_path / "out", *SETTINGS, "--no-picture",
        "--loss", "ranknet", "--loss", "bce=0.25",
    )  # fmt: skip
    found = json.loads((tmp_path / "out" / "prorank.json").read_text("utf-8"))["training"]
    assert found["loss"] == {"ranknet": 1.0, "bce": 0.25}


def test_low_rank_additions_are_merged_into_what_is_saved(model, groups, tmp_path, train):
    pytest.importorskip("peft")
    train(
        "scores", "--model", model, "--data", groups, "--output", tmp_path / "out", *SETTINGS,
        "--lora-rank", 2, "--no-picture",
    )  # fmt: skip
    assert loaded(tmp_path / "out").score("fruit", ["apple"]).shape == (1,)


def test_a_trained_model_is_exported(model, tmp_path, train, monkeypatch):
    source = tiny_models.copy(model, tmp_path / "mine")
    assert train("export", source, "--to", "vllm") == f"model      {tmp_path / 'mine-vllm'}\n"
    train("export", source, tmp_path / "small", "--to", "prorank", "--int8")
    assert loaded(tmp_path / "small").score("fruit", ["apple"]).shape == (1,)


@pytest.mark.parametrize("stage", KINDS)
def test_the_help_lists_every_setting_with_its_default(stage, train):
    shown = " ".join(train(stage, "--help").split())
    named = set(re.findall(r"--(?!no-)([a-z-]+)", shown))
    other = {"output_dir": "output", "lora": "lora-rank", "rewards": "reward"}
    for field in fields(KINDS[stage]):
        assert other.get(field.name, field.name.replace("_", "-")) in named, field.name
    assert "--steps N optimizer steps (default: 100)" in shown
    assert "examples: prorank train " in shown


def test_the_command_lists_its_stages(train):
    shown = train("--help")
    for stage in [*KINDS, "export"]:
        assert re.search(rf"^    {stage} +\S", shown, re.MULTILINE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "steps must be a whole number of at least 1, found 0"),
        (["--learning-rate", "-1"], "learning_rate must be a number above 0"),
        (["--schedule", "linear"], "schedule must be one of cosine, constant"),
        (["--loss", "hinge"], "hinge"),
        (["--loss", "bce=much"], "expected NAME or NAME=WEIGHT"),
        (["--patience", "2"], "--patience needs --dev"),
        (["--dev", "nowhere.jsonl"], "nowhere.jsonl"),
        (["--n-documents", "1"], "a group needs at least 2 documents"),
        (["--dtype", "float16"], "dtype must be one of float32, bfloat16"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_settings_that_cannot_be_are_one_line(options, message, model, groups, tmp_path, fails):
    found = fails(
        "scores", "--model", model, "--data", groups, "--output", tmp_path / "out", *SETTINGS, *options
    )
    assert message in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--reward", "length=1"], "--reward length: expected one of format, accuracy"),
        (["--estimator", "beam"], "estimator must be one of group, exact"),
        (["--loss", "dpo"], "loss must be one of grpo, reinforce, sft"),
    ],
)
def test_settings_of_warm_up_that_cannot_be_are_one_line(options, message, model, groups, tmp_path, fails):
    found = fails("warmup", "--model", model, "--data", groups, "--output", tmp_path / "out", *options)
    assert message in found


def test_data_that_is_not_there_or_malformed_is_named(model, tmp_path, fails):
    command = ["scores", "--model", model, "--output", tmp_path / "out", *SETTINGS]
    assert "nothing.jsonl" in fails(*command, "--data", tmp_path / "nothing.jsonl")
    data = write_lines(tmp_path / "bad.jsonl", [{"query": "q"}])
    assert "bad.jsonl:1" in fails(*command, "--data", data)
    assert "has no split 'train'" in fails(*command, "--beir", tmp_path)
    unscored = write_lines(tmp_path / "groups.jsonl", GROUPS)
    assert "has no teacher_scores" in fails("distill", *command[1:], "--data", unscored)


def test_models_that_are_not_there_are_named(model, groups, tmp_path, fails):
    command = ["--data", groups, "--output", tmp_path / "out", *SETTINGS]
    assert "there is no model folder" in fails("scores", "--model", tmp_path / "nowhere", *command)
    assert "there is no model folder" in fails(
        "distill", "--model", model, "--teacher", tmp_path / "nowhere", *command
    )
    assert "there is no model folder" in fails("export", tmp_path / "nowhere", "--to", "vllm")
    assert "is there already" in fails("export", model, tmp_path, "--to", "vllm")


@pytest.mark.parametrize(
    "argv",
    [
        [], ["juggle"], ["scores"], ["scores", "--model", "m", "--output", "o"],
        ["scores", "--model", "m", "--output", "o", "--data", "d", "--beir", "b"],
        ["scores", "--model", "m", "--output", "o", "--data", "d", "--steps", "many"],
        ["scores", "--model", "m", "--output", "o", "--data", "d", "--dropout", "some"],
        ["warmup", "--model", "m", "--output", "o", "--data", "d", "--scale-rewards", "all"],
        ["export", "m"], ["export", "m", "--to", "onnx"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_exits_with_2_and_shows_the_usage(argv, capsys):
    assert main(["train", *argv]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("usage: prorank train")
    assert "Traceback" not in shown


def test_a_missing_matplotlib_is_told_before_anything_is_loaded(groups, tmp_path, fails, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    found = fails("scores", "--model", tmp_path / "nowhere", "--data", groups, "--output", tmp_path / "out")
    assert "pip install 'prorank-plugins[train]'" in found
    assert "--no-picture" in found


@pytest.mark.parametrize(
    "argv", [["--help"], ["demo", "--help"], ["train", "--help"], ["train", "scores", "--help"]]
)
def test_help_loads_no_model_library(argv):
    code = (
        "import sys; from prorank_plugins.cli import main; main(sys.argv[1:])\n"
        "heavy = ('torch', 'transformers', 'numba', 'matplotlib', 'safetensors', 'peft')\n"
        "print('loaded', [name for name in heavy if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, check=True)
    assert shown.stdout.rstrip().endswith("loaded []")
