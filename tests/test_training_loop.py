"""The two stages on tiny models: what they reach, how they resume, what stops them."""

import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from prorank_plugins import ConfigError, ModelError, ProRankReranker
from prorank_plugins.core.errors import CheckpointError, TrainingError
from prorank_plugins.training import (
    LoraOptions,
    RankingGroup,
    RelevanceExample,
    ScoreLearningConfig,
    TrainingConfig,
    WarmupConfig,
    distill,
    learn_scores,
    open_model,
    warm_up,
)
from prorank_plugins.training.validation import Validation
from tests import tiny_models

KINDS = {
    "fruit": ["apple", "pear", "plum", "grape", "melon", "peach", "lemon", "cherry"],
    "tool": ["hammer", "saw", "drill", "wrench", "chisel", "file", "clamp", "level"],
    "bird": ["eagle", "robin", "crow", "heron", "swan", "finch", "gull", "hawk"],
    "metal": ["iron", "copper", "zinc", "silver", "gold", "nickel", "lead", "tin"],
}


def toy_groups(n, seed):
    """A kind as the query; four words of that kind against words of other kinds."""
    rng = random.Random(seed)

    def words(kind):
        return " ".join(rng.sample(KINDS[kind], 4))

    groups = []
    for _ in range(n):
        query = rng.choice(list(KINDS))
        others = [kind for kind in KINDS if kind != query]
        documents = dict.fromkeys([words(query), *(words(rng.choice(others)) for _ in range(7))])
        groups.append(RankingGroup(query, list(documents), [1, *[0] * (len(documents) - 1)]))
    return groups


@pytest.fixture(scope="module")
def groups():
    return toy_groups(200, seed=1)


@pytest.fixture(scope="module")
def examples(groups):
    return [example for group in groups for example in group.examples()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("base") / "model")


def small(kind=WarmupConfig, **settings):
    return kind(
        **{"steps": 6, "batch_size": 8, "learning_rate": 1e-3, "device": "cpu", "max_length": 64} | settings
    )


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(Path(folder) / "model.safetensors")


def same_weights(left, right):
    left, right = weights_of(left), weights_of(right)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def test_warm_up_teaches_the_format_and_score_learning_the_ranking(folder, groups, examples, tmp_path):
    held_out = Validation(toy_groups(40, seed=2))
    model = open_model(folder, small())
    chance = held_out.measure(model)["dev_ndcg@10"]
    warm = list(warm_up(model, examples, small(steps=60, batch_size=32, estimator="exact")))
    assert warm[0].metrics["format_rate"] < 0.05
    assert warm[-1].metrics["format_rate"] > 0.95
    assert chance < 0.7
    settings = small(
        ScoreLearningConfig, steps=90, batch_size=16, learning_rate=2e-3, output_dir=tmp_path / "out"
    )
    learned = list(learn_scores(model, groups, settings))
    assert [report.step for report in learned] == list(range(1, 91))
    assert held_out.measure(model)["dev_ndcg@10"] > 0.9
    reranker = ProRankReranker.from_pretrained(tmp_path / "out", device="cpu")
    group = toy_groups(1, seed=3)[0]
    with torch.no_grad():
        trained = model.scores(model.rows(group.query, group.documents)).numpy()
    np.testing.assert_allclose(reranker.score(group.query, group.documents), trained, atol=2e-5)
    assert int(np.argmax(trained)) == 0


@pytest.mark.parametrize("settings", [
    {"estimator": "group", "kl_beta": 0.04}, {"estimator": "exact", "kl_beta": 0.0},
    {"loss": "sft"}, {"loss": "reinforce"}, {"loss": "reinforce", "estimator": "exact"},
    {"scale_rewards": "batch"}, {"scale_rewards": "none"}, {"iterations": 3},
    {"iterations": 2, "estimator": "exact"},
])  # fmt: skip
def test_every_way_to_warm_up_runs_and_changes_the_model(folder, examples, settings):
    model = open_model(folder, small())
    before = {name: value.clone() for name, value in model.state().items()}
    reports = list(warm_up(model, examples, small(steps=2, dtype="float32", **settings)))
    assert len(reports) == 2
    assert all(np.isfinite([report.loss, *report.metrics.values()]).all() for report in reports)
    expected = {
        "reward",
        "format_rate",
        "accuracy",
        "entropy",
        "frac_reward_zero_std",
        "clip_ratio/region_mean",
    }
    assert expected <= set(reports[0].metrics)
    assert ("kl" in reports[0].metrics) == (settings.get("kl_beta", 0.04) > 0)
    # A random model's drawn answers earn nothing and teach nothing; the exact estimator always does.
    if settings.get("estimator") == "exact" or settings.get("loss") == "sft":
        assert any(not torch.equal(before[name], value) for name, value in model.state().items())


def test_a_reward_of_ones_own_is_a_plain_function(folder, examples):
    def prefers_no(judgement, example):
        return 1.0 if judgement == 0 else 0.0

    settings = small(
        steps=40, estimator="exact", rewards={"no": (prefers_no, 1.0)}, kl_beta=0.0, batch_size=16
    )
    last = list(warm_up(folder, examples, settings))[-1]
    assert last.metrics["rewards/no/mean"] > 0.9


@pytest.mark.parametrize("loss", ["bce", "contrastive", "preference", "ranknet", "listnet", "lambda"])
def test_every_loss_lowers_itself(folder, groups, loss):
    settings = small(ScoreLearningConfig, steps=12, loss=loss, learning_rate=2e-3, warmup_ratio=0.0)
    reports = list(learn_scores(folder, groups[:8], settings))
    assert reports[-1].metrics[loss] < reports[0].metrics[loss]


def test_a_step_in_parts_is_the_step_as_a_whole(folder, groups, examples):
    def after(start, kind, **settings):
        model = open_model(folder, small(**settings))
        reports = list(start(model, small(kind, steps=3, **settings)))
        return reports, model.state()

    for kind, start in (
        (ScoreLearningConfig, lambda model, config: learn_scores(model, groups, config)),
        (WarmupConfig, lambda model, config: warm_up(model, examples, config)),
    ):
        extra = {"estimator": "exact"} if kind is WarmupConfig else {}
        whole, left = after(start, kind, max_batch_tokens=100_000, **extra)
        parts, right = after(start, kind, max_batch_tokens=120, **extra)
        for one, other in zip(whole, parts, strict=True):
            assert one.loss == pytest.approx(other.loss, rel=2e-4, abs=1e-6)
            assert one.metrics["grad_norm"] == pytest.approx(other.metrics["grad_norm"], rel=2e-3)
        assert all(torch.allclose(left[name], right[name], atol=2e-4) for name in left)


@pytest.mark.parametrize("stage", ["warm-up", "scores"])
def test_a_run_that_was_left_goes_on_bit_for_bit(folder, groups, examples, tmp_path, stage):
    def run(output, **settings):
        if stage == "scores":
            config = small(
                ScoreLearningConfig, output_dir=output, checkpoint_every=2, dropout=0.1, **settings
            )
            return learn_scores(folder, groups, config)
        config = small(output_dir=output, checkpoint_every=2, dropout=0.1, **settings)
        return warm_up(folder, examples, config)

    whole = list(run(tmp_path / "whole"))
    first = []
    for report in run(tmp_path / "parts"):
        first.append(report)
        if report.step == 5:  # one step after the checkpoint, which is lost
            break
    second = list(run(tmp_path / "parts"))
    assert [report.step for report in second] == [5, 6]
    assert [*first[:4], *second] == whole
    assert same_weights(tmp_path / "whole", tmp_path / "parts")
    assert list(run(tmp_path / "parts")) == []  # nothing is left to do


def _train_until_killed(folder, output):
    torch.set_num_threads(1)
    groups = toy_groups(200, seed=1)
    config = small(ScoreLearningConfig, steps=40, output_dir=output, checkpoint_every=3)
    for _ in learn_scores(folder, groups, config):
        pass


def test_a_killed_run_goes_on_to_the_weights_of_an_uninterrupted_one(folder, groups, tmp_path):
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_train_until_killed, args=(folder, tmp_path / "killed"))
    process.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list((tmp_path / "killed").glob("checkpoints/step-*")):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train_until_killed(folder, tmp_path / "killed")
        _train_until_killed(folder, tmp_path / "whole")
    finally:
        torch.set_num_threads(threads)
    assert same_weights(tmp_path / "killed", tmp_path / "whole")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(folder, groups, tmp_path):
    config = small(ScoreLearningConfig, steps=10, output_dir=tmp_path, checkpoint_every=2)
    model = open_model(folder, config)
    reports = learn_scores(model, groups, config)
    for _ in range(4):
        next(reports)
    with torch.no_grad():
        next(iter(model.state().values())).fill_(float("nan"))
    with pytest.raises(
        TrainingError, match=r"stopped at step 5: the loss is nan in the batch that begins with Rank"
    ) as caught:
        next(reports)
    assert "step 4" in str(caught.value)
    again = list(learn_scores(folder, groups, config))
    assert [report.step for report in again] == [5, 6, 7, 8, 9, 10]


def test_a_full_disk_at_a_checkpoint_is_told_and_loses_nothing(folder, groups, tmp_path, monkeypatch):
    import safetensors.torch

    config = small(ScoreLearningConfig, output_dir=tmp_path, checkpoint_every=2)
    reports = learn_scores(folder, groups, config)
    next(reports), next(reports)
    written = safetensors.torch.save_file

    def full(tensors, file, *args):
        written(tensors, file, *args)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    next(reports)
    with pytest.raises(TrainingError, match="No space left"):
        next(reports)
    monkeypatch.undo()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000002"]
    assert [report.step for report in learn_scores(folder, groups, config)] == [3, 4, 5, 6]


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(folder, groups, tmp_path):
    config = small(ScoreLearningConfig, output_dir=tmp_path, checkpoint_every=2)
    whole = list(learn_scores(folder, groups, config))
    newest = tmp_path / "checkpoints" / "step-000006"
    for name in ("weights.safetensors", "optimizer.safetensors", "run.json"):
        content = bytearray((newest / name).read_bytes())
        content[len(content) // 2] ^= 0xFF
        (newest / name).write_bytes(content)
    assert list(learn_scores(folder, groups, config)) == whole[4:]
    for path in (tmp_path / "checkpoints").iterdir():
        (path / "run.json").unlink()
    with pytest.raises(CheckpointError, match="cannot be read"):
        list(learn_scores(folder, groups, config))


def test_checkpoints_of_other_settings_or_data_are_refused(folder, groups, tmp_path):
    config = small(ScoreLearningConfig, output_dir=tmp_path, checkpoint_every=2)
    list(learn_scores(folder, groups, config))
    changed = small(ScoreLearningConfig, output_dir=tmp_path, checkpoint_every=2, learning_rate=5e-3)
    with pytest.raises(CheckpointError, match="other settings or other data"):
        list(learn_scores(folder, groups, changed))
    with pytest.raises(CheckpointError, match="other settings or other data"):
        list(learn_scores(folder, groups[1:], config))
    fresh = small(ScoreLearningConfig, output_dir=tmp_path, learning_rate=5e-3, resume=False)
    assert len(list(learn_scores(folder, groups, fresh))) == 6


def test_only_the_newest_checkpoints_stay(folder, groups, tmp_path):
    list(learn_scores(folder, groups, small(ScoreLearningConfig, output_dir=tmp_path, checkpoint_every=1)))
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-000005", "step-000006"]


def test_early_stopping_keeps_the_best_weights(folder, groups, tmp_path):
    config = small(
        ScoreLearningConfig, steps=30, learning_rate=0.3, warmup_ratio=0.0, evaluate_every=1, patience=2,
        output_dir=tmp_path,
    )  # fmt: skip
    model = open_model(folder, config)
    dev = toy_groups(10, seed=5)
    seen = [report.metrics["dev_ndcg@10"] for report in learn_scores(model, groups, config, dev=dev)]
    assert len(seen) < 30
    assert Validation(dev).measure(model)["dev_ndcg@10"] == pytest.approx(max(seen))
    assert seen.index(max(seen)) == len(seen) - 3


def test_low_rank_additions_are_merged_into_what_is_saved(folder, groups, tmp_path):
    pytest.importorskip("peft")
    config = small(ScoreLearningConfig, lora=LoraOptions(rank=4), output_dir=tmp_path, learning_rate=1e-2)
    model = open_model(folder, config)
    assert all("lora" in name for name in model.state())
    list(learn_scores(model, groups, config))
    with torch.no_grad():
        trained = model.scores(model.rows("fruit", ["apple pear", "iron"])).numpy()
    loaded = ProRankReranker.from_pretrained(tmp_path, device="cpu", check=False)
    np.testing.assert_allclose(loaded.score("fruit", ["apple pear", "iron"]), trained, atol=1e-4)
    assert weights_of(tmp_path).keys() == weights_of(folder).keys()
    assert not same_weights(tmp_path, folder)


def test_gradient_checkpointing_changes_no_gradient(folder, groups):
    plain = list(learn_scores(folder, groups, small(ScoreLearningConfig, steps=2)))
    saving = list(
        learn_scores(folder, groups, small(ScoreLearningConfig, steps=2, gradient_checkpointing=True))
    )
    assert [report.loss for report in saving] == pytest.approx([report.loss for report in plain], rel=1e-5)


def test_mixed_precision_trains_with_float32_weights_and_scores(folder, groups):
    config = small(ScoreLearningConfig, steps=30, dtype="bfloat16", learning_rate=2e-3)
    model = open_model(folder, config)
    reports = list(learn_scores(model, groups, config))
    assert reports[-1].loss < reports[0].loss
    assert {value.dtype for value in model.state().values()} == {torch.float32}
    scores = model.scores(model.rows("fruit", ["apple", "pear", "plum", "iron"]))
    assert scores.dtype == torch.float32


def test_a_prompt_with_one_answer_can_be_trained(folder, groups, examples):
    from prorank_plugins.rerank.prompt import Prompt

    prompt = Prompt(prefix="", suffix="", task="relevant?", positive="1", negative=None)
    list(warm_up(folder, examples, small(steps=2, prompt=prompt, estimator="exact")))
    list(learn_scores(folder, groups, small(ScoreLearningConfig, steps=2, prompt=prompt)))


def test_a_teachers_margins_are_learned(folder, groups):
    def teacher(query, documents):
        return [2.0 * sum(word in KINDS[query] for word in text.split()) - 3.0 for text in documents]

    settings = small(ScoreLearningConfig, steps=80, batch_size=16, learning_rate=2e-3, loss="margin_mse")
    reports = list(distill(folder, groups, teacher, settings))
    assert reports[-1].metrics["margin_mse"] < 0.3 * reports[0].metrics["margin_mse"]
    with pytest.raises(ConfigError, match="no teacher_scores"):
        distill(folder, groups, None, settings)
    with pytest.raises(ConfigError, match="teacher must be"):
        distill(folder, groups, 7, settings)


def test_a_teacher_may_be_a_reranker_and_groups_may_stream(folder, groups, tmp_path):
    teacher = ProRankReranker.from_pretrained(folder, device="cpu", check=False)

    class Stream:
        def __iter__(self):
            return iter(groups[:20])

    reports = list(distill(folder, Stream(), teacher, small(ScoreLearningConfig, steps=2, loss="mse")))
    assert reports[0].loss == pytest.approx(0.0, abs=1e-6)  # it is its own teacher


@pytest.mark.parametrize(("settings", "message"), [
    ({"steps": 0}, "steps must be"), ({"learning_rate": 0.0}, "learning_rate must be"),
    ({"group_size": 1}, "at least 2 answers"), ({"loss": "ppo"}, "grpo, reinforce, sft"),
    ({"estimator": "both"}, "group, exact"), ({"dtype": "int8"}, "float32, bfloat16"),
    ({"temperature": 0}, "temperature must be"), ({"checkpoint_every": 2}, "output_dir"),
    ({"iterations": 2, "loss": "sft"}, "loss='grpo'"), ({"patience": 0}, "patience must be"),
])  # fmt: skip
def test_settings_that_cannot_be_are_told(settings, message):
    with pytest.raises(ConfigError, match=message):
        WarmupConfig(**settings)


def test_arguments_are_checked_before_anything_runs(folder, groups, examples, tmp_path):
    with pytest.raises(ConfigError, match="patience needs"):
        learn_scores(folder, groups, small(ScoreLearningConfig, patience=1))
    with pytest.raises(ConfigError, match="must be a folder"):
        warm_up(17, examples, small())
    with pytest.raises(ModelError, match="no model folder"):
        warm_up(tmp_path / "none", examples, small())
    with pytest.raises(ConfigError):
        warm_up(folder, [], small())
    with pytest.raises(ConfigError):
        learn_scores(folder, [RankingGroup("q", ["a"], [0])], small(ScoreLearningConfig))
    with pytest.raises(ConfigError, match="label"):
        RelevanceExample("q", "d", 2)
    with pytest.raises(ConfigError, match="unknown loss 'hinge'"):
        ScoreLearningConfig(loss="hinge")


def test_a_tokenizer_without_the_answers_is_told(folder, examples):
    from prorank_plugins.rerank.prompt import Prompt

    prompt = Prompt(prefix="", suffix="", task="", positive="certainly", negative="never")
    with pytest.raises(ModelError, match="'certainly' is 4 tokens .* expected 1"):
        warm_up(folder, examples, small(prompt=prompt))


def test_the_learning_rate_rises_and_falls():
    config = TrainingConfig(steps=100, learning_rate=1.0, warmup_ratio=0.1, final_ratio=0.2)
    rates = [config.learning_rate_at(step) for step in range(1, 101)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[-1] == pytest.approx(0.2)
    assert all(left >= right for left, right in itertools.pairwise(rates[9:]))
    constant = TrainingConfig(steps=100, learning_rate=1.0, warmup_ratio=0.0, schedule="constant")
    assert {constant.learning_rate_at(step) for step in range(1, 101)} == {1.0}


def test_what_is_saved_says_how_it_was_trained(folder, examples, tmp_path):
    list(warm_up(folder, examples, small(steps=2, output_dir=tmp_path, group_size=4)))
    saved = json.loads((tmp_path / "prorank.json").read_text("utf-8"))
    assert saved["training"]["stage"] == "warm-up"
    assert saved["training"]["group_size"] == 4
    assert saved["max_length"] == 64
    assert not list(tmp_path.glob(".model-*"))
