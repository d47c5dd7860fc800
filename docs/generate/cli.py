"""Write docs/cli.md from the parsers of ``prorank``: ``python docs/generate/cli.py``.

The page is made from the parsers' actions and not from their ``--help``, which wraps lines by the width of
the terminal and words them by the version of Python.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

from prorank_plugins.cli import app

PAGE = Path(__file__).parents[1] / "cli.md"
_HEAD = """# Command line

Installed with the package; `python -m prorank_plugins.cli` is the same. Every failure is one line on the
standard error and exit status 2. This page is generated from the parsers by `python docs/generate/cli.py`;
`prorank COMMAND --help` says the same.
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(app._parser(), level=2)]).rstrip() + "\n"


def _sections(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """One section for a parser and one for each of its sub-commands."""
    commands = _commands(parser)
    yield f"{'#' * level} {parser.prog}\n"
    yield f"{(parser.description or '').strip()}\n".replace("``", "`")
    yield f"```text\n{_usage(parser)}\n```\n"
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_shown(action)]
        if actions:
            yield _table(parser, _TITLES.get(group.title or "", group.title or ""), actions)
    if examples := _examples(parser):
        yield f"```sh\n{examples}\n```\n"
    for command in commands:
        yield from _sections(command, level + 1)


_TITLES = {"positional arguments": "argument", "options": "option"}


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(dict.fromkeys(action.choices.values()))
    return []


def _is_shown(action: argparse.Action) -> bool:
    hidden = isinstance(action, (argparse._HelpAction, argparse._SubParsersAction))
    return not hidden and action.help is not argparse.SUPPRESS


def _usage(parser: argparse.ArgumentParser) -> str:
    if _commands(parser):
        return f"{parser.prog} COMMAND ..."
    shown = [action for action in parser._actions if _is_shown(action)]
    either = [group for group in parser._mutually_exclusive_groups if group.required]
    grouped = [action for group in either for action in group._group_actions]
    needed = [_spelled(action, -1) for action in shown if _is_option(action) and action.required]
    needed += [f"({' | '.join(map(_spelled, group._group_actions))})" for group in either]
    positional = [_value(action) for action in shown if not _is_option(action)]
    has_more = any(_is_option(a) and not a.required and a not in grouped for a in shown)
    return " ".join([parser.prog, *needed, *(["[OPTION ...]"] if has_more else []), *positional])


def _is_option(action: argparse.Action) -> bool:
    return bool(action.option_strings)


def _spelled(action: argparse.Action, first: int = 0) -> str:
    """``-o, --output DIR``, the spellings of an option from the ``first`` on."""
    names = ", ".join(action.option_strings[first:])
    return names if action.nargs == 0 else f"{names} {_value(action)}"


def _value(action: argparse.Action) -> str:
    if action.metavar is None and action.choices is not None:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    elif isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    else:
        name = action.metavar or action.dest.upper()
    several = {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}
    if isinstance(action.nargs, int):
        return " ".join([name] * action.nargs)
    return several.get(str(action.nargs), name)


def _table(parser: argparse.ArgumentParser, title: str, actions: list[argparse.Action]) -> str:
    lines = [f"| {title} | meaning |", "|---|---|"]
    for action in actions:
        spelled = _spelled(action) if _is_option(action) else _value(action)
        lines.append(f"| `{_cell(spelled)}` | {_cell(_help(parser, action))} |")
    return "\n".join(lines) + "\n"


def _help(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    # Python before 3.13 appends the default of an option that has an opposite.
    text = re.sub(r" \(default: (True|False|None)\)$", "", " ".join(text.split()))
    return text.replace("<", "&lt;").replace("*", r"\*")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")


def _examples(parser: argparse.ArgumentParser) -> str:
    _, _, text = (parser.epilog or "").partition("examples:\n")
    return "\n".join(line.strip() for line in text.splitlines() if line.startswith("  "))


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
