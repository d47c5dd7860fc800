"""Fair timing of several contestants on a machine that is never quite idle."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prorank_plugins.core.errors import ConfigError


@dataclass(frozen=True)
class Timing:
    """Median and quartiles of repeated measurements: robust to the few rounds that were disturbed.

    Attributes:
        median: half of the rounds were at most this (seconds, or a factor for `ratio`).
        low: first quartile.
        high: third quartile.
        n_rounds: measurements taken.
    """

    median: float
    low: float
    high: float
    n_rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Timing:
        """Summary of one contestant's rounds.

        Raises:
            ConfigError: there are no values.
        """
        if not values:
            raise ConfigError("no rounds to summarise; run at least one")
        low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high), len(values))

    def __str__(self) -> str:
        return f"{self.median:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interleave(
    contestants: Mapping[str, Callable[[], object]],
    rounds: int = 5,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Seconds per round of each contestant, taken in turn so that a disturbance strikes all alike.

    Each round calls every contestant once; the next round starts with the next contestant.

    Args:
        contestants: ``{name: function without arguments}``.
        rounds: measured rounds, at least 1.
        warmup: rounds before them that are not measured, at least 0.
        clock: returns seconds.

    Raises:
        ConfigError: ``rounds`` or ``warmup`` is too small.
    """
    if rounds < 1 or warmup < 0:
        raise ConfigError(f"expected rounds >= 1 and warmup >= 0, found rounds={rounds}, warmup={warmup}")
    names = list(contestants)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(warmup + rounds):
        first = turn % max(1, len(names))
        for name in names[first:] + names[:first]:
            start = clock()
            contestants[name]()
            elapsed = clock() - start
            if turn >= warmup:
                seconds[name].append(elapsed)
    return seconds


def ratio(first: Sequence[float], second: Sequence[float]) -> Timing:
    """How many times longer the first contestant took: median and quartiles of the rounds' ratios.

    Args:
        first: seconds per round, from `interleave`.
        second: seconds of the same rounds, above 0.

    Raises:
        ConfigError: the contestants ran different numbers of rounds, or none.
    """
    if len(first) != len(second) or not first:
        raise ConfigError(f"expected equally many rounds, at least 1; found {len(first)} and {len(second)}")
    return Timing.of([a / b for a, b in zip(first, second, strict=True)])


def machine() -> dict[str, str | int]:
    """What a timing depends on: processor, cores this process may use, system, Python, numpy."""
    usable = getattr(os, "sched_getaffinity", None)
    return {
        "cpu": _cpu_model(),
        "cores": len(usable(0)) if usable else os.cpu_count() or 1,
        "os": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine() or "unknown"
