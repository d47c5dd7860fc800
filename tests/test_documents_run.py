"""Every Python block of the README and the docs runs, and prints what it says it prints.

Blocks marked ``python`` run. Those marked ``py`` are code for other libraries: they are parsed.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FOREIGN = re.compile(r"^```py\n(.*?)^```", re.DOTALL | re.MULTILINE)


def blocks(kind=BLOCK):
    for page in PAGES:
        for number, match in enumerate(kind.finditer(page.read_text("utf-8")), start=1):
            yield pytest.param(match[1], id=f"{page.relative_to(ROOT)}#{number}")


def promised(code):
    """What the trailing comments say is printed: lines that begin with ``# `` after the last statement."""
    lines = code.rstrip().splitlines()
    shown = []
    while lines and lines[-1].startswith("# "):
        shown.insert(0, lines.pop()[2:])
    return shown


@pytest.mark.parametrize("code", blocks())
def test_a_block_runs_and_prints_what_it_promises(code, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Libraries that load in threads may put another standard output in place, even a closed one.
    out = sys.stdout

    def show(*values, **options):
        print(*values, **{"file": out, **options})

    exec(compile(code, "<documentation>", "exec"), {"__name__": "__main__", "print": show})
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    if promised(code):
        assert printed == promised(code)


@pytest.mark.parametrize("code", blocks(FOREIGN))
def test_a_block_for_another_library_is_python_and_imports_that_library(code):
    imported = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imported
    assert "prorank_plugins" not in code


def test_the_readme_has_three_blocks():
    assert len(BLOCK.findall((ROOT / "README.md").read_text("utf-8"))) >= 3


def test_every_public_name_is_in_the_docs():
    import prorank_plugins

    text = "".join(page.read_text("utf-8") for page in PAGES)
    missing = [name for name in prorank_plugins.__all__ if name not in text]
    assert missing == []
