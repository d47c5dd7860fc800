"""The documentation of Python's standard library as a corpus: thousands of documents that every user has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import DataFormatError

_WALK = Path(__file__).with_name("stdlib_walk.py")
# Isolated, without site-packages and user settings, in UTF-8 and silent about deprecations: the corpus
# depends on the interpreter alone.
_OPTIONS = ("-I", "-S", "-X", "utf8", "-W", "ignore")
_SECONDS = 300.0
_STDERR_TAIL = 1000


def stdlib_documents() -> list[Document]:
    """Every public module, class, function, method and property with a docstring, sorted by id.

    Listed in a few seconds by a child process, because importing the whole library has side effects.
    The result depends on the running interpreter only: its version, platform and build options.

    Returns:
        documents whose ``id`` is the name a user would type (``zipfile.ZipFile.open``, ``str.split``),
        whose ``text`` is that name with its signature, a line break and the docstring, and whose
        ``metadata`` has ``kind`` (``module``, ``class``, ``function``, ``method`` or ``property``) and
        ``module``. An object published under several names appears once.

    Raises:
        DataFormatError: the child process failed; its last words are in the message.
    """
    return _parse(_listing().splitlines())


def _listing() -> str:
    """What the child process writes: JSON lines."""
    if not sys.executable:
        raise DataFormatError(
            "sys.executable is empty; listing the standard library needs a Python interpreter to run. "
            "Call stdlib_documents() from a regular Python process"
        )
    try:
        child = subprocess.run(
            [sys.executable, *_OPTIONS, str(_WALK)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DataFormatError(
            f"listing the standard library with {sys.executable} failed: {error}; expected it to end "
            f"within {_SECONDS:g} seconds. Check that this interpreter runs"
        ) from error
    if child.returncode != 0:
        raise DataFormatError(
            f"listing the standard library with {sys.executable} ended with exit status {child.returncode}, "
            f"expected 0. Its error output ends with:\n{child.stderr[-_STDERR_TAIL:].strip()}"
        )
    return child.stdout


def _parse(lines: Iterable[str]) -> list[Document]:
    documents = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            metadata = {"kind": entry["kind"], "module": entry["module"]}
            documents.append(Document(entry["id"], entry["text"], metadata))
        except (ValueError, KeyError, TypeError) as error:
            raise DataFormatError(
                f"line {number} of the listing of the standard library is {line[:200]!r}; expected a JSON "
                "object with id, kind, module and text. Check that the installed stdlib_walk.py is unchanged"
            ) from error
    return documents
