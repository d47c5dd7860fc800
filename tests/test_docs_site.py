"""The documentation as a site: links, pictures, the generated page, the API reference, the build."""

import importlib
import logging
import re
import runpy
import unicodedata
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SITE = ROOT / ".mkdocs.yml"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(([^)\s]+)\)")
DIRECTIVE = re.compile(r"^::: (\S+)$", re.MULTILINE)
MODULES = ("", ".rerank", ".evaluation", ".training", ".langchain", ".llama_index")

each_page = pytest.mark.parametrize(
    "page", [ROOT / "README.md", *PAGES], ids=lambda page: str(page.relative_to(ROOT))
)


def prose(page):
    return FENCE.sub("", page.read_text("utf-8"))


def anchors(page):
    """Ids that headings get from Python-Markdown, and those of mkdocstrings."""
    found = set(DIRECTIVE.findall(page.read_text("utf-8")))
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = unicodedata.normalize("NFKD", heading).encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower()))
    return found


@each_page
def test_links_lead_to_a_file_and_to_a_heading_in_it(page):
    for _, _, target in LINK.findall(prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        assert file == ROOT / "README.md" or ROOT in file.parents, target
        if anchor:
            assert anchor in anchors(file), f"{page.name} links to {target}"


@each_page
def test_pictures_say_in_words_what_they_show(page):
    for is_picture, words, target in LINK.findall(prose(page)):
        if is_picture:
            assert len(words) > 15, target


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.svg")), ids=lambda path: path.name)
def test_drawings_have_a_title_and_a_description_and_ask_for_nothing(path):
    drawing = path.read_text("utf-8")
    assert "<title" in drawing
    assert "<desc" in drawing
    assert not re.search(r"<script|<image|<style|href=|url\((?!#)", drawing)


def test_every_page_is_in_the_navigation():
    navigation = SITE.read_text("utf-8").partition("nav:")[2]
    listed = re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)
    listed.append("benchmarks/lexical-notes.md")  # a part of lexical.md, which is put together
    assert sorted(listed) == sorted(page.relative_to(DOCS).as_posix() for page in PAGES)


def test_the_command_line_reference_is_what_the_parsers_say():
    made = runpy.run_path(str(DOCS / "generate" / "cli.py"))["page"]()
    assert (DOCS / "cli.md").read_text("utf-8") == made, "run: python docs/generate/cli.py"


def test_every_public_name_is_in_the_api_reference():
    listed = [
        name for page in (DOCS / "api").glob("*.md") for name in DIRECTIVE.findall(page.read_text("utf-8"))
    ]
    assert len(listed) == len(set(listed))
    documented = {}
    for path in listed:
        module, _, name = path.rpartition(".")
        documented.setdefault(name, []).append(getattr(importlib.import_module(module), name))
    for module in MODULES:
        package = importlib.import_module(f"prorank_plugins{module}")
        for name in package.__all__:
            value = getattr(package, name)
            assert any(value is known for known in documented.get(name, [])), f"{package.__name__}.{name}"


class Requests(HTMLParser):
    """What a page makes a browser ask for, links that a reader may follow left out."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag in {"script", "img", "iframe", "source"}:
            self.found.append(given.get("src") or "")
        elif tag == "link" and given.get("rel") != "canonical":
            self.found.append(given.get("href") or "")


def test_the_site_builds_without_a_warning_and_asks_for_nothing_from_outside(tmp_path, caplog, monkeypatch):
    pytest.importorskip("mkdocstrings", reason="in the docs extra")
    material = pytest.importorskip("material", reason="in the docs extra")
    assert material
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.chdir(ROOT)
    with caplog.at_level(logging.WARNING):
        build(load_config(str(SITE), site_dir=str(tmp_path), strict=True))
    assert [record.getMessage() for record in caplog.records if record.name.startswith("mkdocs")] == []
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) >= len(PAGES)  # the page for what is not found makes up for the notes
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text("utf-8"))
        assert [url for url in requests.found if re.match(r"(https?:)?//", url)] == [], page
