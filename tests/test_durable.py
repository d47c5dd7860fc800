"""Indexes opened for writing: what is on the disk when, what crashes leave, what others see."""

import hashlib
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from prorank_plugins import (
    BM25,
    BMX,
    Analyzer,
    ConfigError,
    CorruptIndexError,
    Document,
    IndexFormatError,
    LexicalIndex,
    LexicalRetriever,
)
from prorank_plugins.core.errors import IndexLockedError, IndexNotFoundError, UnknownIdError
from prorank_plugins.core.journal import Journal
from prorank_plugins.lexical import durable, edit_records, merging, segment
from tests.strategies import TERMS

GOLDEN = Path(__file__).parent / "golden"
POSIX = pytest.mark.skipif(os.name == "nt", reason="uses POSIX processes")
SCORERS = (BMX(), BMX(variant="paper"), BM25())
TEXTS = ["the cat sat", "dogs chase cats", "birds sing", "a cat and a dog"]
QUERIES = ("cat", "dog cats bird", "sing new", "lone \ud800")


@pytest.fixture
def path(tmp_path):
    LexicalIndex.build(TEXTS).save(tmp_path / "i")
    return tmp_path / "i"


def data_folder(path):
    (folder,) = path.glob("data-*")
    return folder


def journal_of(path):
    return data_folder(path) / "journal.log"


def same(first, second, queries=QUERIES):
    """Ids, scores bit for bit, and results."""
    assert list(first.ids) == list(second.ids)
    for query in queries:
        for scorer in SCORERS:
            assert first.scores(query, scorer).tolist() == second.scores(query, scorer).tolist()
            for k in (3, 100):
                a, b = first.search(query, k, scorer), second.search(query, k, scorer)
                assert (a.ids, a.scores.tolist()) == (b.ids, b.scores.tolist())


def edit_in_many_ways(index):
    index.add(["a new cat", "naïve \ud800 lone"], ["new", "l\ud800"])
    index.delete(["0"])
    index.update(["1"], ["dogs sleep"])
    index.upsert(["2", "up"], ["birds fly", "sing sing sing"])
    index.delete(["up", "nowhere"], missing_ok=True)
    index.add([])


# What is on the disk


def test_edits_are_on_the_disk_when_they_return(path):
    with LexicalIndex.open(path) as index:
        edit_in_many_ways(index)
        same(LexicalIndex.load(path), index)
        built = LexicalIndex.build(TEXTS)
        edit_in_many_ways(built)
        same(index, built)
    with LexicalIndex.open(path) as again:
        same(again, built)
        again.add(["cat cat"])
        built.add(["cat cat"])
    same(LexicalIndex.load(path, mmap=False), built)


def test_an_edit_waits_for_the_disk_once(path, monkeypatch):
    with LexicalIndex.open(path) as index:
        calls = []
        fsync = os.fsync
        monkeypatch.setattr(os, "fsync", lambda file: calls.append(file) or fsync(file))
        index.update(["0"], ["a dog"])
        assert len(calls) == 1


def test_compacting_and_saving_work_the_journal_into_the_files(path):
    with LexicalIndex.open(path) as index:
        edit_in_many_ways(index)
        size = journal_of(path).stat().st_size
        for work_in in (index.compact, lambda: index.save(path)):
            index.add(["cat"])
            before = data_folder(path)
            work_in()
            assert data_folder(path) != before
            assert journal_of(path).stat().st_size < size
            same(LexicalIndex.load(path), index)


def test_a_long_journal_becomes_a_checkpoint(path, monkeypatch):
    monkeypatch.setattr(durable, "_MOST_RECORDS", 5)
    with LexicalIndex.open(path) as index:
        seen = set()
        for i in range(12):
            index.add([f"cat number{i}"])
            seen.add(data_folder(path))
        assert len(seen) == 3
        same(LexicalIndex.load(path), index)
    monkeypatch.setattr(durable, "_MOST_BYTES", 600)
    with LexicalIndex.open(path) as index:
        before = data_folder(path)
        index.add(["dog " * 50])
        index.add(["x" * 300, "y" * 300])
        assert data_folder(path) != before
        same(LexicalIndex.load(path), index)


def test_a_large_edit_is_written_as_a_segment(path, monkeypatch):
    monkeypatch.setattr(durable, "_LARGE_DOCS", 3)
    with LexicalIndex.open(path) as index:
        index.add(["cat"] * 3)
        size = journal_of(path).stat().st_size
        index.add(["dog"] * 4)
        assert journal_of(path).stat().st_size < size
        index.update(["0", "1"], ["bird", "cat dog"])
        same(LexicalIndex.load(path), index)


def test_files_of_segments_that_stay_are_linked(path):
    if os.name == "nt":
        pytest.skip("compares inodes")
    with LexicalIndex.open(path) as index:
        before = (data_folder(path) / "segment_0.bin").stat().st_ino
        terms = (data_folder(path) / "terms.bin").stat().st_ino
        index.delete(["3"])
        index.save(path)
        assert (data_folder(path) / "segment_0.bin").stat().st_ino == before
        assert (data_folder(path) / "terms.bin").stat().st_ino == terms
        index.add(["entirely new words"])
        index.save(path)
        assert (data_folder(path) / "segment_0.bin").stat().st_ino == before
        assert (data_folder(path) / "terms.bin").stat().st_ino != terms
        same(LexicalIndex.load(path), index)


def test_documents_and_options_are_kept(tmp_path):
    path = tmp_path / "i"
    documents = [Document(f"d{i}", text, {"n": i}) for i, text in enumerate(TEXTS)]
    scorer = BM25(k1=0.9)
    LexicalRetriever.from_documents(documents, scorer=scorer).save(path, {"mine": 1})
    with LexicalRetriever.open(path) as retriever:
        retriever.add([Document("new", "a \ud800 cat", {"tags": ["é", None], "nan": float("nan")})])
        retriever.update([Document("d0", "a cat", {"n": -1})])
        retriever.index.add(["by text"], ["t"])
        retriever.compact()
        retriever.delete(["d3"])
        retriever.upsert([Document("d1", "one")])
        expected = [(d.id, d.text, repr(d.metadata)) for d in retriever.documents]
        found = retriever.retrieve("cat one", 10)
    loaded, options = LexicalRetriever.load_with_options(path)
    assert [(d.id, d.text, repr(d.metadata)) for d in loaded.documents] == expected
    assert repr(loaded.retrieve("cat one", 10)) == repr(found)
    assert (loaded.scorer, options) == (scorer, {"mine": 1})
    opened, options = LexicalRetriever.open_with_options(path)
    opened.scorer = BMX()
    opened.save(path, {"mine": 2})
    opened.close()
    loaded, options = LexicalRetriever.load_with_options(path)
    assert (loaded.scorer, options) == (BMX(), {"mine": 2})


def test_metadata_that_is_not_json_is_refused_before_anything_changes(tmp_path):
    path = tmp_path / "i"
    LexicalRetriever.from_documents([Document("a", "cat")]).save(path)
    with LexicalRetriever.open(path) as retriever:
        with pytest.raises(ConfigError, match="metadata of document 'b'"):
            retriever.add([Document("c", "dog"), Document("b", "dog", {"x": {1}})])
        assert len(retriever) == 1
        retriever.add([Document("b", "dog")])
    assert LexicalRetriever.load(path).index.ids == ["a", "b"]


def test_an_edit_that_fails_is_not_written(path):
    with LexicalIndex.open(path) as index:
        before = journal_of(path).read_bytes()
        for edit, error in [
            (lambda: index.add(["x"], ["0"]), ConfigError),
            (lambda: index.delete(["0", "nowhere"]), UnknownIdError),
            (lambda: index.update(["0"], [3]), ConfigError),
        ]:
            with pytest.raises(error):
                edit()
        assert journal_of(path).read_bytes() == before


def test_an_index_of_token_lists_and_one_of_a_callable_can_be_opened(tmp_path):
    LexicalIndex.build([["a", "b"]], analyzer=None).save(tmp_path / "t")
    with LexicalIndex.open(tmp_path / "t") as index:
        index.add([["\ud800", "a"]])
    assert LexicalIndex.load(tmp_path / "t").search(["\ud800"]).ids == ["1"]
    LexicalIndex.build(["a-b"], analyzer=str.split).save(tmp_path / "c")
    with pytest.raises(IndexFormatError, match="pass it again"):
        LexicalIndex.open(tmp_path / "c")
    with LexicalIndex.open(tmp_path / "c", analyzer=Analyzer(str.split)) as index:
        index.add(["b c"])
    assert LexicalIndex.load(tmp_path / "c", analyzer=Analyzer(str.split)).search("c").ids == ["1"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_an_index_of_each_format_is_opened_and_becomes_one_of_the_newest(tmp_path, version):
    shutil.copytree(GOLDEN / f"lexical-v{version}", tmp_path / "i")
    before = LexicalRetriever.load(tmp_path / "i").retrieve("read file", 10)
    with LexicalRetriever.open(tmp_path / "i") as retriever:
        assert json.loads((tmp_path / "i" / "manifest.json").read_text())["format_version"] == 3
        assert retriever.retrieve("read file", 10) == before
        retriever.delete(["doc-0"])
    assert "doc-0" not in LexicalRetriever.load(tmp_path / "i")


def test_numbers_given_by_the_index_are_not_spelled_out_in_its_files(path):
    with LexicalIndex.open(path) as index:
        index.add(["five", "six"])
        index.compact()
    segments = json.loads((path / "manifest.json").read_text())["content"]["segments"]
    assert [entry["first_number"] for entry in segments] == [0]
    assert LexicalIndex.load(path).search("six").ids == ["5"]


# Opening and closing


def test_a_closed_index_can_be_searched_and_not_edited(path):
    index = LexicalIndex.open(path)
    index.add(["cat five"])
    index.close()
    index.close()
    for edit in (lambda: index.add(["x"]), lambda: index.delete(["0"]), index.compact):
        with pytest.raises(ConfigError, match="has been closed.*Open it again"):
            edit()
    assert index.search("five").ids == ["4"]
    index.save(path)
    same(LexicalIndex.load(path), index)


def test_closing_an_index_that_was_not_opened_changes_nothing(path):
    for index in (LexicalIndex.build(["x"]), LexicalIndex.load(path)):
        index.close()
        index.add(["y"], ["y"])


def test_one_writer_at_a_time(path):
    other = LexicalIndex.build(["x"])
    with LexicalIndex.open(path) as index:
        for attempt in (lambda: LexicalIndex.open(path), lambda: other.save(path)):
            with pytest.raises(IndexLockedError, match="another object of this process"):
                attempt()
        LexicalIndex.load(path)
        index.save(path / ".." / "i")
    other.save(path)
    with LexicalIndex.open(path) as index:
        assert len(index) == 1


def test_another_process_that_writes_is_named(path):
    code = (
        "import sys; from prorank_plugins import LexicalIndex; i = LexicalIndex.open(sys.argv[1]);"
        "print('open', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "open\n"
    with pytest.raises(IndexLockedError, match=f"by process {process.pid}"):
        LexicalIndex.open(path)
    process.communicate("")
    LexicalIndex.open(path).close()


def test_what_cannot_be_opened_is_left_as_it_was(path, tmp_path):
    with pytest.raises(IndexNotFoundError):
        LexicalIndex.open(tmp_path / "nowhere")
    with pytest.raises(CorruptIndexError, match="holds no manifest"):
        LexicalIndex.open(tmp_path)
    assert not (tmp_path / "writer.lock").exists()
    with pytest.raises(IndexFormatError, match="without documents"):
        LexicalRetriever.open(path)
    LexicalIndex.open(path).close()


def test_a_folder_that_is_read_only_can_be_loaded_and_opening_says_so(path, monkeypatch):
    (path / "writer.lock").unlink(missing_ok=True)
    open_file = os.open

    def refuse(name, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(name))
        return open_file(name, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    assert len(LexicalIndex.load(path)) == 4
    with pytest.raises(ConfigError, match="use load, which only reads"):
        LexicalIndex.open(path)


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="needs a user")
def test_a_folder_without_write_permission_is_read_only(path):
    (path / "writer.lock").unlink()
    path.chmod(0o500)
    try:
        assert len(LexicalIndex.load(path)) == 4
        with pytest.raises(ConfigError, match="use load, which only reads"):
            LexicalIndex.open(path)
    finally:
        path.chmod(0o700)


def test_copies_of_an_open_index_live_in_memory(path):
    with LexicalIndex.open(path) as index:
        for copy in (index.copy(), pickle.loads(pickle.dumps(index))):
            copy.add(["only here"], ["x"])
        assert len(LexicalIndex.load(path)) == len(index) == 4


def in_child(index, pipe):
    try:
        index.add(["from the child"])
        pipe.send("added")
    except ConfigError as error:
        pipe.send(str(error))
    index.close()
    pipe.send(index.search("cat").ids)


@POSIX
def test_a_forked_child_searches_and_does_not_write(path):
    context = multiprocessing.get_context("fork")
    with LexicalIndex.open(path) as index:
        index.search("cat")
        ours, theirs = context.Pipe()
        child = context.Process(target=in_child, args=(index, theirs))
        child.start()
        assert "before this process was forked" in ours.recv()
        assert ours.recv() == index.search("cat").ids
        child.join()
        with pytest.raises(IndexLockedError):
            LexicalIndex.open(path)
        index.add(["from the parent"], ["p"])
    assert "p" in LexicalIndex.load(path)


# Following a writer


def test_a_loaded_index_follows_the_writer(path):
    loaded = LexicalIndex.load(path)
    assert not loaded.refresh()
    with LexicalIndex.open(path) as index:
        assert not loaded.refresh()
        assert not index.refresh()
        for step in (
            lambda: edit_in_many_ways(index),
            lambda: index.add(["cat cat"]),
            index.compact,
            lambda: (index.compact(), index.delete(["new"])),
            lambda: index.save(path),
        ):
            step()
            assert loaded.refresh()
            assert not loaded.refresh()
            same(loaded, index)
    LexicalIndex.build(["quite different"]).save(path)
    assert loaded.refresh()
    assert loaded.search("different").ids == ["0"]


def test_what_cannot_follow_says_why(path):
    with pytest.raises(ConfigError, match="only an index that was loaded"):
        LexicalIndex.build(["x"]).refresh()
    edited = LexicalIndex.load(path)
    edited.delete(["0"])
    with pytest.raises(ConfigError, match="edited in memory"):
        edited.refresh()
    loaded = LexicalIndex.load(path)
    LexicalIndex.build(["x"], analyzer="de").save(path)
    with pytest.raises(IndexFormatError, match="another analyzer"):
        loaded.refresh()
    assert len(loaded) == 4


def test_a_reader_keeps_the_segments_whose_files_are_the_same(path, monkeypatch):
    if os.name == "nt":
        pytest.skip("needs links")
    loaded = LexicalIndex.load(path)
    (before,) = loaded.snapshot().state.segments
    with LexicalIndex.open(path) as index:
        index.add(["entirely new words"])
        index.delete(["0"])
        index.save(path)
        assert loaded.refresh()
        assert loaded.snapshot().state.segments[0] is before
        same(loaded, index)
        index.compact()
        assert loaded.refresh()
        same(loaded, index)


def test_a_reader_follows_a_writer_that_took_an_edit_back(path):
    with LexicalIndex.open(path) as index:
        index.add(["cat five"])
        before = journal_of(path).read_bytes()
        index.add(["cat six"])
        loaded = LexicalIndex.load(path)
        journal_of(path).write_bytes(before)
        assert loaded.refresh()
        assert len(loaded) == 5


def test_readers_see_whole_generations_while_a_writer_goes_on(path, monkeypatch):
    monkeypatch.setattr(durable, "_MOST_RECORDS", 3)
    failures = []
    stop = threading.Event()

    def read():
        followed = LexicalIndex.load(path)
        most = 0
        while not stop.is_set():
            followed.refresh()
            for index in (followed, LexicalIndex.load(path)):
                n = len(index.search("pair", 1000))
                # Pairs come together and never go.
                if n % 2 or n < most:
                    failures.append((n, most))
                most = max(most, n if index is not followed else 0)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    with LexicalIndex.open(path) as index:
        for i in range(60):
            index.add([f"pair a{i}", f"pair b{i}"])
            if i % 10 == 0:
                index.compact()
    stop.set()
    for reader in readers:
        reader.join()
    assert not failures
    assert len(LexicalIndex.load(path).search("pair", 1000)) == 120


def test_a_large_index_is_checked_as_it_was_loaded_though_its_files_have_gone(path, monkeypatch):
    monkeypatch.setattr("prorank_plugins.lexical.persistence._CHECKED_AT_LOAD", 0)
    with LexicalIndex.open(path) as index:
        index.add(["one extra cat"])
        loaded = LexicalIndex.load(path)
        index.compact()
    assert loaded.search("extra").ids == ["4"]


# Faults


class DiskFull:
    """Lets writes pass until told otherwise."""

    def __init__(self, monkeypatch):
        self.calls_left = None
        for name in ("fsync", "replace", "link"):
            monkeypatch.setattr(os, name, self._limited(getattr(os, name)))

    def _limited(self, function):
        def call(*arguments):
            if self.calls_left is not None:
                if self.calls_left == 0:
                    raise OSError(28, "No space left on device")
                self.calls_left -= 1
            return function(*arguments)

        return call


EDITS = [
    lambda index: index.add(["cat six"]),
    lambda index: index.delete(["0"]),
    lambda index: index.update(["0"], ["x"]),
    lambda index: index.compact(),
    lambda index: index.save(index._home._path),
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_full_disk_leaves_everything_as_it_was(path, monkeypatch, edit):
    def half(journal, data):
        journal._file.write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    with LexicalIndex.open(path) as index:
        index.add(["cat five"])
        before = index.copy()
        with monkeypatch.context() as patch:
            patch.setattr(Journal, "_write", half)
            patch.setattr(os, "replace", lambda *_: half(index._home._journal, b""))
            with pytest.raises(OSError, match="No space left"):
                edit(index)
        same(index, before)
        same(LexicalIndex.load(path), before)
        assert len(list(path.glob("data-*"))) == 1
        index.add(["cat seven"])
        same(LexicalIndex.load(path), index)


@pytest.mark.parametrize("edit", EDITS[:3])
def test_an_edit_that_cannot_be_taken_back_ends_the_writing(path, monkeypatch, edit):
    disk = DiskFull(monkeypatch)
    index = LexicalIndex.open(path)
    before = index.copy()
    disk.calls_left = 0
    with pytest.raises(OSError, match="No space left"):
        edit(index)
    disk.calls_left = None
    same(index, before)
    with pytest.raises(ConfigError, match="an edit was cut short"):
        index.add(["x"])
    index.close()
    with LexicalIndex.open(path) as index:
        index.add(["x"])
        same(LexicalIndex.load(path), index)


def test_a_checkpoint_that_fails_anywhere_leaves_the_old_index_or_the_new_one(path, monkeypatch):
    disk = DiskFull(monkeypatch)
    for n_calls in range(14):
        index = LexicalIndex.open(path)
        index.add([f"cat{n_calls} cat"])
        expected = index.copy()
        disk.calls_left = n_calls
        try:
            index.compact()
            disk.calls_left = None
            break
        except OSError:
            disk.calls_left = None
        same(LexicalIndex.load(path), expected)
        try:
            index.add(["one more"])
            expected.add(["one more"])
        except ConfigError as error:
            assert "cut short" in str(error)  # noqa: PT017
        index.close()
        same(LexicalIndex.load(path), expected)
    else:
        pytest.fail("the checkpoint never succeeded")
    assert n_calls > 5
    same(LexicalIndex.load(path), index)
    index.close()


def test_an_edit_counts_though_there_is_no_room_for_a_checkpoint(path, monkeypatch):
    monkeypatch.setattr(durable, "_MOST_RECORDS", 2)
    attempts = []

    def full(*_):
        attempts.append(1)
        raise OSError(28, "No space left on device")

    with LexicalIndex.open(path) as index:
        with monkeypatch.context() as patch:
            patch.setattr(durable, "write_content", full)
            for i in range(20):
                index.add([f"cat{i}"])
        assert len(attempts) == 4  # after 2, 4, 8 and 16 edits
        same(LexicalIndex.load(path), index)
        before = data_folder(path)
        for i in range(20):
            index.add([f"dog{i}"])
        assert data_folder(path) != before
        same(LexicalIndex.load(path), index)


def test_an_edit_that_was_interrupted_after_it_was_written_stops_further_ones(path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    index = LexicalIndex.open(path)
    with monkeypatch.context() as patch:
        patch.setattr(LexicalIndex, "_put", interrupt)
        with pytest.raises(KeyboardInterrupt):
            index.add(["written"])
    with pytest.raises(ConfigError, match="an edit was cut short"):
        index.add(["x"])
    index.close()
    assert LexicalIndex.load(path).search("written").ids == ["4"]


def make_rich_folder(path):
    """Several segments, deletions, documents and a journal."""
    documents = [Document(f"d{i}", f"cat number{i} dog", {"n": i}) for i in range(20)]
    LexicalRetriever.from_documents(documents).save(path)
    with LexicalRetriever.open(path) as retriever:
        retriever.add([Document("x", "a bird")])
        retriever.delete(["d3"])
        retriever.save(path)
        retriever.add([Document("y", "another bird")])
        retriever.delete(["d4"])
        retriever.update([Document("d5", "cat again")])


def test_every_byte_that_changes_is_found_or_changes_nothing(tmp_path):
    make_rich_folder(tmp_path / "i")
    before = LexicalRetriever.load(tmp_path / "i").retrieve("cat bird number7", 30)
    names = sorted(file.name for file in data_folder(tmp_path / "i").iterdir())
    assert "journal.log" in names
    assert "deleted_0.bin" in names
    for name in names:
        content = (data_folder(tmp_path / "i") / name).read_bytes()
        step = 7 if name == "journal.log" else max(1, len(content) // 40)
        for at in range(0, len(content), step):
            broken = bytearray(content)
            broken[at] ^= 0x41
            (data_folder(tmp_path / "i") / name).write_bytes(broken)
            try:
                found = LexicalRetriever.load(tmp_path / "i")
            except CorruptIndexError as error:
                assert name in str(error) or "documents and" in str(error)  # noqa: PT017
            else:
                # The last record may be one that a crash cut short.
                assert name == "journal.log"
                assert at > len(content) - 300
                assert found.index.ids[-1] == "y"
        (data_folder(tmp_path / "i") / name).write_bytes(content)
    assert LexicalRetriever.load(tmp_path / "i").retrieve("cat bird number7", 30) == before


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"{",
        b'{"removed": [], "added": 3}',
        b'{"removed": [4], "added": []}',
        b'{"removed": ["9"], "added": []}',
        b'{"removed": ["0", "0"], "added": []}',
        b'{"removed": [], "added": [["0", 1, {"a": 1}]]}',
        b'{"removed": [], "added": [["9", 1, {"a": 1}], ["9", 1, {"a": 1}]]}',
        b'{"removed": [], "added": [["9", 1, {"a": 2}]]}',
        b'{"removed": [], "added": [["9", 1, {"a": 0}]]}',
        b'{"removed": [], "added": [["9", 1, {"a": true}]]}',
        b'{"removed": [], "added": [["9", 9999999999, {"a": 1}]]}',
        b'{"removed": [], "added": [["9", -1, {}]]}',
        b'{"removed": [], "added": [["9", 1, []]]}',
        b'{"removed": [], "added": [["9", 1]]}',
        b'{"removed": [], "added": [[9, 1, {}]]}',
        b"[" * 100_000,
    ],
)
def test_forged_records_are_refused(path, record):
    with Journal(data_folder(path) / "journal.log", data_folder(path).name.removeprefix("data-")) as journal:
        journal.append(record)
    for read in (LexicalIndex.load, LexicalIndex.open):
        with pytest.raises(CorruptIndexError, match=r"journal\.log does not fit"):
            read(path)


def test_a_forged_mask_of_deletions_is_refused(tmp_path):
    make_rich_folder(tmp_path / "i")
    data, manifest = data_folder(tmp_path / "i"), json.loads((tmp_path / "i" / "manifest.json").read_text())
    mask = bytearray((data / "deleted_0.bin").read_bytes())
    mask[3] = 3
    (data / "deleted_0.bin").write_bytes(mask)
    manifest["files"]["deleted_0.bin"]["sha256"] = hashlib.sha256(mask).hexdigest()
    (tmp_path / "i" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(CorruptIndexError, match="something else than 0 and 1|documents and"):
        LexicalRetriever.load(tmp_path / "i")


def test_leftovers_of_a_crash_go_when_the_folder_is_opened(path):
    (path / f"data-{'0' * 16}").mkdir()
    with LexicalIndex.open(path):
        assert len(list(path.glob("data-*"))) == 1


CRASH = 9


def exit_at(n_calls):
    """End this process without a word at its ``n_calls``-th file operation."""
    left = n_calls

    def count(*_):
        nonlocal left
        left -= 1
        if left < 0:
            os._exit(CRASH)

    sync, write = os.fsync, Journal._write
    os.fsync = lambda file: (count(), sync(file))
    Journal._write = lambda journal, data: (
        write(journal, data[:20]),
        count(),
        write(journal, data),
    )
    sys.addaudithook(lambda event, _: count() if event == "open" or event[:3] == "os." else None)


def make_edits(index):
    index.add(["cat six seven"])
    index.delete(["1"])
    index.compact()
    index.update(["0"], ["cat again"])


@POSIX
def test_a_crash_at_any_file_operation_leaves_a_state_between_two_edits(path, tmp_path):
    states = [LexicalIndex.build(TEXTS)]
    for edit in (
        lambda index: index.add(["cat six seven"]),
        lambda index: index.delete(["1"]),
        lambda index: index.update(["0"], ["cat again"]),
    ):
        states.append(states[-1].copy())
        edit(states[-1])
    reached = 0
    for n_calls in range(200):
        target = tmp_path / str(n_calls)
        shutil.copytree(path, target)
        child = os.fork()
        if not child:
            try:
                exit_at(n_calls)
                make_edits(LexicalIndex.open(target))
            finally:
                os._exit(0)
        crashed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == CRASH
        loaded = LexicalIndex.load(target)
        (state,) = [i for i, state in enumerate(states) if list(state.ids) == list(loaded.ids)]
        assert state >= reached
        reached = state
        same(loaded, states[state])
        with LexicalIndex.open(target) as index:
            same(index, states[state])
            index.add(["goes on"], ["on"])
            assert len(list(target.glob("data-*"))) == 1
        assert "on" in LexicalIndex.load(target)
        shutil.rmtree(target)
        if not crashed:
            break
    assert not crashed
    assert n_calls > 40
    assert reached == 3


WRITER = """
import random, sys
from prorank_plugins import LexicalIndex
from prorank_plugins.lexical import durable
durable._MOST_RECORDS, durable._LARGE_DOCS = 7, 3
random.seed(int(sys.argv[2]))

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")
    sys.stdout.flush()

index = LexicalIndex.open(sys.argv[1])
say("open")
ids = list(index.ids)
n = int(sys.argv[2]) * 100000
while True:
    n += 1
    kind = random.choice(["add", "add", "add", "delete", "update", "many", "compact"])
    if kind in ("add", "many"):
        new = [f"{n}-{i}" for i in range(5 if kind == "many" else 1)]
        say("start", "add", *new)
        index.add([f"shared word{key}" for key in new], new)
        ids += new
    elif kind == "compact":
        say("start", "nothing")
        index.compact()
    elif ids:
        key = ids.pop(random.randrange(len(ids)))
        say("start", kind, key)
        if kind == "delete":
            index.delete([key])
        else:
            index.update([key], [f"shared again{n}"])
            ids.append(key)
    else:
        continue
    say("done")
"""


def apply_to(ids, words):
    kind, *keys = words
    if kind in ("delete", "update"):
        ids = [key for key in ids if key not in keys]
    return [*ids, *keys] if kind in ("add", "update") else ids


@POSIX
def test_a_killed_writer_leaves_every_edit_that_returned(tmp_path):
    path = tmp_path / "i"
    LexicalIndex.build([]).save(path)
    ids = []
    for attempt in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), str(attempt)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "open\n"
        time.sleep(0.05 + 0.031 * attempt)
        process.send_signal(signal.SIGKILL)
        lines = process.communicate()[0].split("\n")
        pending = None
        for line in lines[:-1]:  # the last one may be cut short
            word, *words = line.split(" ")
            if word == "start":
                pending = words
            else:
                ids, pending = apply_to(ids, pending), None
        allowed = [ids] if pending is None else [ids, apply_to(ids, pending)]
        loaded = LexicalIndex.load(path)
        assert list(loaded.ids) in allowed
        ids = list(loaded.ids)
        assert sorted(loaded.search("shared", 10_000).ids) == sorted(ids)
    with LexicalIndex.open(path) as index:
        assert list(index.ids) == ids


# Any sequence of edits


TEXT = st.lists(st.sampled_from([*TERMS, "\ud800", "東"]), max_size=8).map(" ".join)
KEY = st.sampled_from([f"k{i}" for i in range(12)])


SPLIT = Analyzer(str.split)


class Bare:
    """Edits of an index without documents."""

    home = LexicalIndex

    @staticmethod
    def index_of(opened):
        return opened

    @staticmethod
    def build(texts):
        return LexicalIndex.build(list(texts.values()), list(texts), analyzer=SPLIT)

    @staticmethod
    def add(index, texts):
        index.add(list(texts.values()), list(texts))

    @staticmethod
    def update(index, texts):
        index.update(list(texts), list(texts.values()))

    @staticmethod
    def upsert(index, texts):
        index.upsert(list(texts), list(texts.values()))


def documents_of(texts):
    return [Document(key, text, {"long": len(text), "key": key}) for key, text in texts.items()]


class WithDocuments:
    """Edits of a retriever."""

    home = LexicalRetriever

    @staticmethod
    def index_of(opened):
        return opened.index

    @staticmethod
    def build(texts):
        return LexicalRetriever.from_documents(documents_of(texts), analyzer=SPLIT)

    @staticmethod
    def add(retriever, texts):
        retriever.add(documents_of(texts))

    @staticmethod
    def update(retriever, texts):
        retriever.update(documents_of(texts))

    @staticmethod
    def upsert(retriever, texts):
        retriever.upsert(documents_of(texts))


class AnyEdits(RuleBasedStateMachine):
    """An opened index and one that follows it, against a dict."""

    folder: Path

    @initialize(texts=st.dictionaries(KEY, TEXT, max_size=5), kind=st.sampled_from([Bare, WithDocuments]))
    def build(self, texts, kind):
        self.path, self.kind = self.folder / os.urandom(6).hex(), kind
        self.expected = dict(texts)
        kind.build(texts).save(self.path)
        self.opened, self.follower = self.open(), self.load()

    def open(self):
        return self.kind.home.open(self.path, analyzer=SPLIT)

    def load(self, mmap=True):
        return self.kind.home.load(self.path, mmap, SPLIT)

    def teardown(self):
        if hasattr(self, "opened"):
            self.opened.close()
            shutil.rmtree(self.path)

    @rule(texts=st.dictionaries(KEY, TEXT, max_size=4))
    def add(self, texts):
        new = {key: text for key, text in texts.items() if key not in self.expected}
        self.kind.add(self.opened, new)
        self.expected |= new

    @rule(keys=st.lists(KEY, max_size=3, unique=True))
    def delete(self, keys):
        gone = self.opened.delete(keys, missing_ok=True)
        assert gone == [key for key in keys if key in self.expected]
        for key in gone:
            del self.expected[key]

    @rule(texts=st.dictionaries(KEY, TEXT, max_size=3))
    def upsert(self, texts):
        self.kind.upsert(self.opened, texts)
        self.move(texts)

    @rule(texts=st.dictionaries(KEY, TEXT, max_size=3))
    def update(self, texts):
        there = {key: text for key, text in texts.items() if key in self.expected}
        self.kind.update(self.opened, there)
        self.move(there)

    def move(self, texts):
        for key, text in texts.items():
            self.expected.pop(key, None)
            self.expected[key] = text

    @rule()
    def compact(self):
        self.opened.compact()

    @rule()
    def save(self):
        self.opened.save(self.path)

    @rule(mmap=st.booleans())
    def save_elsewhere_and_open_that(self, mmap):
        old, self.path = self.path, self.folder / os.urandom(6).hex()
        self.opened.save(self.path)
        self.opened.close()
        shutil.rmtree(old)
        self.opened, self.follower = self.open(), self.load(mmap)

    @rule()
    def load_edit_and_save_over(self):
        self.opened.close()
        loaded = self.load()
        self.kind.upsert(loaded, {"k0": "a b a"})
        self.move({"k0": "a b a"})
        loaded.save(self.path)
        self.opened = self.open()

    @rule()
    def close_and_open(self):
        self.opened.close()
        self.opened = self.open()

    @rule()
    def follow(self):
        self.follower.refresh()
        self.check(self.follower)

    @rule()
    def load_again(self):
        self.check(self.load())

    @invariant()
    def is_a_fresh_build(self):
        if hasattr(self, "opened"):
            self.check(self.opened)

    def check(self, found):
        fresh = self.kind.build(self.expected)
        if self.kind is WithDocuments:
            assert list(found.documents) == list(fresh.documents)
        found, fresh = self.kind.index_of(found), self.kind.index_of(fresh)
        same(found, fresh, ("a b b", "h x \ud800"))
        assert found.n_terms == fresh.n_terms


def test_any_sequence_of_durable_edits_is_a_fresh_build(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_MOST_RECORDS", 6)
    monkeypatch.setattr(durable, "_LARGE_DOCS", 3)
    for module in (segment, merging, edit_records):
        monkeypatch.setattr(module, "MOST_DOCS", 6)
        monkeypatch.setattr(module, "MOST_POSTINGS", 24)
    monkeypatch.setattr(merging, "_FAN_OUT", 2)
    AnyEdits.folder = tmp_path
    run_state_machine_as_test(
        AnyEdits, settings=settings(max_examples=25, stateful_step_count=25, deadline=None)
    )
