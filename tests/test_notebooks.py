"""The notebooks as they are committed: executed, small, and without traces of a machine."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MACHINE = re.compile(
    r"(?<![\w.])/(home|root|tmp|work|mnt|usr|opt|var|Users|private)/|\b[A-Z]:\\+\w|site-packages"
)
LINK = re.compile(r"\]\(([^)#]+)[^)]*\)")
LARGEST = 500_000

pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def test_every_cell_was_run_in_order_and_something_is_shown(path):
    cells = code_cells(path)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)


def test_nothing_failed_and_nothing_warned(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text


def test_no_machine_left_its_traces(path):
    for cell in read(path).cells:
        for text in (cell.source, *map(str, cell.get("outputs", []))):
            without_pictures = re.sub(r"'image/png': '[^']*'", "", text)
            assert not MACHINE.search(without_pictures), MACHINE.search(without_pictures)
        assert "execution" not in cell.metadata


def test_it_is_small_and_shows_pictures(path):
    assert path.stat().st_size < LARGEST
    assert any("image/png" in output.get("data", {}) for cell in code_cells(path) for output in cell.outputs)


def test_markup_has_no_script_and_asks_for_nothing(path):
    for cell in code_cells(path):
        for output in cell.outputs:
            markup = "".join(output.get("data", {}).get("text/html", ""))
            assert not re.search(r"<(script|img|link|iframe|style)|\b(src|href)=|url\(", markup)


def test_formulas_are_readable_without_anything_that_sets_them(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            assert not re.search(r"\$|\\\(|\\\[", cell.source), "TeX needs a script from elsewhere"


def test_links_between_notebooks_lead_somewhere(path):
    for cell in read(path).cells:
        if cell.cell_type == "markdown":
            for target in LINK.findall(cell.source):
                assert target.startswith("https://") or (FOLDER / target).exists(), target
