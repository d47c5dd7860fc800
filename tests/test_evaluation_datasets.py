"""Collections in the BEIR layout: small ones made here, and real ones where PRORANK_DATA names a folder."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path

import pytest

from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation import load_beir

CORPUS = [
    {"_id": "d1", "title": "Wings", "text": "Lift and drag."},
    {"_id": "d2", "title": "", "text": "No title here."},
    {"_id": "d3", "title": "Only a title", "text": ""},
    {"_id": "d4", "text": "The key may be absent.", "metadata": {"url": "x"}},
]
QUERIES = [
    {"_id": "q2", "text": "what lifts"},
    {"_id": "q0", "text": "unjudged"},
    {"_id": "q1", "text": "titles"},
]
QRELS = "query-id\tcorpus-id\tscore\nq1\td3\t2\nq1\td2\t0\nq2\td1\t1\n"


def json_lines(records):
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def make(folder, corpus=CORPUS, queries=QUERIES, splits=(("test", QRELS),), suffix=""):
    """Write a collection; ``corpus`` and ``queries`` may be text."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    files = {
        "corpus.jsonl": corpus if isinstance(corpus, str) else json_lines(corpus),
        "queries.jsonl": queries if isinstance(queries, str) else json_lines(queries),
        **{f"qrels/{split}.tsv": text for split, text in splits},
    }
    for name, text in files.items():
        content = text.encode()
        (folder / f"{name}{suffix}").write_bytes(gzip.compress(content) if suffix else content)
    return folder


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_collection_is_read_plain_or_packed(tmp_path, suffix):
    data = load_beir(make(tmp_path / "tiny", suffix=suffix))
    assert data.name == "tiny"
    assert [(document.id, document.text) for document in data.documents] == [
        ("d1", "Wings Lift and drag."),
        ("d2", "No title here."),
        ("d3", "Only a title"),
        ("d4", "The key may be absent."),
    ]
    assert [dict(document.metadata) for document in data.documents] == [
        {"title": "Wings"},
        {},
        {"title": "Only a title"},
        {},
    ]
    assert data.qrels == {"q1": {"d3": 2, "d2": 0}, "q2": {"d1": 1}}


def test_only_judged_queries_are_kept_in_file_order(tmp_path):
    assert list(load_beir(make(tmp_path)).queries.items()) == [("q2", "what lifts"), ("q1", "titles")]


def test_a_split_is_read_on_its_own(tmp_path):
    make(tmp_path, splits=[("test", QRELS), ("train", "q0\td1\t1\n")])
    data = load_beir(str(tmp_path), split="train")
    assert data.queries == {"q0": "unjudged"}
    assert data.qrels == {"q0": {"d1": 1}}


def test_the_header_of_the_judgements_may_be_left_out(tmp_path):
    without = load_beir(make(tmp_path / "a", splits=[("test", QRELS.partition("\n")[2])]))
    assert without.qrels == load_beir(make(tmp_path / "b")).qrels


def test_crlf_and_blank_lines_are_read(tmp_path):
    data = load_beir(
        make(
            tmp_path,
            corpus=json_lines(CORPUS).replace("\n", "\r\n"),
            splits=[("test", QRELS.replace("\n", "\r\n\r\n"))],
        )
    )
    assert len(data.documents) == 4
    assert data.qrels["q1"] == {"d3": 2, "d2": 0}


def test_line_separators_of_unicode_stay_inside_the_text(tmp_path):
    text = "one\u2028two\x85three\x0cfour"
    data = load_beir(make(tmp_path, corpus=[{"_id": "d1", "text": text}]))
    assert data.documents[0].text == text


def test_a_plain_file_is_preferred_to_a_packed_one(tmp_path):
    make(tmp_path, corpus=CORPUS[:1], suffix=".gz", splits=[("test", "q0\td1\t1\n")])
    make(tmp_path)
    data = load_beir(tmp_path)
    assert len(data.documents) == 4
    assert len(data.qrels) == 2


def test_a_judged_document_may_be_absent_from_the_corpus(tmp_path):
    data = load_beir(make(tmp_path, corpus=CORPUS[:1]))
    assert data.qrels["q1"] == {"d3": 2, "d2": 0}


def test_a_judged_query_without_text_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match=r"test\.tsv: query 'q1' is judged but has no text"):
        load_beir(make(tmp_path, queries=QUERIES[:1]))


def test_a_missing_split_is_refused_with_those_that_exist(tmp_path):
    make(tmp_path, splits=[("train", QRELS)], suffix=".gz")
    make(tmp_path, splits=[("dev", QRELS)])
    with pytest.raises(DataFormatError, match="no split 'test'; splits found: dev, train"):
        load_beir(tmp_path)


def test_a_folder_without_judgements_or_documents_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match="is not a folder"):
        load_beir(tmp_path / "nothing")
    with pytest.raises(DataFormatError, match="splits found: none"):
        load_beir(tmp_path)
    make(tmp_path)
    (tmp_path / "corpus.jsonl").unlink()
    with pytest.raises(DataFormatError, match=r"neither corpus\.jsonl nor corpus\.jsonl\.gz"):
        load_beir(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "found list; expected a JSON object"),
        ('{"text": "x"}', '"_id" is missing'),
        ('{"_id": 7, "text": "x"}', '"_id" is 7; expected a string'),
        ('{"_id": "d9"}', '"text" is missing'),
        ('{"_id": "d9", "text": null}', '"text" is None'),
        ('{"_id": "d9", "text": "x", "title": 3}', '"title" is 3'),
        ('{"_id": "d1", "text": "x"}', "_id 'd1' occurs a second time"),
    ],
)
def test_a_malformed_document_is_refused_with_file_and_line(tmp_path, line, message):
    make(tmp_path, corpus=json_lines(CORPUS) + line + "\n")
    with pytest.raises(DataFormatError, match=rf"corpus\.jsonl:5: .*{re.escape(message)}"):
        load_beir(tmp_path)


def test_a_query_id_that_occurs_twice_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match=r"queries\.jsonl:4: _id 'q2' occurs a second time"):
        load_beir(make(tmp_path, queries=[*QUERIES, QUERIES[0]]))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("q1 d1 1", "found 1 tab-separated fields; expected 3"),
        ("q1\t0\td1\t1", "found 4 tab-separated fields"),
        ("q1\td1\t1.0", "found grade '1.0'; expected an integer"),
        ("q1\td3\t1", "'d3' is judged twice for query 'q1'"),
    ],
)
def test_a_malformed_judgement_is_refused_with_file_and_line(tmp_path, line, message):
    with pytest.raises(DataFormatError, match=rf"test\.tsv:5: .*{re.escape(message)}"):
        load_beir(make(tmp_path, splits=[("test", f"{QRELS}{line}\n")]))


def test_a_split_without_judgements_is_refused(tmp_path):
    with pytest.raises(DataFormatError, match="no judgements"):
        load_beir(make(tmp_path, splits=[("test", QRELS.partition("\n")[0])]))


@pytest.mark.parametrize(
    ("name", "split", "n_documents", "n_queries", "n_judgements"),
    [
        ("scifact", "test", 5183, 300, 339),
        ("scifact", "train", 5183, 809, 919),
        ("cranfield", "test", 1398, 225, 1836),
        ("cacm", "test", 3204, 52, 796),
        ("adi", "test", 82, 35, 170),
    ],
)
def test_a_real_collection_has_its_published_size(name, split, n_documents, n_queries, n_judgements):
    root = os.environ.get("PRORANK_DATA")
    if not root:
        pytest.skip("PRORANK_DATA does not name a folder of collections")
    folder = Path(root) / name
    if not folder.is_dir():
        pytest.skip(f"PRORANK_DATA has no {name}")
    data = load_beir(folder, split)
    assert len(data.documents) == n_documents
    assert len(data.queries) == len(data.qrels) == n_queries
    assert sum(map(len, data.qrels.values())) == n_judgements
    assert data.queries.keys() == data.qrels.keys()
