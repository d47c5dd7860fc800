"""Reports kept in a folder: lines, a picture, TensorBoard's events."""

import json
import sys

import pytest

from prorank_plugins.core.errors import DataFormatError, MissingExtraError, TrainingError
from prorank_plugins.training import RankingGroup, ScoreLearningConfig, StepReport, learn_scores
from prorank_plugins.training.recording import draw_curves, read_reports, record
from tests import tiny_models


def report(step):
    return StepReport(step, 1.0 / step, 1e-3 * step, {"reward": step / 10, "grad_norm": 2.0})


def reports(first, last):
    return [report(step) for step in range(first, last + 1)]


def colours(picture):
    image = pytest.importorskip("matplotlib.image").imread(picture)
    return image.shape, len({tuple(colour) for colour in image.reshape(-1, image.shape[-1]).tolist()})


def test_reports_pass_through_unchanged_and_are_kept_as_lines(tmp_path):
    assert list(record(reports(1, 5), tmp_path / "run", picture=False)) == reports(1, 5)
    lines = (tmp_path / "run" / "reports.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[1]) == {
        "step": 2, "loss": 0.5, "learning_rate": 0.002, "metrics": {"reward": 0.2, "grad_norm": 2.0},
    }  # fmt: skip
    assert read_reports(tmp_path / "run") == reports(1, 5)


def test_a_line_is_there_as_soon_as_its_step_is_done(tmp_path):
    for found in record(reports(1, 3), tmp_path, picture=False):
        assert read_reports(tmp_path)[-1] == found


def test_a_resumed_run_goes_on_in_the_same_file_from_its_checkpoint(tmp_path):
    list(record(reports(1, 7), tmp_path, picture=False))
    list(record(reports(5, 9), tmp_path, picture=False))
    assert read_reports(tmp_path) == reports(1, 9)
    list(record(reports(1, 2), tmp_path, picture=False))
    assert read_reports(tmp_path) == reports(1, 2)


def test_a_run_with_nothing_left_to_do_leaves_the_files_alone(tmp_path):
    list(record(reports(1, 3), tmp_path, picture=False))
    assert list(record([], tmp_path)) == []
    assert read_reports(tmp_path) == reports(1, 3)


def test_a_line_that_a_killed_run_left_half_written_is_passed_over(tmp_path):
    list(record(reports(1, 3), tmp_path, picture=False))
    file = tmp_path / "reports.jsonl"
    file.write_text(file.read_text("utf-8") + '{"step": 4, "lo', "utf-8")
    assert read_reports(tmp_path) == reports(1, 3)
    list(record(reports(3, 5), tmp_path, picture=False))
    assert read_reports(tmp_path) == reports(1, 5)


@pytest.mark.parametrize("line", ["nonsense", "[]", '{"step": 1}'])
def test_a_line_that_is_no_report_is_named(line, tmp_path):
    (tmp_path / "reports.jsonl").write_text(line + "\n", "utf-8")
    with pytest.raises(DataFormatError, match=r"reports.jsonl:1: is no report"):
        read_reports(tmp_path)
    with pytest.raises(DataFormatError, match="is no run folder"):
        read_reports(tmp_path / "nowhere")


@pytest.mark.parametrize("n_steps", [1, 30, 400])
def test_the_picture_is_one_with_curves_on_it(n_steps, tmp_path):
    pytest.importorskip("matplotlib")
    list(record(reports(1, n_steps), tmp_path))
    draw_curves([StepReport(1, 0.0, 0.0, {})], tmp_path / "point.png")
    (height, width, _), n_colours = colours(tmp_path / "curves.png")
    assert height > 400  # four series in two rows
    assert width > 1000
    assert n_colours > 20
    assert (tmp_path / "curves.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "matplotlib.pyplot" not in sys.modules  # it would open windows and keep every figure


def test_steps_that_lack_a_measurement_leave_a_gap_in_its_curve_only(tmp_path):
    pytest.importorskip("matplotlib")
    some = [StepReport(n, 1.0, 1e-3, {"dev_ndcg@10": 0.5} if n % 2 == 0 else {}) for n in range(1, 9)]
    draw_curves(some, tmp_path / "curves.png")
    assert colours(tmp_path / "curves.png")[1] > 20


def test_a_run_that_is_left_or_fails_is_drawn_as_far_as_it_came(tmp_path):
    pytest.importorskip("matplotlib")
    running = record(reports(1, 9), tmp_path / "left")
    for _ in range(3):
        next(running)
    running.close()
    assert (tmp_path / "left" / "curves.png").is_file()

    def failing():
        yield from reports(1, 2)
        raise TrainingError("the loss is nan")

    with pytest.raises(TrainingError, match="the loss is nan"):
        list(record(failing(), tmp_path / "failed"))
    assert read_reports(tmp_path / "failed") == reports(1, 2)
    assert (tmp_path / "failed" / "curves.png").is_file()


def untouched():
    raise AssertionError("a step was taken")
    yield


def test_without_matplotlib_the_way_to_install_it_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'prorank-plugins\[train\]'"):
        list(record(untouched(), tmp_path / "run"))
    assert not (tmp_path / "run").exists()
    assert list(record(reports(1, 2), tmp_path / "run", picture=False)) == reports(1, 2)


def test_without_tensorboard_the_way_to_install_it_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'prorank-plugins\[tensorboard\]'"):
        list(record(untouched(), tmp_path / "run", picture=False, tensorboard=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_tensorboard_gets_the_same_numbers_and_forgets_steps_that_are_done_again(tmp_path):
    pytest.importorskip("tensorboard")
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(record(reports(1, 6), tmp_path, picture=False, tensorboard=True))
    list(record(reports(4, 8), tmp_path, picture=False, tensorboard=True))
    events = accumulators.EventAccumulator(str(tmp_path)).Reload()
    found = {event.step: event.value for event in events.Scalars("loss")}
    assert [event.step for event in events.Scalars("reward")] == list(range(1, 9))
    assert found == pytest.approx({one.step: one.loss for one in reports(1, 8)})


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match=r"file.* cannot be written"):
        list(record(reports(1, 2), tmp_path / "file" / "run", picture=False))


def test_a_process_that_is_not_the_first_passes_reports_on_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert list(record(reports(1, 3), tmp_path / "run", tensorboard=True)) == reports(1, 3)
    assert not (tmp_path / "run").exists()


def test_a_training_run_is_recorded_and_goes_on_in_its_folder(tmp_path):
    pytest.importorskip("matplotlib")
    folder = tiny_models.qwen(tmp_path / "model")
    groups = [RankingGroup("fruit", ["apple pear", "hammer saw"], [1, 0])]
    settings = {"batch_size": 2, "device": "cpu", "schedule": "constant", "warmup_ratio": 0.0,
                "output_dir": tmp_path / "run", "checkpoint_every": 2, "learning_rate": 1e-3}  # fmt: skip
    for steps in (3, 5):
        config = ScoreLearningConfig(steps=steps, **settings)
        list(record(learn_scores(folder, groups, config), tmp_path / "run"))
    assert [found.step for found in read_reports(tmp_path / "run")] == [1, 2, 3, 4, 5]
    assert (tmp_path / "run" / "curves.png").is_file()
    assert (tmp_path / "run" / "model.safetensors").is_file()
