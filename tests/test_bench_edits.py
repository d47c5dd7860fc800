"""``prorank bench edits`` on forty documents."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

from prorank_plugins import LexicalIndex
from prorank_plugins.cli import main
from prorank_plugins.cli.bench.edits_measure import Editor, Plan, measure_edits
from tests.benches import WORDS


def plan(**changes):
    values = {
        "texts": [f"{word} {other}" for word in WORDS for other in WORDS],
        "queries": ["amber delta", "fjord"],
        "k": 5,
        "singles": 2,
        "edits": 30,
        "rate": 1000,
        "rounds": 1,
        "seconds": 0.01,
        "seed": 0,
    }
    return Plan(**{**values, **changes})


class Saved:
    """An index that is written to its folder at every edit, as `LexicalIndex.open` promises."""

    opened: ClassVar[list[str]] = []

    def __init__(self, folder):
        self._folder, self._index = folder, LexicalIndex.load(folder)
        self.opened.append("open")

    def __getattr__(self, name):
        def edit_and_save(*args, **options):
            result = getattr(self._index, name)(*args, **options)
            self._index.save(self._folder)
            return result

        return edit_and_save if name in ("add", "delete", "update") else getattr(self._index, name)

    def close(self):
        self.opened.append("close")


@pytest.fixture
def durable(monkeypatch):
    monkeypatch.setattr(LexicalIndex, "open", Saved, raising=False)
    monkeypatch.setattr(Saved, "opened", [])


def test_the_command_writes_times_and_differences(harbour, tmp_path, capfd, durable, monkeypatch):
    monkeypatch.setattr("prorank_plugins.cli.bench.edits.is_single", lambda: True)
    options = ["--singles", "2", "--edits", "10", "--rounds", "2", "--seconds", "0.01"]
    assert main(["bench", "edits", "--corpus", str(harbour), *options, "--output", str(tmp_path)]) == 0
    page = capfd.readouterr().out
    assert "An index of 40 documents" in page
    assert "| on disk when the call returns | 10 |" in page
    section = json.loads((tmp_path / "lexical.json").read_text(encoding="utf-8"))["edits"]["harbour"]
    assert len(section["memory"]["singles"]["update"]) == 2
    assert len(section["durable"]["median"]["paced"]) == 2


def test_edits_leave_what_a_fresh_build_of_the_remembered_documents_has():
    editor = Editor(LexicalIndex.build(plan().texts), plan())
    for _ in range(60):
        editor.any()
    assert list(editor.index.ids) == list(editor.present)
    fresh = LexicalIndex.build(editor.present.values(), ids=editor.present)
    hits, expected = editor.index.search("amber"), fresh.search("amber")
    assert list(hits.ids) == list(expected.ids)


def test_an_index_that_loses_an_edit_is_found_out(durable, monkeypatch):
    said = []
    right = measure_edits(plan(), said.append)
    assert right["durable"]["mixed"]["different"] == right["memory"]["mixed"]["different"] == 0
    assert Saved.opened == ["open", "close", "open", "close"]
    assert said[0] == "in memory: single edits"

    monkeypatch.setattr(LexicalIndex, "delete", lambda index, ids: list(ids))
    assert measure_edits(plan(), said.append)["memory"]["mixed"]["different"] > 0


def test_without_durable_indexes_only_those_in_memory_are_edited(monkeypatch):
    monkeypatch.delattr(LexicalIndex, "open", raising=False)
    assert list(measure_edits(plan(), lambda sentence: None)) == ["memory"]


def test_the_last_document_stays():
    small = plan(texts=["amber"])
    editor = Editor(LexicalIndex.build(small.texts), small)
    for _ in range(20):
        editor.any()
    assert editor.present
