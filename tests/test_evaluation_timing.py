"""Timing with a clock made by hand."""

from __future__ import annotations

import pytest

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.timing import Timing, interleave, machine, ratio


class Stage:
    """A clock that only the contestants move, and a record of who was called."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def contestant(self, name, seconds):
        def run():
            self.calls.append(name)
            self.now += seconds

        return run


def test_each_contestant_is_timed_once_a_round_and_the_start_rotates():
    stage = Stage()
    contestants = {name: stage.contestant(name, seconds) for name, seconds in [("a", 1), ("b", 2), ("c", 3)]}
    seconds = interleave(contestants, rounds=3, warmup=1, clock=lambda: stage.now)
    assert seconds == {"a": [1, 1, 1], "b": [2, 2, 2], "c": [3, 3, 3]}
    assert "".join(stage.calls) == "abc" + "bca" + "cab" + "abc"


def test_warmup_rounds_are_not_measured():
    stage = Stage()
    pace = iter([100.0, 1.0, 2.0])

    def warming_up():
        stage.now += next(pace)

    assert interleave({"a": warming_up}, rounds=2, warmup=1, clock=lambda: stage.now) == {"a": [1, 2]}


def test_a_timing_is_the_median_with_quartiles():
    assert Timing.of([5, 1, 2, 3, 4]) == Timing(median=3, low=2, high=4, n_rounds=5)
    assert str(Timing.of([0.25])) == "0.25 [0.25, 0.25]"


def test_the_ratio_is_the_median_of_the_rounds_ratios_with_quartiles():
    assert ratio([2, 4, 6, 8, 10], [1, 2, 3, 4, 5]) == Timing(median=2, low=2, high=2, n_rounds=5)
    disturbed = ratio([2.0, 2.0, 20.0], [1.0, 1.0, 1.0])
    assert (disturbed.median, disturbed.low, disturbed.high) == (2, 2, 11)


@pytest.mark.parametrize("options", [{"rounds": 0}, {"warmup": -1}])
def test_impossible_rounds_are_refused(options):
    with pytest.raises(ConfigError, match="rounds"):
        interleave({"a": lambda: None}, **options)


def test_nothing_to_summarise_is_refused():
    with pytest.raises(ConfigError, match="no rounds"):
        Timing.of([])
    with pytest.raises(ConfigError, match="equally many rounds"):
        ratio([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="equally many rounds"):
        ratio([], [])


def test_the_real_clock_counts_forward():
    assert all(seconds >= 0 for seconds in interleave({"a": lambda: None})["a"])


def test_the_machine_is_described_by_processor_cores_and_versions():
    found = machine()
    assert list(found) == ["cpu", "cores", "os", "python", "numpy"]
    assert found["cpu"]
    assert found["cores"] >= 1
