#!/usr/bin/env python3
"""Install the wheel and the sdist alone with each extra, in a clean environment, and run that extra's tests.

::

    python .ci/extras.py [EXTRA ...]        base, rerank, langchain, llama-index, all; each by default

Run by ``make extras``. The tests come from the sdist, without the package beside them, so that what is
tested is what was installed. Prints how long each took and what importing costs; nothing is judged by time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
PYTEST = ("pytest", "pytest-asyncio", "hypothesis")
LEXICAL = (
    "test_core.py", "test_analysis.py", "test_stopwords.py", "test_index.py", "test_kernels.py",
    "test_lexical_scores.py", "test_retriever.py", "test_persistence.py", "test_evaluation_measures.py",
    "test_evaluation_report.py", "test_evaluation_datasets.py", "test_cli.py", "test_evaluation_timing.py",
)  # fmt: skip


@dataclass(frozen=True)
class Extra:
    """One way to install the package.

    Attributes:
        name: of the extra; ``"base"`` for none.
        tests: files in ``tests/``, relative.
        needs: packages that the tests need and the package does not.
        lacks: what then gives an error, and the extra that its message names.
        notebooks: run the notebooks, too.
    """

    name: str
    tests: tuple[str, ...]
    needs: tuple[str, ...] = ()
    lacks: tuple[tuple[str, str], ...] = ()
    notebooks: bool = False


_LANGCHAIN = ("import prorank_plugins.langchain", "langchain")
_LLAMA_INDEX = ("import prorank_plugins.llama_index", "llama-index")
_RERANK = (
    "import prorank_plugins as p; p.ProRankReranker.from_pretrained('prorank-nano').score('a', ['b'])",
    "rerank",
)

EXTRAS = (
    Extra("base", LEXICAL, lacks=(_LANGCHAIN, _LLAMA_INDEX, _RERANK)),
    Extra(
        "langchain",
        ("test_langchain.py", "test_langchain_standard.py"),
        ("langchain-tests>=1.1.9,<1.2", "langchain-classic"),
        lacks=(_LLAMA_INDEX, _RERANK),
    ),
    Extra(
        "llama-index",
        ("test_llama_index.py", "test_llama_index_postprocessor.py"),
        lacks=(_LANGCHAIN, _RERANK),
    ),
    Extra(
        "rerank",
        (
            "test_nano.py", "test_rerank_model.py", "test_rerank_reranker.py", "test_rerank_prompt.py",
            "test_rerank_calibration.py", "test_rerank_tokens.py", "test_cli_rerank.py",
        ),
        lacks=(_LANGCHAIN, _LLAMA_INDEX),
    ),
    Extra(
        "all",
        ("test_documents_run.py", "test_langchain_compressor.py", "test_training_examples.py"),
        ("langchain-classic", "nbmake", "ipykernel"),
        notebooks=True,
    ),
)  # fmt: skip

# Printed as milliseconds: what a fresh process needs for the first, and for the second after it.
IMPORTS = {
    "base": (("", "import prorank_plugins"),),
    "langchain": (
        (
            "import langchain_core.callbacks, langchain_core.documents, langchain_core.retrievers, "
            "langchain_core.runnables",
            "import prorank_plugins.langchain",
        ),
    ),
    "llama-index": (("import llama_index.core", "import prorank_plugins.llama_index"),),
}


def main(names: Sequence[str]) -> None:
    """Check the extras of these names."""
    chosen = [extra for extra in EXTRAS if not names or extra.name in names]
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        wheel, sdist = build(work)
        tests = unpack(sdist, work / "unpacked")
        for extra in chosen:
            start = time.perf_counter()
            check(extra, wheel, sdist, tests, work / extra.name)
            say(f"{extra.name}: {time.perf_counter() - start:.0f} s")


def build(work: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of the checkout."""
    python = environment(work / "build")
    pip(python, "build", "hatchling")
    run(python, "-m", "build", "--no-isolation", "--outdir", work / "dist", ROOT, quiet=True)
    (wheel,), (sdist,) = ((work / "dist").glob(pattern) for pattern in ("*.whl", "*.tar.gz"))
    say(f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name} {sdist.stat().st_size / 1e6:.1f} MB")
    return wheel, sdist


def unpack(sdist: Path, folder: Path) -> Path:
    """What the sdist holds, without the package."""
    with tarfile.open(sdist) as packed:
        packed.extractall(folder, filter="data")
    (root,) = folder.iterdir()
    shutil.rmtree(root / "prorank_plugins")
    return root


def check(extra: Extra, wheel: Path, sdist: Path, tests: Path, folder: Path) -> None:
    """Install wheel and sdist, see what is missing, and run the tests with each; full ones with the wheel."""
    python = environment(folder)
    suffix = "" if extra.name == "base" else f"[{extra.name}]"
    start = time.perf_counter()
    pip(python, f"{wheel}{suffix}")
    say(f"{extra.name}: wheel installed in {time.perf_counter() - start:.0f} s")
    for code, missing in extra.lacks:
        names_the_extra(python, code, missing)
    for before, code in IMPORTS.get(extra.name, ()):
        first, second = import_times(python, before, code)
        say(
            f"{extra.name}: {code}: {second:.0f} ms"
            + (f" after the framework's {first:.0f} ms" if before else "")
        )
    pip(python, *PYTEST, *extra.needs)
    pytest(python, tests, *(f"tests/{name}" for name in extra.tests))
    if extra.notebooks:
        pytest(python, tests, "--nbmake", "--override-ini=addopts=", "notebooks")
    run(python, "-m", "pip", "uninstall", "--quiet", "--yes", "prorank-plugins")
    pip(python, "--no-deps", sdist)  # the wheel was built from it, so both ask for the same
    run(python, "-m", "pip", "check", quiet=True)
    pytest(python, tests, f"tests/{extra.tests[0]}")
    shutil.rmtree(folder)


def names_the_extra(python: Path, code: str, extra: str) -> None:
    """Fail unless the code stops with the line that installs the extra."""
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=python.parent)
    wanted = f"pip install 'prorank-plugins[{extra}]'"
    if done.returncode == 0 or "MissingExtraError" not in done.stderr or wanted not in done.stderr:
        sys.exit(f"{code!r} should say {wanted!r}, found: {done.stderr[-500:]}")


def import_times(python: Path, before: str, code: str) -> tuple[float, float]:
    """Median milliseconds of nine processes: of ``before``, and of ``code`` after it."""
    script = (
        f"import time; a = time.perf_counter(); {before or 'pass'}\n"
        f"b = time.perf_counter(); {code}\nprint(b - a, time.perf_counter() - b)"
    )
    rows = []
    for _ in range(10):
        done = subprocess.run(
            [python, "-c", script], capture_output=True, text=True, check=True, cwd=python.parent
        )
        rows.append([1000 * float(part) for part in done.stdout.split()])
    first, second = zip(*rows[1:], strict=True)  # the first one compiles
    return median(first), median(second)


def environment(folder: Path) -> Path:
    """A new virtual environment's interpreter."""
    run(sys.executable, "-m", "venv", folder)
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def pip(python: Path, *packages: object) -> None:
    """Install at the versions in constraints.txt."""
    options = ("--quiet", "--disable-pip-version-check", "-c", ROOT / "constraints.txt")
    run(python, "-m", "pip", "install", *options, *packages)


def pytest(python: Path, folder: Path, *arguments: str) -> None:
    """Run tests in a folder that does not hold the package, without a model hub."""
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, cwd=folder, env=offline)


def run(*command: object, quiet: bool = False, **options: object) -> None:
    """Run a command; stop with its exit status if it fails."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.DEVNULL if quiet else None, **options)  # type: ignore[call-overload]
    if done.returncode:
        sys.exit(f"failed: {' '.join(words)}")


def say(text: str) -> None:
    """One line of the report."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
