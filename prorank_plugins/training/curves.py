"""A run's curves to look at while or after it trains, in a notebook or a terminal."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite

from prorank_plugins.core.markup import BLUE, FAINT, Html, escaped, note
from prorank_plugins.core.shown import print_str
from prorank_plugins.training.config import StepReport

_WIDTH, _HEIGHT, _EDGE = 240, 80, 6
_POINTS = 200
_NOTHING = "no report yet"


@dataclass(frozen=True, repr=False)
class TrainingCurves:
    """Loss and metrics over the steps of a run. Shows itself in notebooks; ``str()`` is for terminals.

    Attributes:
        reports: of the steps, in order.
    """

    reports: tuple[StepReport, ...]

    def series(self) -> dict[str, dict[int, float]]:
        """``{name: {step: value}}``: loss, then metrics in order of appearance; finite values."""
        found: dict[str, dict[int, float]] = {}
        for report in self.reports:
            for name, value in {"loss": report.loss, **report.metrics}.items():
                if isfinite(value):
                    found.setdefault(name, {})[report.step] = value
        return found

    def __str__(self) -> str:
        series = self.series()
        if not series:
            return _NOTHING
        width = max(map(len, series))
        lines = [f"{'':{width}}       first        last"]
        for name, points in series.items():
            values = list(points.values())
            lines.append(f"{name:{width}}  {values[0]:10.4g}  {values[-1]:10.4g}")
        return "\n".join([*lines, f"steps {self.reports[0].step} to {self.reports[-1].step}"])

    __repr__ = __str__
    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        series = self.series()
        if not series:
            return note(Html(_NOTHING))
        panels = "".join(_panel(name, points) for name, points in series.items())
        steps = note(Html(f"steps {self.reports[0].step} to {self.reports[-1].step}"))
        return f'<div><div style="display:flex;flex-wrap:wrap;gap:12px">{panels}</div>{steps}</div>'


def show_training(reports: Iterable[StepReport]) -> TrainingCurves:
    """The curves of a run.

    ::

        show_training(warm_up(model, examples, config))      # trains, then shows
        show_training(read_reports("runs/warm-up"))          # what `record` kept

    Args:
        reports: of `warm_up`, `learn_scores` or `distill`; a generator is run to its end.
    """
    return TrainingCurves(tuple(reports))


def _panel(name: str, points: dict[int, float]) -> Html:
    """One curve with its name, its last value and its range."""
    values = list(points.values())
    low, high = min(values), max(values)
    return Html(
        f'<div style="width:{_WIDTH}px"><div style="white-space:nowrap;overflow:hidden">'
        f"<b>{escaped(name)}</b> {values[-1]:.4g}</div>"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}">{_curve(points)}</svg>'
        f'<div style="{FAINT};font-size:80%">{low:.4g} … {high:.4g}</div></div>'
    )


def _curve(points: dict[int, float]) -> Html:
    listed = sorted(points.items())
    shown = listed[:: max(1, len(listed) // _POINTS)]
    if shown[-1] != listed[-1]:
        shown.append(listed[-1])
    steps, values = [step for step, _ in shown], [value for _, value in shown]
    xs = _placed(steps, _WIDTH)
    ys = [_HEIGHT - y for y in _placed(values, _HEIGHT)]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
    dots = "".join(
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{BLUE}"/>' for x, y in zip(xs, ys, strict=True)
    )
    frame = (
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="none" stroke="currentColor" stroke-opacity=".2"/>'
    )
    line = f'<polyline points="{path}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
    return Html(frame + line + (dots if len(shown) < 20 else ""))


def _placed(values: list[int] | list[float], length: int) -> list[float]:
    """Positions along an axis of ``length``, with an edge at either end; the middle where all are equal."""
    low, high = min(values), max(values)
    if high == low:
        return [length / 2] * len(values)
    return [_EDGE + (length - 2 * _EDGE) * (value - low) / (high - low) for value in values]
