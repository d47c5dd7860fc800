"""The notebooks' outputs in a real browser, where there is one: they fit the page and ask for nothing."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync",
    "--window-size=900,2000", "--virtual-time-budget=3000", "--dump-dom",
)  # fmt: skip
# Sizes of all pictures and tables, and what was asked for, as the page's only text.
MEASURE = """
<script>addEventListener("load", () => {
  const boxes = [...document.querySelectorAll("svg, table, img")].map(each => {
    const box = each.getBoundingClientRect(); return [each.tagName, box.left, box.right, box.height]});
  const asked = performance.getEntriesByType("resource").map(each => each.name);
  document.body.textContent = JSON.stringify({boxes, asked: asked.filter(name => !name.startsWith("data:"))});
})</script>
"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium")


def outputs(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/html" in data:
                yield data["text/html"]
            elif "image/png" in data:
                yield f'<img src="data:image/png;base64,{data["image/png"].strip()}">'


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)
def test_pictures_and_tables_fit_the_page_and_nothing_is_asked_for(path, scheme, tmp_path):
    page = tmp_path / "page.html"
    style = f"<meta charset=utf-8><style>:root {{color-scheme: {scheme}}}</style>"
    page.write_text(style + "".join(f"<div>{each}</div>" for each in outputs(path)) + MEASURE, "utf-8")
    command = [BROWSER, *OPTIONS, f"--user-data-dir={tmp_path / 'profile'}", page.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = json.loads(html.unescape(re.search(r"<body>(.*)</body>", shown, re.DOTALL)[1]))
    assert found["asked"] == []
    assert found["boxes"]
    for kind, left, right, height in found["boxes"]:
        assert left >= 0, kind
        assert right <= 900, kind
        assert height > 10, kind
