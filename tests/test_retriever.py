"""Documents in, scored copies of documents out."""

import copy
import pickle

import numpy as np
import pytest

from prorank_plugins import (
    BM25,
    BMX,
    Analyzer,
    ConfigError,
    Document,
    LexicalRetriever,
    Retriever,
    WeightedQuery,
)
from prorank_plugins.core.errors import UnknownIdError

DOCUMENTS = [
    Document("a", "cats and dogs", {"lang": "en", "year": 2020, "tags": ["x"]}),
    Document("b", "cats alone", {"lang": "en", "year": 2021}),
    Document("c", "Katzen und cats", {"lang": "de", "year": 2021}),
    Document("d", "birds", {}),
]


@pytest.fixture
def retriever():
    return LexicalRetriever.from_documents(DOCUMENTS)


def ids(found):
    return [scored.document.id for scored in found]


def test_a_lexical_retriever_is_a_retriever(retriever):
    assert isinstance(retriever, Retriever)
    found = retriever.retrieve("cats", 2)
    assert ids(found) == ["a", "b"]
    assert all(type(scored.score) is float for scored in found)


def test_results_are_copies_of_what_was_given(retriever):
    given = Document("e", "fish", {"list": [1]})
    retriever.add([given])
    given.metadata["list"].append(2)
    found = retriever.retrieve("fish", 1)[0].document
    assert found == Document("e", "fish", {"list": [1]})
    found.metadata["list"].append(3)
    found.metadata["more"] = 1
    assert retriever.retrieve("fish", 1)[0].document == Document("e", "fish", {"list": [1]})


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"lang": "en"}, ["b", "a"]),
        ({"lang": ["en", "de"], "year": 2021}, ["b", "c"]),
        ({"year": {2020}}, ["a"]),
        ({"tags": ["x"]}, ["a"]),
        ({"missing": None}, []),
        ({}, ["b", "a", "c"]),
        (lambda metadata: metadata.get("year", 0) > 2020, ["b", "c"]),
        ({"a", "d"}, ["a"]),
        (["c"], ["c"]),
        (np.array([True, False, False, True]), ["a"]),
        (None, ["b", "a", "c"]),
        (lambda metadata: False, []),
    ],
)
def test_filters_by_metadata_id_and_mask(retriever, wanted, expected):
    assert sorted(ids(retriever.retrieve("cats", 100, filter=wanted))) == sorted(expected)
    assert len(retriever.retrieve("cats", 1, filter=wanted)) == min(1, len(expected))


def test_many_queries_give_what_single_ones_give(retriever):
    queries = ["cats", "birds", WeightedQuery([("dogs", 1), ("birds", 0.5)])]
    together = retriever.retrieve_many(queries, 3, n_threads=2)
    assert together == [retriever.retrieve(query, 3) for query in queries]


def test_edits_keep_documents_and_index_in_step(retriever):
    assert retriever.add([Document("e", "new cats")]) == ["e"]
    retriever.delete(["a"])
    retriever.update([Document("b", "no longer about pets", {"v": 2})])
    fresh = LexicalRetriever.from_documents(
        [*DOCUMENTS[2:], Document("e", "new cats"), Document("b", "no longer about pets", {"v": 2})]
    )
    assert list(retriever.documents) == list(fresh.documents)
    for query in ("cats", "pets", "birds"):
        assert retriever.retrieve(query, 5) == fresh.retrieve(query, 5)
    assert "a" not in retriever
    assert len(retriever) == 4


def test_upserts_and_lenient_deletes_are_one_edit_each(retriever):
    assert retriever.upsert([Document("a", "changed"), Document("n", "new")]) == ["a", "n"]
    assert [document.id for document in retriever.documents] == ["b", "c", "d", "a", "n"]
    assert ids(retriever.retrieve("changed new", 5)) == ["a", "n"]
    assert retriever.delete(["a", "nowhere"], missing_ok=True) == ["a"]
    assert len(retriever) == 4


def test_edits_that_fail_change_nothing(retriever):
    before = list(retriever.documents)
    with pytest.raises(ConfigError, match="already in the index"):
        retriever.add([Document("new", "x"), Document("a", "x")])
    with pytest.raises(UnknownIdError):
        retriever.delete(["a", "nowhere"])
    with pytest.raises(UnknownIdError):
        retriever.update([Document("nowhere", "x")])
    assert list(retriever.documents) == before
    assert ids(retriever.retrieve("cats", 5)) == ["a", "b", "c"]


@pytest.mark.parametrize("bad", ["text", {"id": "x"}, None])
def test_only_documents_are_taken(bad):
    with pytest.raises(ConfigError, match=r"documents\[1\] must be a prorank_plugins.Document"):
        LexicalRetriever.from_documents([DOCUMENTS[0], bad])


def test_documents_must_match_the_index(retriever):
    with pytest.raises(ConfigError, match="3 documents for an index of 4"):
        LexicalRetriever(retriever.index, DOCUMENTS[:3], BMX())


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))])
def test_copies_work_and_are_independent(retriever, duplicate):
    other = duplicate(retriever)
    assert other.retrieve("cats", 3) == retriever.retrieve("cats", 3)
    other.delete(["a"])
    assert "a" in retriever


def test_scorer_and_analyzer_are_the_callers():
    retriever = LexicalRetriever.from_documents(iter(DOCUMENTS), analyzer=Analyzer("de"), scorer=BM25())
    assert retriever.scorer == BM25()
    assert ids(retriever.retrieve("Katze", 5)) == ["c"]
    assert LexicalRetriever.from_documents(DOCUMENTS, analyzer="de").index.analyzer == Analyzer("de")


def test_the_representation_holds_no_text(retriever):
    assert "cats" not in repr(retriever)
