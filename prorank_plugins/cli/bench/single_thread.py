"""Run a benchmark in a process that has one thread for numbers, and write its command line down."""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

# numpy and numba read these when they are first imported, so the measuring process is started with them.
ONE_THREAD = dict.fromkeys(
    ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"),
    "1",
)
"""Environment of a process that measures."""

_NOT_SHOWN = ("run", "output")


def is_single() -> bool:
    """Whether this process was started with `ONE_THREAD`."""
    return all(os.environ.get(name) == value for name, value in ONE_THREAD.items())


def run_again(kind: str, arguments: argparse.Namespace) -> int:
    """Run the same command in a process of its own with `ONE_THREAD`; returns the exit status."""
    command = [sys.executable, "-m", "prorank_plugins.cli", "bench", *_words(kind, arguments)]
    command += ["--output", str(arguments.output)]
    return subprocess.run(command, env={**os.environ, **ONE_THREAD}, check=False).returncode


def command_line(kind: str, arguments: argparse.Namespace) -> str:
    """The command as a reader can repeat it: with the collection's name in the place of its path."""
    shown = argparse.Namespace(**{**vars(arguments), "corpus": Path(arguments.corpus).name})
    return shlex.join(["prorank", "bench", *_words(kind, shown)])


def _words(kind: str, arguments: argparse.Namespace) -> list[str]:
    words = [kind]
    for name, value in vars(arguments).items():
        if name in _NOT_SHOWN or value is None or value is False:
            continue
        words.append(f"--{name.replace('_', '-')}")
        if value is not True:
            words.append(",".join(map(str, value)) if isinstance(value, list) else str(value))
    return words
