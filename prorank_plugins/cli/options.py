"""Options that several sub-commands share, and what they stand for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable
from typing import TypeAlias

from prorank_plugins.cli.parser import AnyOrderParser
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig
from prorank_plugins.lexical.scorers import BM25, BMX
from prorank_plugins.lexical.words import NGRAMS

Subparsers: TypeAlias = "argparse._SubParsersAction[AnyOrderParser]"

SCORERS: dict[str, BMX | BM25] = {"bmx": BMX(), "bmx-paper": BMX(variant="paper"), "bm25": BM25()}
"""Scorers by the name they have in a comparison."""

_PARAMETERS: dict[str, tuple[type[BMX] | type[BM25], tuple[str, ...]]] = {
    "bmx": (BMX, ("alpha", "beta", "variant", "repeats")),
    "bm25": (BM25, ("k1", "b")),
}


def add_command(
    commands: Subparsers,
    name: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    examples: str,
    description: str | None = None,
) -> argparse.ArgumentParser:
    """A sub-command's parser, with examples under its options.

    Args:
        commands: of the main parser.
        name: of the sub-command.
        run: what it does; returns the exit code.
        summary: one line for the list of commands.
        examples: command lines, one a line.
        description: more than the summary, if there is more to say.
    """
    parser = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[:1].upper()}{summary[1:]}.",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_analysis_options(parser: argparse.ArgumentParser, split_default: str = "no") -> None:
    """How text becomes terms; read back by `analyzer_from`.

    Args:
        parser: of the sub-command.
        split_default: what its help says about identifiers.
    """
    group = parser.add_argument_group("analysis")
    group.add_argument(
        "--language",
        default="en",
        metavar="CODE",
        help="ISO 639-1 code for stop words and stemmer, or 'none' to split words only (default: en)",
    )
    group.add_argument(
        "--stop-words",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="leave out the language's stop words (default: yes)",
    )
    group.add_argument("--no-stemming", action="store_true", help="keep words as they are inflected")
    group.add_argument(
        "--split-identifiers",
        action=argparse.BooleanOptionalAction,
        help=f"also index the parts of camelCase and snake_case (default: {split_default})",
    )
    group.add_argument(
        "--ngrams", choices=NGRAMS, default="bigram", help="terms of scripts without blanks (default: bigram)"
    )
    group.add_argument("--fold-accents", action="store_true", help="treat é as e")
    group.add_argument(
        "--min-length", type=int, default=1, metavar="N", help="drop shorter words (default: 1)"
    )


def analyzer_from(args: argparse.Namespace, split_identifiers: bool = False) -> Analyzer:
    """The analyzer that the options describe.

    Args:
        args: with the options of `add_analysis_options`.
        split_identifiers: where the command line does not say.

    Raises:
        ConfigError: an unknown language or a length below 1.
    """
    split = split_identifiers if args.split_identifiers is None else args.split_identifiers
    return Analyzer(
        AnalyzerConfig(
            language=None if args.language.lower() == "none" else args.language,
            stop_words=args.stop_words,
            stemming=not args.no_stemming,
            ngrams=args.ngrams,
            split_identifiers=split,
            fold_accents=args.fold_accents,
            min_length=args.min_length,
        )
    )


def describe_analyzer(analyzer: Analyzer) -> str:
    """An analyzer's configuration in a few words, such as ``"en,stop_words,stemming"``."""
    config = analyzer.config
    if config is None:
        return str(analyzer.source.description()["kind"])
    switches = ("stop_words", "stemming", "split_identifiers", "fold_accents")
    words = [config.language or "none", *(name for name in switches if getattr(config, name))]
    if config.ngrams != "bigram":
        words.append(config.ngrams)
    if config.min_length > 1:
        words.append(f"min_length={config.min_length}")
    return ",".join(words)


def add_scorer_options(parser: argparse.ArgumentParser) -> None:
    """A scorer and its parameters; read back by `scorer_from`."""
    group = parser.add_argument_group("scoring")
    group.add_argument("--scorer", choices=list(_PARAMETERS), default="bmx", help="(default: bmx)")
    group.add_argument("--alpha", type=float, help="bmx: α (default: from the average length)")
    group.add_argument("--beta", type=float, help="bmx: β (default: from the number of documents)")
    group.add_argument("--variant", choices=["reference", "paper"], help="bmx: (default: reference)")
    group.add_argument(
        "--repeats", choices=["keep", "merge"], help="bmx: repeated query words (default: keep)"
    )
    group.add_argument("--k1", type=float, help="bm25: (default: 1.5)")
    group.add_argument("--b", type=float, help="bm25: (default: 0.75)")
    group.add_argument(
        "--normalize",
        choices=["none", "paper", "reference", "bound"],
        default="none",
        help="divide scores; 'bound' puts them in [0, 1] (default: none; bm25 knows none and bound)",
    )


def scorer_from(args: argparse.Namespace) -> BMX | BM25:
    """The scorer that the options describe.

    Raises:
        ConfigError: a parameter of the other scorer, or a value out of range.
    """
    for scorer, (_, names) in _PARAMETERS.items():
        given = [name for name in names if getattr(args, name) is not None]
        if given and scorer != args.scorer:
            raise ConfigError(f"--{given[0]} is for --scorer {scorer}; the scorer here is {args.scorer}")
    kind, names = _PARAMETERS[args.scorer]
    chosen = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return kind(**chosen, normalize=args.normalize)


def scorers_named(names: Iterable[str]) -> dict[str, BMX | BM25]:
    """Scorers of `SCORERS`, each once, in the order given."""
    return {name: SCORERS[name] for name in names}


def add_progress_option(parser: argparse.ArgumentParser) -> None:
    """Progress bars on the standard error; read back by `wants_progress`."""
    parser.add_argument(
        "--progress",
        action=argparse.BooleanOptionalAction,
        help="progress bars on the standard error (default: when it is a terminal)",
    )


def wants_progress(args: argparse.Namespace) -> bool:
    """Whether to draw progress bars."""
    return sys.stderr.isatty() if args.progress is None else bool(args.progress)
