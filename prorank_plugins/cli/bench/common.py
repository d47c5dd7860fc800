"""What the kinds of benchmark share: arguments, machine, files."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def at_least_1(text: str) -> int:
    """An argument that counts something."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"found {number}, expected at least 1")
    return number


def engine_names(text: str, known: Sequence[str]) -> list[str]:
    """Names from a comma-separated argument; this package always takes part, first."""
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"found {name!r}, expected some of {','.join(known)}")
    return ["prorank", *(name for name in dict.fromkeys(names) if name != "prorank")]


def library_versions(names: Sequence[str]) -> dict[str, str]:
    """Releases of the distributions that are installed."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def load_average() -> list[float]:
    """The last minute's, where the system tells it."""
    try:
        return [os.getloadavg()[0]]
    except (AttributeError, OSError):
        return []


def write_text(path: Path, text: str) -> None:
    """Write a result and say so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    say(f"wrote {path}")


def say(sentence: str) -> None:
    """A line on the standard error."""
    print(sentence, file=sys.stderr, flush=True)
