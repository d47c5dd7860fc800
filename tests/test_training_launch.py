"""Two processes train what one does, and only the first of them writes."""

import json
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from prorank_plugins import ConfigError
from prorank_plugins.training import (
    LoraOptions,
    RankingGroup,
    ScoreLearningConfig,
    WarmupConfig,
    learn_scores,
    loop,
    warm_up,
)
from prorank_plugins.training import launch as launching
from tests import tiny_models

# A small rate: AdamW divides by the size of a gradient, so where that is all rounding its steps differ.
SETTINGS = {
    "steps": 3, "batch_size": 4, "learning_rate": 1e-4, "device": "cpu", "max_length": 100,
    "max_batch_tokens": 400,
}  # fmt: skip


def groups():
    """Documents of very different lengths: the processes compute a step in different numbers of parts."""
    words = ["apple", "pear", "plum", "grape", "melon", "peach", "lemon", "cherry"]
    return [
        RankingGroup(f"query {n}", [" ".join(words[: 1 + (n + k) % 8] * (1 + 3 * (n % 2))) for k in range(3)],
                     [1, 0, 0])
        for n in range(8)
    ]  # fmt: skip


def train(stage, folder, output, lora=False, **changes):
    settings = SETTINGS | changes | {"output_dir": output, "checkpoint_every": 2}
    if lora:
        settings["lora"] = LoraOptions(rank=2)
    if stage == "scores":
        return list(learn_scores(folder, groups(), ScoreLearningConfig(n_documents=3, **settings)))
    examples = [example for group in groups() for example in group.examples()]
    return list(warm_up(folder, examples, WarmupConfig(estimator="exact", **settings)))


def main():
    """What each process does: train, record, and tell the files that it opened for writing."""
    from prorank_plugins.training.recording import record

    stage, folder, output, lora = sys.argv[1:]
    written = []

    def watch(event, arguments):
        if event == "open" and isinstance(arguments[0], str) and set(str(arguments[1])) & set("wax+"):
            written.append(arguments[0])

    sys.addaudithook(watch)
    reports = list(
        record(train(stage, folder, Path(output) / "model", lora == "lora"), output, picture=False)
    )
    rank = os.environ["RANK"]
    found = {"losses": [report.loss for report in reports],
             "written": [name for name in written if name.startswith(output)]}  # fmt: skip
    Path(f"{output}-{rank}.json").write_text(json.dumps(found), "utf-8")


def launch(stage, folder, output, lora="plain"):
    """What the two processes tell; ``accelerate launch`` starts them as torchrun does."""
    root = Path(__file__).parents[1]
    started = subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
         "-m", "tests.test_training_launch", stage, str(folder), str(output), lora],
        stderr=subprocess.PIPE, text=True, cwd=root, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)},
    )  # fmt: skip
    try:
        _, errors = started.communicate(timeout=150)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGTERM)  # torchrun ends the processes that wait for each other
        raise
    assert started.returncode == 0, errors[-3000:]
    return [json.loads(Path(f"{output}-{rank}.json").read_text("utf-8")) for rank in (0, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("models") / "tiny")


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "lora"), [("scores", "plain"), ("warmup", "plain"), ("warmup", "lora")])
def test_two_processes_train_what_one_does_and_the_first_writes(stage, lora, folder, tmp_path):
    if lora == "lora":
        pytest.importorskip("peft")
    found = launch(stage, folder, tmp_path / "two", lora)
    assert found[0]["losses"] == found[1]["losses"]
    assert found[1]["written"] == []
    assert [Path(name).name for name in found[0]["written"] if name.endswith(".jsonl")] == ["reports.jsonl"]
    if lora == "lora":  # its first additions are random in each process
        assert (tmp_path / "two" / "model" / "model.safetensors").is_file()
        return
    alone = train(stage, folder, tmp_path / "one")
    assert found[0]["losses"] == pytest.approx([report.loss for report in alone], abs=1e-5)
    two, one = weights(tmp_path / "two" / "model"), weights(tmp_path / "one")
    assert two.keys() == one.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=0, atol=1e-5)
    moved = max(float((one[name] - old).abs().max()) for name, old in weights(folder).items())
    assert moved > 5e-5


def test_a_batch_that_cannot_be_shared_evenly_is_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "Launch", lambda device: types.SimpleNamespace(n_processes=3))
    with pytest.raises(ConfigError, match="batch_size 4 cannot be shared evenly by 3 processes"):
        train("scores", folder, tmp_path / "out")


def test_of_several_processes_each_has_a_gpu_of_its_own(monkeypatch):
    assert [launching.own_device(name) for name in (None, "cuda", "cpu")] == [None, "cuda", "cpu"]
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [launching.own_device(name) for name in (None, "cuda")] == ["cuda:3", "cuda:3"]
    assert [launching.own_device(name) for name in ("cpu", "cuda:1")] == ["cpu", "cuda:1"]


if __name__ == "__main__":
    main()
