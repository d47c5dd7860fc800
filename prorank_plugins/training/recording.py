"""A run's reports kept in a folder: JSON lines, a picture of the curves, TensorBoard if wanted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import DataFormatError, TrainingError
from prorank_plugins.core.extras import require
from prorank_plugins.training.config import StepReport
from prorank_plugins.training.launch import is_main_process

LINES = "reports.jsonl"
PICTURE = "curves.png"
_SMOOTHED_OVER = 50


def record(
    reports: Iterable[StepReport], folder: str | Path, *, tensorboard: bool = False, picture: bool = True
) -> Iterator[StepReport]:
    """Pass reports on and keep them in ``folder``; a resumed run goes on in the same files.

    ::

        for report in record(warm_up(model, examples, config), "runs/warm-up"):
            ...

    Of several processes only the first writes.

    Args:
        reports: of `warm_up`, `learn_scores` or `distill`.
        folder: for ``reports.jsonl``, ``curves.png`` (needs matplotlib) and TensorBoard's events.
        tensorboard: write those; needs tensorboard.
        picture: draw the curves when the run ends or is left.

    Raises:
        TrainingError: the folder cannot be written.
        MissingExtraError: matplotlib or tensorboard is not installed; before the first step is taken.
    """
    if not is_main_process():
        yield from reports
        return
    target = Path(folder)
    if picture:
        require("matplotlib", "train", "A picture of the curves")
    if tensorboard:
        require("tensorboard", "tensorboard", "TensorBoard's event files")
    kept: _Kept | None = None
    try:
        for report in reports:
            kept = kept or _Kept(target, report.step, tensorboard)
            kept.add(report)
            yield report
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        if kept is not None:
            kept.close()
            if picture:
                _draw_what_is_there(target)


class _Kept:
    """The open files of a run."""

    def __init__(self, folder: Path, first_step: int, tensorboard: bool) -> None:
        self._lines = _open(folder, first_step)
        self._events = _event_writer(folder, first_step) if tensorboard else None

    def add(self, report: StepReport) -> None:
        self._lines.write(json.dumps(to_json(report)) + "\n")
        self._lines.flush()
        if self._events is not None:
            for name, value in {"loss": report.loss, **report.metrics}.items():
                self._events.add_scalar(name, value, report.step)

    def close(self) -> None:
        self._lines.close()
        if self._events is not None:
            self._events.close()


def to_json(report: StepReport) -> dict[str, Any]:
    """A report as JSON data."""
    return {
        "step": report.step, "loss": report.loss, "learning_rate": report.learning_rate,
        "metrics": dict(report.metrics),
    }  # fmt: skip


def read_reports(folder: str | Path) -> list[StepReport]:
    """The reports of a run folder, oldest first.

    A last line without its end, as a run that was killed may leave it, is no report yet.

    Raises:
        DataFormatError: there are none, or a line is no report.
    """
    file = Path(folder) / LINES
    try:
        lines = file.read_text("utf-8").split("\n")[:-1]
    except FileNotFoundError as error:
        raise DataFormatError(f"{folder} is no run folder: it holds no {LINES}") from error
    reports = []
    for number, line in enumerate(lines, start=1):
        try:
            data = json.loads(line)
            reports.append(StepReport(data["step"], data["loss"], data["learning_rate"], data["metrics"]))
        except (ValueError, KeyError, TypeError) as error:
            raise DataFormatError(f"{file}:{number}: is no report of a step ({error!r})") from error
    return reports


def draw_curves(reports: Sequence[StepReport], file: Path) -> None:
    """Draw loss, learning rate and every metric over the steps, with a running mean where steps are many."""
    figures = require("matplotlib.figure", "train", "A picture of the curves")
    series: dict[str, dict[int, float]] = {}
    for report in reports:
        values = {"loss": report.loss, "learning rate": report.learning_rate, **report.metrics}
        for name, value in values.items():
            series.setdefault(name, {})[report.step] = value
    n_columns = 3
    n_rows = -(-len(series) // n_columns)
    figure = figures.Figure(figsize=(4.5 * n_columns, 2.6 * n_rows), layout="constrained")
    for place, (name, points) in enumerate(series.items(), start=1):
        axes = figure.add_subplot(n_rows, n_columns, place)
        _draw(axes, points)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    figure.savefig(file, dpi=110)


def _draw(axes: Any, points: Mapping[int, float]) -> None:
    steps, values = list(points), list(points.values())
    width = len(values) // _SMOOTHED_OVER
    if width < 2:
        axes.plot(steps, values, marker="o" if len(values) < 20 else None, markersize=3)
        return
    axes.plot(steps, values, alpha=0.25, linewidth=0.7)
    means = [sum(values[max(0, i - width) : i + 1]) / len(values[max(0, i - width) : i + 1])
             for i in range(len(values))]  # fmt: skip
    axes.plot(steps, means, color="tab:blue")


def _open(folder: Path, first_step: int) -> Any:
    """The file to add lines to, without those of steps that are about to be done again."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = []
    if (folder / LINES).is_file() and first_step > 1:
        kept = [to_json(report) for report in read_reports(folder) if report.step < first_step]
    lines = (folder / LINES).open("w", encoding="utf-8")
    lines.writelines(json.dumps(data) + "\n" for data in kept)
    return lines


def _event_writer(folder: Path, first_step: int) -> Any:
    """TensorBoard's writer; events of steps that are about to be done again are no longer shown."""
    library = require("torch.utils.tensorboard", "train", "TensorBoard's event files")
    return library.SummaryWriter(str(folder), purge_step=first_step)


def _draw_what_is_there(folder: Path) -> None:
    try:
        draw_curves(read_reports(folder), folder / PICTURE)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> TrainingError:
    return TrainingError(f"{folder} cannot be written ({error}); checkpoints are kept")
