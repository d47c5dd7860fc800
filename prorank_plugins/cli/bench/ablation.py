"""``prorank bench ablation``: what each stage of training does, at equal numbers of pairs seen.

The 2 × 2 of {no warm-up, warm-up} × {no score learning, score learning}, and warm-ups of other kinds. Each
arm sees the same number of pairs, but for the base itself; an arm with two stages spends a share of them on
the first. Every result is a line in a file, and what is there already is not computed again.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prorank_plugins.cli.bench.common import at_least_1, library_versions, say, write_text
from prorank_plugins.cli.options import Subparsers, add_command
from prorank_plugins.evaluation.timing import machine

if TYPE_CHECKING:
    from prorank_plugins.training.examples import RankingGroup
    from prorank_plugins.training.model import TrainableModel

_EXAMPLES = """\
  prorank bench ablation --base nano/1-language --groups nano/groups.jsonl.gz --collections DIR
"""
_WARMUPS: dict[str, dict[str, str]] = {
    "GRPO": {"estimator": "group"},
    "exact GRPO": {"estimator": "exact"},
    "SFT": {"loss": "sft"},
}
_PAIRS_A_STEP = 64


@dataclass(frozen=True)
class Arm:
    """A way to train.

    Attributes:
        warm_up: a name in `_WARMUPS`, or None.
        scores: whether scores are learned after it.
    """

    warm_up: str | None
    scores: bool

    @property
    def name(self) -> str:
        """What it is called in tables."""
        parts = [f"{self.warm_up} warm-up"] if self.warm_up else []
        return " + ".join([*parts, *(["scores"] if self.scores else [])]) or "base"


ARMS = [
    Arm(None, False), Arm("GRPO", False), Arm(None, True), Arm("GRPO", True),
    Arm("exact GRPO", False), Arm("exact GRPO", True), Arm("SFT", False), Arm("SFT", True),
]  # fmt: skip


def add_parser(kinds: Subparsers) -> None:
    """Register the kind."""
    parser = add_command(kinds, "ablation", run, "what each stage of training does", _EXAMPLES, __doc__)
    parser.add_argument("--base", required=True, metavar="DIR", help="model folder to start from")
    parser.add_argument("--groups", required=True, metavar="FILE", help="JSON lines to learn from")
    parser.add_argument("--collections", required=True, metavar="DIR", help="folder with test collections")
    parser.add_argument("--seeds", type=at_least_1, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("--pairs", type=at_least_1, default=3840, help="of each arm (default: 3840)")
    parser.add_argument("--warmup-share", type=float, default=0.2, help="of the pairs (default: 0.2)")
    parser.add_argument("--warmup-learning-rate", type=float, default=5e-5, help="(default: 5e-5)")
    parser.add_argument("--learning-rate", type=float, default=2e-4, help="of the scores (default: 2e-4)")
    parser.add_argument("--max-length", type=at_least_1, default=128, help="tokens (default: 128)")
    parser.add_argument("--dtype", default="bfloat16", help="of the layers (default: bfloat16)")
    parser.add_argument("--threads", type=at_least_1, default=1, help="of torch (default: 1)")
    parser.add_argument(
        "--output", default="docs/benchmarks", metavar="DIR", help="(default: docs/benchmarks)"
    )


def run(args: argparse.Namespace) -> int:
    """Train, measure, and write the page."""
    import torch

    from prorank_plugins.cli.bench.ablation_measures import DevelopmentSet, measure
    from prorank_plugins.cli.bench.ablation_tables import draw, page
    from prorank_plugins.training.reading import read_groups

    torch.set_num_threads(args.threads)
    output = Path(args.output)
    lines = output / "ablation.jsonl"
    lines.parent.mkdir(parents=True, exist_ok=True)
    known = _read(lines)
    settings = _settings(args)
    sets = [DevelopmentSet.load(Path(args.collections), name) for name in DevelopmentSet.SIZES]
    groups = list(islice(read_groups(args.groups), 20_000))
    for seed in range(args.seeds):
        for arm in ARMS:
            key = {"arm": arm.name, "seed": 0 if arm == ARMS[0] else seed, "settings": settings}
            if any(all(line.get(name) == value for name, value in key.items()) for line in known):
                continue
            model = _train(arm, args, groups, seed)
            found = {**key, "measures": measure(model, sets)}
            known.append(found)
            with lines.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            say(f"seed {seed}, {arm.name}: {found['measures']}")
    kept = [line for line in known if line["settings"] == settings]
    versions = library_versions(["prorank-plugins", "torch", "transformers", "numpy"])
    releases = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = f"{machine()['cpu']}, Python {platform.python_version()}, {releases}"
    draw(kept, [arm.name for arm in ARMS], output / "ablation.png")
    write_text(output / "ablation.md", page(kept, [arm.name for arm in ARMS], settings, where))
    return 0


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    names = ("pairs", "warmup_share", "warmup_learning_rate", "learning_rate", "max_length", "dtype")
    return {name: getattr(args, name) for name in names}


def _read(lines: Path) -> list[dict[str, Any]]:
    if not lines.is_file():
        return []
    return [json.loads(line) for line in lines.read_text("utf-8").splitlines()]


def _train(arm: Arm, args: argparse.Namespace, groups: list[RankingGroup], seed: int) -> TrainableModel:
    from prorank_plugins.training.model import open_model
    from prorank_plugins.training.score_config import ScoreLearningConfig
    from prorank_plugins.training.score_learning import learn_scores
    from prorank_plugins.training.warmup import warm_up
    from prorank_plugins.training.warmup_config import WarmupConfig

    total = args.pairs // _PAIRS_A_STEP
    first = 0 if arm.warm_up is None else total if not arm.scores else round(args.warmup_share * total)
    common: dict[str, Any] = {"seed": seed, "dtype": args.dtype, "max_length": args.max_length}
    model = open_model(args.base, WarmupConfig(steps=1, **common))
    if arm.warm_up is not None:
        examples = [example for group in groups for example in group.examples()]
        options: dict[str, Any] = {**common, **_WARMUPS[arm.warm_up]}
        warmup = WarmupConfig(
            steps=first,
            batch_size=_PAIRS_A_STEP,
            learning_rate=args.warmup_learning_rate,
            kl_beta=0.0,
            **options,
        )
        _follow(warm_up(model, examples, warmup))
    if arm.scores:
        learning = ScoreLearningConfig(
            steps=total - first, batch_size=_PAIRS_A_STEP // 4, n_documents=4,
            learning_rate=args.learning_rate, **common,
        )  # fmt: skip
        _follow(learn_scores(model, groups, learning))
    return model


def _follow(reports: Iterator[Any]) -> None:
    for report in reports:
        if report.step % 20 == 0:
            say(f"  step {report.step}: loss {report.loss:.4f}")
