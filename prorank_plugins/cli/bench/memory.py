"""How much memory this process holds."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Memory:
    """Resident memory in bytes.

    Attributes:
        now: at present, mapped files included; None where the system does not tell.
        private: of it what no file backs; None where the system does not tell.
        peak: the most there ever was.
    """

    now: int | None
    private: int | None
    peak: int


def memory() -> Memory:
    """Of this process: from /proc where it exists, from ``getrusage`` elsewhere.

    Not from ``getrusage`` on Linux: what it calls the peak begins with that of the parent process.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return Memory(None, None, _peak())
    sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    now, private, peak = (
        int(sizes[name][0]) * 1024 if name in sizes else None for name in ("VmRSS", "RssAnon", "VmHWM")
    )
    return Memory(now, private, _peak() if peak is None else peak)


def _peak() -> int:
    try:
        import resource
    except ImportError:
        return 0  # Windows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
