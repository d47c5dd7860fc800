"""Settings of training as options of the command line, read off the configuration classes."""

from __future__ import annotations

import argparse
import re
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any, TypeVar

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.prompt import PRESETS
from prorank_plugins.training.config import LoraOptions, TrainingConfig
from prorank_plugins.training.rewards import DEFAULT_REWARDS

Config = TypeVar("Config", bound=TrainingConfig)

_APART = {"output_dir", "progress", "prompt", "lora", "rewards", "loss", "betas"}
_UNSET = {"device": "picked", "max_length": "the model's own, else 512"}
_NONE = object()
_ENTRY = re.compile(r"^ {8}(\w+): (.+?)(?=^ {8}\w+: |\Z)", re.MULTILINE | re.DOTALL)


def add_config_options(parser: argparse.ArgumentParser, kind: type[TrainingConfig]) -> None:
    """An option for each setting of ``kind``, with the help of its docstring; read back by `config_from`."""
    group = parser.add_argument_group("settings")
    hints, texts = typing.get_type_hints(kind), _help_texts(kind)
    for field in fields(kind):
        if field.name not in _APART:
            _add(group, field, hints[field.name], texts.get(field.name, ""))
    group.add_argument(
        "--betas", type=float, nargs=2, metavar="X", help="of AdamW (default: {} {})".format(*kind.betas)
    )
    group.add_argument("--prompt", choices=sorted(PRESETS), help="(default: the model's own)")
    group.add_argument("--lora-rank", type=int, metavar="N", help="train low-rank additions of this rank")
    names = {field.name for field in fields(kind)}
    if "rewards" in names:
        group.add_argument("--loss", metavar="NAME", help="grpo, reinforce or sft (default: grpo)")
        group.add_argument(
            "--reward", metavar="NAME=WEIGHT", action="append",
            help="weight of a reward, format or accuracy (default: format=1 accuracy=1)",
        )  # fmt: skip
    elif "loss" in names:
        group.add_argument(
            "--loss", metavar="NAME[=WEIGHT]", action="append",
            help="a loss, or several by giving this again (default: see the documentation)",
        )  # fmt: skip


def config_from(args: argparse.Namespace, kind: type[Config], **given: Any) -> Config:
    """The configuration that the options describe; ``given`` are the settings that are no options.

    Raises:
        ConfigError: a value that cannot be.
    """
    names = [field.name for field in fields(kind)]
    chosen = {name: getattr(args, name) for name in names if getattr(args, name, None) is not None}
    chosen = {
        name: None if value is _NONE else value for name, value in chosen.items() if name not in _APART
    } | given
    if args.betas is not None:
        chosen["betas"] = tuple(args.betas)
    if args.prompt is not None:
        chosen["prompt"] = PRESETS[args.prompt]
    if args.lora_rank is not None:
        chosen["lora"] = LoraOptions(rank=args.lora_rank, alpha=2.0 * args.lora_rank)
    if getattr(args, "reward", None):
        weights = dict(_weighted(text) for text in args.reward)
        if unknown := sorted(set(weights) - set(DEFAULT_REWARDS)):
            raise ConfigError(f"--reward {unknown[0]}: expected one of {', '.join(DEFAULT_REWARDS)}")
        chosen["rewards"] = {name: (DEFAULT_REWARDS[name][0], weight) for name, weight in weights.items()}
    if getattr(args, "loss", None):
        is_mixed = isinstance(args.loss, list)
        chosen["loss"] = dict(_weighted(text) for text in args.loss) if is_mixed else args.loss
    return kind(**chosen)


def _add(group: Any, field: Field[Any], hint: Any, text: str) -> None:
    options = [kind for kind in _union(hint) if kind is not type(None)]
    default = None if field.default is MISSING else field.default
    shown = default
    if default is None:
        shown = _UNSET.get(field.name, "off")
    elif isinstance(default, bool):
        shown = "on" if default else "off"
    text = f"{text} (default: {shown})".replace("%", "%%")
    name = "--" + field.name.replace("_", "-")
    if options == [bool]:
        group.add_argument(name, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    if typing.get_origin(options[0]) is typing.Literal:
        group.add_argument(name, choices=typing.get_args(options[0]), help=text)
        return
    convert: Callable[[str], Any] = options[0] if options[0] in (int, float) else str
    metavar = {int: "N", float: "X"}.get(options[0], "NAME")
    if default is not None and len(options) < len(_union(hint)):
        convert, metavar = _or_none(convert), f"{metavar}|none"
    group.add_argument(name, type=convert, metavar=metavar, help=text)


def _or_none(convert: Callable[[str], Any]) -> Callable[[str], Any]:
    def converted(text: str) -> Any:
        return _NONE if text == "none" else convert(text)

    converted.__name__ = convert.__name__  # argparse names it in its messages
    return converted


def _union(hint: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if is_union else (hint,)


def _help_texts(kind: type) -> dict[str, str]:
    """First sentences of the attributes in the docstrings of a class and its bases."""
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        for name, text in _ENTRY.findall((base.__doc__ or "") + "\n"):
            plain = " ".join(text.replace("`", "").split())
            texts[name] = re.split(r"(?<=[.;])\s", plain)[0].rstrip(".;")
    return texts


def _weighted(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    try:
        return name, float(weight or 1.0)
    except ValueError as error:
        raise ConfigError(f"found {text!r}, expected NAME or NAME=WEIGHT such as bce=0.3") from error
