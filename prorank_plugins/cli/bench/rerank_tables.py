"""Results of the rerankers as Markdown for people and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypeAlias

import numpy as np

from prorank_plugins.cli.bench.rerank_engines import BASELINE, REFERENCE
from prorank_plugins.cli.bench.rerank_worker import Measured
from prorank_plugins.evaluation.timing import ratio

Results: TypeAlias = "dict[str, list[Measured]]"
"""Every round of each contestant, by label."""

LIBRARIES = (
    "prorank-plugins",
    "torch",
    "transformers",
    "tokenizers",
    "mxbai-rerank",
    "sentence-transformers",
    "onnxruntime",
)


@dataclass(frozen=True, eq=False)
class Setting:
    """What the results depend on.

    Attributes:
        shape: of the model.
        n_documents: candidates of the query.
        mean_length: tokens a candidate.
        rounds: measured rounds.
        seed: of the choice of candidates.
        command: the command line, with the tokenizer's name in the place of its path.
        machine: processor, cores, system, Python, numpy.
        versions: of the libraries present.
        load: load average at the start and the end, where the system tells it.
        skipped: a sentence about each engine or format that did not take part.
    """

    shape: str
    n_documents: int
    mean_length: float
    rounds: int
    seed: int
    command: str
    machine: dict[str, str | int]
    versions: dict[str, str]
    load: list[float]
    skipped: list[str]


def kendall_tau(first: Sequence[float], second: Sequence[float]) -> float:
    """Share of pairs in the same order less the share in opposite order (τ-a); 1 for fewer than two items."""
    if len(first) < 2:
        return 1.0
    left, right = (np.sign(np.subtract.outer(scores, scores)) for scores in (first, second))
    return float((left * right).sum() / (len(first) * (len(first) - 1)))


def as_json(setting: Setting, results: Results) -> dict[str, Any]:
    """Everything, with every round; the scores of the first only."""
    rounds = {
        label: [{**asdict(measured), "scores": None} for measured in several]
        for label, several in results.items()
    }
    scores = {label: several[0].scores for label, several in results.items()}
    return {"setting": asdict(setting), "rounds": rounds, "scores": scores}


def as_markdown(setting: Setting, results: Results) -> str:
    """Setting, then one table."""
    return "\n".join([_heading(setting), _table(setting.n_documents, results), _NOTES])


_NOTES = """\
CPU time of scoring, the model loaded and warm. Each round is a fresh process. "Load" is the wall time of all
imports and of loading the model; "after torch" is the part of it that comes after `import torch`, which all
but ONNX Runtime run on: the library's own imports and the model. Our loading ends with two questions to it.
`×` is how many times as long as the first row it takes, with the rounds' quartiles. "Best batch" tries 1 and
8 on the first candidates. Difference and Kendall's τ are against the scores of mxbai-rerank at its default
batch, where it takes part: with random weights the scores lie close together, so τ is low for approximate
formats and says nothing about quality. mxbai-rerank needs a stand-in for `prepare_for_model` on
transformers 5. sentence-transformers tokenises the joined prompt, which can merge the end of a document
with the line break after it.
"""


def _heading(setting: Setting) -> str:
    software = ", ".join(f"{name} {number}" for name, number in setting.versions.items())
    lines = [
        f"# Reranking with a model of the shape {setting.shape}\n",
        f"One query, {setting.n_documents:,} candidates of {setting.mean_length:.0f} tokens, random float16 "
        f"weights. Each cell is the median of {setting.rounds} interleaved rounds on one thread.\n",
        f"- `{setting.command}`",
        f"- {setting.machine['cpu']}, {setting.machine['cores']} cores, one used; {setting.machine['os']}",
        f"- Python {setting.machine['python']}, numpy {setting.machine['numpy']}, {software}",
    ]
    if setting.load:
        load = ", ".join(f"{value:.1f}" for value in setting.load)
        lines.append(f"- load average at the start and the end: {load}")
    lines += [f"- left out: {sentence}" for sentence in setting.skipped]
    return "\n".join(lines) + "\n"


def _table(n_documents: int, results: Results) -> str:
    header = [
        "",
        "pairs/s",
        "×",
        "load, s",
        "after torch, s",
        "peak MiB",
        "max abs difference",
        "Kendall's τ",
    ]
    right = results.get(REFERENCE, results[BASELINE])[0].scores
    baseline = [measured.seconds for measured in results[BASELINE]]
    rows = [_row(label, several, n_documents, baseline, right) for label, several in results.items()]
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _row(
    label: str,
    several: Sequence[Measured],
    n_documents: int,
    baseline: Sequence[float],
    right: Sequence[float],
) -> list[str]:
    seconds = [measured.seconds for measured in several]
    slower = ratio(seconds, baseline)
    last = several[-1]
    scores = several[0].scores
    return [
        f"{label} ({last.batch_size})" if "batch" in label else label,
        f"{n_documents / median(seconds):,.2f}",
        "1" if label == BASELINE else f"{slower.median:.2f} [{slower.low:.2f}, {slower.high:.2f}]",
        f"{median(measured.load for measured in several):.2f}",
        f"{median(measured.load_after_torch for measured in several):.2f}",
        f"{last.peak_mib:,.0f}",
        f"{max(abs(a - b) for a, b in zip(scores, right, strict=True)):.1e}",
        f"{kendall_tau(scores, right):.3f}",
    ]
