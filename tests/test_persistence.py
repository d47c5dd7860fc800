"""Saved indexes: what comes back, what a damaged folder does, what a crash leaves."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from prorank_plugins import (
    BM25,
    BMX,
    Analyzer,
    AnalyzerConfig,
    ConfigError,
    CorruptIndexError,
    Document,
    IndexFormatError,
    LexicalIndex,
    LexicalRetriever,
    ProRankError,
)
from prorank_plugins.core.errors import IndexNotFoundError
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter

GOLDEN = Path(__file__).parent / "golden"
TEXTS = ["The cat sat on the mat", "Dogs chase cats", "東京都庁", "", "naïve Straße \ud800", "cat " * 300]
QUERY = "cats and dogs in 東京"


def make_retriever():
    documents = [
        Document(f"id-{i}", text, {"n": i, "tags": ["a", "é"], "nested": {"x": None}})
        for i, text in enumerate(TEXTS)
    ]
    analyzer = Analyzer(AnalyzerConfig("en", split_identifiers=True))
    return LexicalRetriever.from_documents(
        documents, analyzer, BMX(alpha=0.7, beta=0.2, variant="paper", normalize="bound")
    )


def data_folder(path):
    (folder,) = path.glob("data-*")
    return folder


def edit_manifest(path, change):
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def saved(tmp_path):
    make_retriever().save(tmp_path / "index")
    return tmp_path / "index"


@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_retriever_gives_the_same_results_bit_for_bit(saved, mmap):
    original, loaded = make_retriever(), LexicalRetriever.load(saved, mmap=mmap)
    assert loaded.retrieve(QUERY, 10) == original.retrieve(QUERY, 10)
    assert loaded.scorer == original.scorer
    assert loaded.index.analyzer == original.index.analyzer
    assert loaded.index.scores(QUERY).tolist() == original.index.scores(QUERY).tolist()
    assert list(loaded.documents) == list(original.documents)
    docs = loaded.index.snapshot().state.segments[0].docs
    while isinstance(docs.base, np.ndarray):
        docs = docs.base
    assert isinstance(docs, np.memmap) is mmap


def test_another_process_finds_the_same_bits(saved):
    code = (
        "import sys, json; from prorank_plugins import LexicalRetriever\n"
        "r = LexicalRetriever.load(sys.argv[1])\n"
        "print(json.dumps([[h.document.id, h.score.hex()] for h in r.retrieve(sys.argv[2], 10)]))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(saved), QUERY], capture_output=True, text=True, check=True
    )
    assert json.loads(shown.stdout) == [
        [h.document.id, h.score.hex()] for h in make_retriever().retrieve(QUERY, 10)
    ]


def test_a_loaded_index_can_be_edited_and_saved_over_itself(saved):
    retriever = LexicalRetriever.load(saved)
    retriever.add([Document("new", "a new dog")])
    retriever.delete(["id-0"])
    retriever.save(saved)
    again = LexicalRetriever.load(saved)
    assert again.retrieve("dog cat", 10) == retriever.retrieve("dog cat", 10)
    assert "id-0" not in again
    assert len(list(saved.glob("data-*"))) == 1
    # What was mapped before the folder changed can still be read.
    assert retriever.retrieve("cat", 10)


@pytest.mark.parametrize(
    "analyzer", [None, Analyzer("de"), Analyzer(AnalyzerConfig(None, stop_words=("x", "y")))]
)
def test_an_index_without_documents_keeps_its_analyzer(tmp_path, analyzer):
    texts = ["ein Haus", "zwei Häuser x"] if analyzer else [["ein", "Haus"], ["zwei"]]
    query = "Häuser ein" if analyzer else ["Haus"]
    index = LexicalIndex.build(texts, analyzer=analyzer)
    index.save(tmp_path / "i")
    loaded = LexicalIndex.load(tmp_path / "i")
    assert loaded.analyzer == analyzer
    assert loaded.scores(query, BM25()).tolist() == index.scores(query, BM25()).tolist()
    with pytest.raises(IndexFormatError, match="without documents"):
        LexicalRetriever.load(tmp_path / "i")


def test_an_empty_index_can_be_saved(tmp_path):
    LexicalIndex.build([]).save(tmp_path / "i")
    loaded = LexicalIndex.load(tmp_path / "i")
    assert len(loaded) == 0
    loaded.add(["a cat"])
    assert loaded.search("cat").ids == ["0"]


def test_a_subword_model_is_saved_with_the_index(tmp_path):
    pytest.importorskip("sentencepiece")
    texts = [f"quick brown foxes number {i} jump over lazy dogs" for i in range(100)]
    index = LexicalIndex.build(texts, analyzer=Analyzer.train_subwords(texts, 60))
    index.save(tmp_path / "i")
    assert LexicalIndex.load(tmp_path / "i").search("foxs 7").ids == index.search("foxs 7").ids


def dash_terms(text):
    return text.split("-")


def test_a_callable_is_given_again_and_checked_by_what_it_does(tmp_path):
    index = LexicalIndex.build(["a-b"], analyzer=Analyzer(dash_terms))
    index.save(tmp_path / "i")
    with pytest.raises(IndexFormatError, match=r"dash_terms.*not saved; pass it again"):
        LexicalIndex.load(tmp_path / "i")
    assert LexicalIndex.load(tmp_path / "i", analyzer=Analyzer(dash_terms)).search("b").ids == ["0"]
    with pytest.raises(IndexFormatError, match="another analyzer"):
        LexicalIndex.load(tmp_path / "i", analyzer=Analyzer("en"))


def test_nothing_saved_is_a_pickle(saved):
    for file in saved.rglob("*"):
        if file.is_file():
            assert not file.read_bytes().startswith(b"\x80")
    for file in saved.rglob("*.npy"):
        np.load(file, allow_pickle=False)


# Folders that cannot be loaded


def test_a_missing_folder_is_said_to_be_missing(tmp_path):
    with pytest.raises(IndexNotFoundError, match="no saved index at"):
        LexicalIndex.load(tmp_path / "nowhere")


def test_a_folder_without_manifest_is_an_unfinished_save(saved):
    (saved / "manifest.json").unlink()
    with pytest.raises(CorruptIndexError, match="cut short"):
        LexicalIndex.load(saved)
    make_retriever().save(saved)
    assert LexicalRetriever.load(saved).retrieve("cat", 1)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "\x00", "[" * 100_000, '{"format": "prorank_plugins.lexical"']
)
def test_a_damaged_manifest_is_reported(saved, text):
    (saved / "manifest.json").write_text(text)
    with pytest.raises(CorruptIndexError):
        LexicalIndex.load(saved)


def test_a_newer_format_says_what_to_do(saved):
    edit_manifest(saved, lambda m: m.update(format_version=99))
    with pytest.raises(IndexFormatError, match=r"format_version 99; this release reads up to 3\. Upgrade"):
        LexicalIndex.load(saved)


def test_another_kind_of_artifact_is_not_read(saved):
    edit_manifest(saved, lambda m: m.update(format="something.else"))
    with pytest.raises(IndexFormatError, match="holds 'something.else'"):
        LexicalIndex.load(saved)


def files_of(path):
    return sorted(file.name for file in data_folder(path).iterdir())


def test_every_file_that_is_missing_cut_or_changed_is_found(saved, tmp_path):
    for name in files_of(saved):
        for damage in ("remove", "cut", "flip", "grow"):
            broken = tmp_path / f"{name}-{damage}"
            shutil.copytree(saved, broken)
            file = data_folder(broken) / name
            content = bytearray(file.read_bytes())
            if damage == "remove":
                file.unlink()
            elif damage == "cut":
                file.write_bytes(content[:-1])
            elif damage == "grow":
                file.write_bytes(content + b"\x00")
            else:
                content[len(content) // 2] ^= 0x55
                file.write_bytes(content)
            with pytest.raises(CorruptIndexError) as caught:
                LexicalRetriever.load(broken)
            assert name in str(caught.value)
            assert "build it again" in str(caught.value)


def resign(path):
    """Make the manifest match the files again, as somebody who forges an index would."""
    import hashlib

    def change(manifest):
        for name, entry in manifest["files"].items():
            content = (data_folder(path) / name).read_bytes()
            entry.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())

    edit_manifest(path, change)


def forge(path, name, key, change):
    """Change one of the arrays in a file."""

    def edit(manifest):
        dtype, offset, size = manifest["files"][name]["arrays"][key]
        content = bytearray((data_folder(path) / name).read_bytes())
        array = np.frombuffer(content, dtype, size, offset)
        change(array)
        (data_folder(path) / name).write_bytes(content)

    edit_manifest(path, edit)
    resign(path)


def put(index, value):
    return lambda array: array.__setitem__(index, value)


SEGMENT = "segment_0.bin"


@pytest.mark.parametrize(
    ("name", "key", "change"),
    [
        (SEGMENT, "docs", put(0, 60_000)),
        (SEGMENT, "docs", lambda a: a.__setitem__(slice(None), a[::-1].copy())),
        (SEGMENT, "codes", put(slice(None), 255)),
        (SEGMENT, "indptr", put(1, 10**9)),
        (SEGMENT, "indptr", put(0, 1)),
        (SEGMENT, "indptr", put(-1, 0)),
        (SEGMENT, "terms", put(0, -1)),
        (SEGMENT, "terms", put(-1, 10**6)),
        (SEGMENT, "terms", put(0, 5)),
        (SEGMENT, "lengths", put(0, 65_535)),
        (SEGMENT, "lengths", put(1, 0)),
        (SEGMENT, "limits", put(slice(None), np.nan)),
        (SEGMENT, "limits", put(slice(None), 0)),
        (SEGMENT, "code_freqs", put(slice(None), -1)),
        (SEGMENT, "code_freqs", put(slice(None), 7)),
        (SEGMENT, "large_places", put(0, 10**6)),
        (SEGMENT, "large_freqs", put(0, 0)),
        (SEGMENT, "large_freqs", put(0, 10**6)),
        (SEGMENT, "highest_codes", put(slice(None), 0)),
        (SEGMENT, "documents_offsets", put(1, 10**9)),
        (SEGMENT, "documents_offsets", put(1, -1)),
        (SEGMENT, "ids_offsets", put(slice(None), 10**6)),
        (SEGMENT, "ids_slots", put(slice(None), 10**6)),
        ("statistics.bin", "log_entropies", put(0, np.nan)),
        ("statistics.bin", "log_entropies", put(0, np.inf)),
        ("statistics.bin", "doc_freqs", put(0, 10**6)),
        ("terms.bin", "slots", put(slice(None), 10**6)),
        ("terms.bin", "offsets", put(slice(None), 10**6)),
    ],
)
def test_forged_arrays_are_refused_before_they_are_used(saved, name, key, change):
    forge(saved, name, key, change)
    with pytest.raises(CorruptIndexError):
        LexicalRetriever.load(saved).retrieve(QUERY, 10, filter=["id-1"])


def test_forged_codes_of_the_best_postings_are_refused(tmp_path):
    LexicalIndex.build(["word"] * 10).save(tmp_path / "i")
    forge(tmp_path / "i", SEGMENT, "level_codes", put(0, 255))
    with pytest.raises(CorruptIndexError, match="level_codes are not those of the lists"):
        LexicalIndex.load(tmp_path / "i").search("word")


@pytest.mark.parametrize(
    ("n_codes", "message"), [(2, "three for each long list"), (0, "not those of the lists")]
)
def test_too_few_codes_of_the_best_postings_are_refused(tmp_path, n_codes, message):
    LexicalIndex.build(["word"] * 20).save(tmp_path / "i")
    edit_manifest(
        tmp_path / "i", lambda m: m["files"][SEGMENT]["arrays"]["level_codes"].__setitem__(2, n_codes)
    )
    with pytest.raises(CorruptIndexError, match=message):
        LexicalIndex.load(tmp_path / "i").search("word")


@pytest.mark.parametrize(("longest", "kind"), [(65_535, "<u2"), (65_536, "<i4")])
def test_lengths_take_16_bits_unless_one_does_not_fit(tmp_path, longest, kind):
    rng = np.random.default_rng(0)
    texts = [*(" ".join(rng.choice(["x", "y", "z"], 20)) for _ in range(300)), "x " * longest]
    index = LexicalIndex.build(texts)
    index.save(tmp_path / "i")
    manifest = json.loads((tmp_path / "i" / "manifest.json").read_text())
    assert manifest["files"][SEGMENT]["arrays"]["lengths"][0] == kind
    expected = sorted(index.scores("x y z").astype(np.float32).tolist(), reverse=True)
    for searched in (index, LexicalIndex.load(tmp_path / "i")):
        assert searched.search("x y z", 301).scores.tolist() == expected
        assert searched.explain("x y z", "300").document_length == longest


@pytest.mark.parametrize(
    "place",
    [None, [], ["<u2", 0], ["<u4", 0, 1], ["|O", 0, 1], ["<u2", -64, 1], ["<u2", 0, 10**9], ["<u2", 1, 1]],
)
def test_forged_places_of_arrays_are_refused(saved, place):
    edit_manifest(saved, lambda m: m["files"][SEGMENT]["arrays"].update(docs=place))
    with pytest.raises(CorruptIndexError):
        LexicalRetriever.load(saved)


@pytest.mark.parametrize(
    "line", [b"not json\n", b"[]\n", b'{"id": "other", "text": "x", "metadata": {}}\n', b'{"id": 1}\n']
)
def test_forged_documents_are_refused_when_they_are_read(saved, line):
    (data_folder(saved) / "documents_0.jsonl").write_bytes(line * len(TEXTS))
    ends = np.arange(len(TEXTS) + 1, dtype=np.int64) * len(line)
    forge(saved, SEGMENT, "documents_offsets", put(slice(None), ends))
    with pytest.raises(CorruptIndexError, match="documents.jsonl"):
        LexicalRetriever.load(saved).retrieve(QUERY, 10)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(data="../elsewhere"),
        lambda m: m.update(data=3),
        lambda m: m.update(files=[]),
        lambda m: m.update(content=None),
        lambda m: m["content"].update(n_docs=-1),
        lambda m: m["content"].update(n_docs="6"),
        lambda m: m["content"].update(segments=None),
        lambda m: m["content"].update(segments=[]),
        lambda m: m["content"].update(segments=[3]),
        lambda m: m["content"]["segments"][0].update(n_docs=7),
        lambda m: m["content"]["segments"][0].update(n_postings=True),
        lambda m: m["content"].update(keeps_documents=False),
        lambda m: m["content"].update(n_terms=10**12),
        lambda m: m["content"].update(analyzer=7),
        lambda m: m["content"]["analyzer"].update(config={"language": "klingon"}),
        lambda m: m["content"]["analyzer"].pop("config"),
        lambda m: m["content"]["analyzer"].update(kind="other"),
        lambda m: m["content"]["analyzer"].update(fingerprint="0" * 64),
        lambda m: m["content"]["options"].update(scorer={"name": "Evil"}),
        lambda m: m["content"]["options"].update(scorer={"name": "BMX", "alpha": -3}),
        lambda m: m["files"].update({"../../etc/passwd": {"bytes": 1, "sha256": ""}}),
        lambda m: m["files"].pop("segment_0.bin"),
        lambda m: m.update(format_version="1"),
    ],
)
def test_forged_manifests_give_errors_of_the_family(saved, change):
    edit_manifest(saved, change)
    with pytest.raises(ProRankError):
        LexicalRetriever.load(saved)


# Saving


def test_a_folder_with_other_content_is_not_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="other content"):
        LexicalIndex.build(["x"]).save(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        LexicalIndex.build(["x"]).save(tmp_path / "notes.txt")
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_another_artifact_is_not_overwritten(saved):
    edit_manifest(saved, lambda m: m.update(format="something.else"))
    with pytest.raises(ConfigError, match="save somewhere else"):
        LexicalIndex.build(["x"]).save(saved)


@pytest.mark.parametrize(
    "metadata",
    [{"w": object()}, {"set": {1}}, {1: "x"}, {"b": b"x"}, {"t": (1,)}, {"d": {1: 2}}],
)
def test_metadata_that_json_cannot_hold_is_refused_and_the_old_index_stays(saved, metadata):
    before = LexicalRetriever.load(saved).retrieve(QUERY, 5)
    retriever = LexicalRetriever.from_documents([Document("d", "text", metadata)])
    with pytest.raises(ConfigError, match="metadata of document 'd'"):
        retriever.save(saved)
    assert LexicalRetriever.load(saved).retrieve(QUERY, 5) == before
    assert len(list(saved.glob("data-*"))) == 1


def test_missing_numbers_in_metadata_survive(tmp_path):
    LexicalRetriever.from_documents([Document("d", "text", {"n": float("nan"), "m": np.float64(2)})]).save(
        tmp_path / "i"
    )
    (document,) = LexicalRetriever.load(tmp_path / "i").documents
    assert document.metadata["n"] != document.metadata["n"]
    assert document.metadata["m"] == 2


class OwnScorer(BMX):
    """A scorer of the user's."""


def test_a_scorer_of_the_users_own_is_not_saved_in_silence(tmp_path):
    retriever = LexicalRetriever.from_documents([Document("d", "text")], scorer=OwnScorer())
    with pytest.raises(ConfigError, match="OwnScorer cannot be saved"):
        retriever.save(tmp_path / "i")


def test_a_full_disk_leaves_the_old_index(saved, monkeypatch):
    before = LexicalRetriever.load(saved).retrieve(QUERY, 5)

    def full(*_):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                LexicalRetriever.from_documents([Document("d", "other")]).save(saved)
        assert LexicalRetriever.load(saved).retrieve(QUERY, 5) == before
        assert len(list(saved.glob("data-*"))) == 1


SAVER = """
import sys
from prorank_plugins import LexicalIndex
path, start = sys.argv[1], int(sys.argv[2])
for i in range(start, start + 100000):
    LexicalIndex.build([f"generation{i} shared"] * 50).save(path)
    sys.stdout.write(f"{i}\\n"); sys.stdout.flush()
"""


@pytest.mark.skipif(os.name == "nt", reason="uses POSIX kill")
def test_a_process_killed_while_saving_leaves_an_index_that_loads(tmp_path):
    path = tmp_path / "index"
    for attempt in range(4):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(path), str(attempt)], stdout=subprocess.PIPE
        )
        process.stdout.readline()
        time.sleep(0.02 + 0.013 * attempt)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        loaded = LexicalIndex.load(path)
        assert len(loaded.search("shared", 100)) == 50


def test_leftovers_of_crashed_saves_go_after_a_day(saved):
    old, young = saved / f"data-{'0' * 16}", saved / f"data-{'1' * 16}"
    old.mkdir()
    young.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    make_retriever().save(saved)
    assert not old.exists()
    assert young.exists()


def test_an_interrupted_writer_removes_what_it_wrote(tmp_path):
    def write():
        with ArtifactWriter(tmp_path / "a", "test", 1) as out:
            out.array("x", np.arange(3))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert list((tmp_path / "a").iterdir()) == []


def test_artifacts_give_back_arrays_and_bytes(tmp_path):
    with ArtifactWriter(tmp_path / "a", "test", 1) as out:
        out.array("x", np.arange(3))
        out.chunks("y.txt", [b"ab", b"c"])
        out.publish({"z": 1})
    source = ArtifactReader(tmp_path / "a", "test", 1)
    source.verify()
    assert source.array("x", [np.int64], mmap=True).tolist() == [0, 1, 2]
    assert source.bytes("y.txt", mmap=True).tobytes() == b"abc"
    assert source.content == {"z": 1}
    assert "y.txt" in source
    assert "w" not in source
    with pytest.raises(CorruptIndexError, match="does not list"):
        source.array("w", [np.int64], mmap=False)


# Golden folder


@pytest.mark.parametrize("version", [1, 2, 3])
@pytest.mark.parametrize("mmap", [True, False])
def test_an_index_of_each_format_gives_the_results_of_its_day(version, mmap):
    """Made by ``python -m tests.golden.make``."""
    expected = json.loads((GOLDEN / f"lexical-v{version}.json").read_text())
    retriever = LexicalRetriever.load(GOLDEN / f"lexical-v{version}", mmap)
    assert [d.metadata for d in retriever.documents] == expected["metadata"]
    for query, hits in expected["hits"].items():
        found = retriever.retrieve(query, 10)
        assert [h.document.id for h in found] == [doc_id for doc_id, _ in hits]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in hits], rtol=1e-6)
