"""``prorank bench rerank``: scoring next to mxbai-rerank, sentence-transformers and ONNX Runtime."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prorank_plugins.cli.bench.common import (
    at_least_1,
    engine_names,
    library_versions,
    load_average,
    say,
    write_text,
)
from prorank_plugins.cli.options import Subparsers, add_command
from prorank_plugins.core.errors import ProRankError

if TYPE_CHECKING:
    from prorank_plugins.cli.bench.rerank_engines import Contestant
    from prorank_plugins.cli.bench.rerank_tables import Results
    from prorank_plugins.cli.bench.rerank_worker import Measured
    from prorank_plugins.cli.bench.rerank_workload import Workload

_MODULE = "prorank_plugins.cli.bench"
_SHAPES = ("tiny", "small", "0.5b", "1.5b")
_ENGINES = "prorank,mxbai,sentence-transformers,onnx"
# Read by the libraries when they are first imported; without the network nobody looks for newer files.
_ENVIRONMENT = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
_LAST_WORDS = 600

_EXAMPLES = """\
  prorank bench rerank
  prorank bench rerank --shape 0.5b --documents 32 --tokenizer Qwen2.5-0.5B
  prorank bench rerank --engines prorank,onnx --rounds 5 --output results
"""


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(
        kinds,
        "rerank",
        run,
        "reranking next to mxbai-rerank, sentence-transformers and ONNX Runtime",
        _EXAMPLES,
        "Score the candidates of one query with every library that is installed, on one thread and each in "
        "its own process, in turn. The model has a real shape and random weights; the candidates are cut "
        "from the documentation of Python's standard library. Prints a table with ratios and writes it as "
        "Markdown and JSON.",
    )
    parser.add_argument("--shape", choices=_SHAPES, default="small", help="of the model (default: small)")
    parser.add_argument(
        "--documents", type=at_least_1, default=100, help="candidates of the query (default: 100)"
    )
    parser.add_argument("--rounds", type=at_least_1, default=3, help="measured rounds (default: 3)")
    parser.add_argument("--engines", type=_engines, default=_engines(_ENGINES), help=f"default: {_ENGINES}")
    parser.add_argument(
        "--tokenizer",
        type=Path,
        metavar="FOLDER",
        help="folder with a tokenizer.json; trained on the documentation if not given",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the choice of candidates (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("docs/benchmarks"),
        help="folder for rerank-<shape>.md and .json (default: docs/benchmarks)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Make a model, measure, print, write; returns the exit status."""
    from prorank_plugins.cli.bench import rerank_tables as tables
    from prorank_plugins.cli.bench.rerank_engines import Onnx, choose_contestants
    from prorank_plugins.cli.bench.rerank_model import SHAPES, make_model
    from prorank_plugins.cli.bench.rerank_workload import make_workload
    from prorank_plugins.evaluation.stdlib import stdlib_documents
    from prorank_plugins.evaluation.timing import machine

    load = load_average()
    contestants, skipped = choose_contestants(arguments.engines)
    for sentence in skipped:
        say(f"left out: {sentence}")
    texts = [document.text for document in stdlib_documents()]
    with tempfile.TemporaryDirectory(prefix="prorank-bench-") as name:
        folder = Path(name)
        say(f"making a model of the shape {arguments.shape}")
        make_model(folder, SHAPES[arguments.shape], arguments.tokenizer, texts)
        workload = make_workload(folder, texts, arguments.documents, arguments.seed)
        if any(contestant.engine is Onnx for contestant in contestants):
            say("exporting the graph for ONNX Runtime")
            _call("rerank_export", [str(folder)], "")
        results = _measure(contestants, folder, workload, arguments.rounds)
    setting = tables.Setting(
        shape=arguments.shape,
        n_documents=len(workload.documents),
        mean_length=workload.n_tokens / len(workload.documents),
        rounds=arguments.rounds,
        seed=arguments.seed,
        command=_command(arguments),
        machine=machine(),
        versions=library_versions(tables.LIBRARIES),
        load=load + load_average(),
        skipped=skipped,
    )
    page = tables.as_markdown(setting, results)
    write_text(arguments.output / f"rerank-{arguments.shape}.md", page)
    record = json.dumps(tables.as_json(setting, results), indent=1, ensure_ascii=False)
    write_text(arguments.output / f"rerank-{arguments.shape}.json", record + "\n")
    print(page)
    return 0


def _measure(contestants: Sequence[Contestant], folder: Path, workload: Workload, rounds: int) -> Results:
    """Every contestant once a round, in a fresh process; each round begins with the next contestant."""
    from prorank_plugins.cli.bench.rerank_worker import Job, Measured

    results: dict[str, list[Measured]] = {contestant.label: [] for contestant in contestants}
    jobs = {
        contestant.label: Job(
            contestant.label, str(folder), workload.query, workload.documents, contestant.batch_sizes
        )
        for contestant in contestants
    }
    labels = list(jobs)
    for turn in range(rounds):
        first = turn % len(labels)
        for label in labels[first:] + labels[:first]:
            measured = Measured(**json.loads(_call("rerank_worker", [], json.dumps(asdict(jobs[label])))))
            results[label].append(measured)
            # Chosen once: later rounds try no other size, and their peak memory is that of this one.
            jobs[label] = replace(jobs[label], batch_sizes=(measured.batch_size,))
            say(f"round {turn + 1}, {label}: {measured.seconds:.1f} s")
    return results


def _call(module: str, words: list[str], given: str) -> str:
    """What a module of this folder answers when run in a process of its own, on one thread."""
    child = subprocess.run(
        [sys.executable, "-m", f"{_MODULE}.{module}", *words],
        input=given,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, **_ENVIRONMENT},
        check=False,
    )
    if child.returncode != 0:
        raise ProRankError(f"{module} failed: {child.stderr.strip()[-_LAST_WORDS:]}")
    return child.stdout


def _command(arguments: argparse.Namespace) -> str:
    """The command line again, naming the tokenizer without its path; without the output folder."""
    words = ["prorank", "bench", "rerank", "--shape", arguments.shape]
    words += ["--documents", str(arguments.documents), "--rounds", str(arguments.rounds)]
    words += ["--engines", ",".join(arguments.engines), "--seed", str(arguments.seed)]
    if arguments.tokenizer is not None:
        words += ["--tokenizer", arguments.tokenizer.name]
    return shlex.join(words)


def _engines(text: str) -> list[str]:
    return engine_names(text, _ENGINES.split(","))
