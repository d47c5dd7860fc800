"""Documents, protocols, the pipeline, errors, optional dependencies."""

import builtins

import pytest

from prorank_plugins import (
    ConfigError,
    Document,
    MissingExtraError,
    ProRankError,
    Reranker,
    Retriever,
    RetrieveThenRerank,
    ScoredDocument,
)
from prorank_plugins.core import errors
from prorank_plugins.core.extras import require
from prorank_plugins.core.signature import package_version, signature


class Canned:
    """Retriever of documents "0".."9" and reranker that prefers long ids."""

    def __init__(self):
        self.asked = []

    def retrieve(self, query, k, **options):
        self.asked.append((query, k, options))
        return (
            [ScoredDocument(Document(str(i) * (i + 1), "text"), 10.0 - i) for i in range(10)][:k]
            if query
            else []
        )

    def rerank(self, query, documents, k=None):
        scored = [ScoredDocument(document, float(len(document.id))) for document in documents]
        return sorted(scored, key=lambda s: -s.score)[:k]


def test_the_pipeline_reranks_more_candidates_than_it_returns():
    stage = Canned()
    pipeline = RetrieveThenRerank(stage, stage, depth=5)
    assert isinstance(pipeline, Retriever)
    assert isinstance(stage, Reranker)
    assert [s.document.id[0] for s in pipeline.retrieve("q", 2, filter={"x": 1})] == ["4", "3"]
    assert stage.asked == [("q", 5, {"filter": {"x": 1}})]


def test_the_pipeline_fetches_as_many_as_are_wanted():
    stage = Canned()
    assert len(RetrieveThenRerank(stage, stage, depth=2).retrieve("q", 7)) == 7


def test_nothing_wanted_and_nothing_found_give_nothing():
    stage = Canned()
    assert RetrieveThenRerank(stage, stage).retrieve("q", 0) == []
    assert stage.asked == []
    assert RetrieveThenRerank(stage, stage).retrieve("", 3) == []


def test_depth_and_k_are_checked():
    stage = Canned()
    with pytest.raises(ConfigError, match="depth must be at least 1"):
        RetrieveThenRerank(stage, stage, depth=0)
    with pytest.raises(ConfigError, match="k must be at least 0"):
        RetrieveThenRerank(stage, stage).retrieve("q", -1)


@pytest.mark.parametrize("fields", [(1, "text"), ("id", None), ("id", b"text")])
def test_documents_hold_strings(fields):
    with pytest.raises(ConfigError, match=r"Document\.(id|text)"):
        Document(*fields)


def test_copies_of_documents_share_no_metadata():
    document = Document("a", "b", {"flat": 1, "deep": {"x": []}})
    other = document.copy()
    assert other == document
    other.metadata["deep"]["x"].append(1)
    assert document.metadata == {"flat": 1, "deep": {"x": []}}


def test_every_error_is_of_the_family_and_of_a_built_in_kind():
    family = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProRankError)
    ]
    assert len(family) >= 7
    for kind in family:
        if kind is not ProRankError:
            assert any(
                base.__module__ == builtins.__name__ and base is not Exception for base in kind.__mro__[1:-3]
            )
            assert str(kind("what happened")) == "what happened"


def test_a_missing_package_is_named_with_the_line_that_installs_it():
    with pytest.raises(
        MissingExtraError, match=r"The test needs no_such_package.*pip install 'prorank-plugins\[rerank\]'"
    ):
        require("no_such_package.part", "rerank", "The test")


def test_an_import_error_inside_a_package_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "broken_package.py").write_text("import another_missing_package")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="another_missing_package") as caught:
        require("broken_package", "rerank", "The test")
    assert not isinstance(caught.value, MissingExtraError)


def test_a_signature_lists_its_parts_and_the_versions():
    text = signature({"measure": "ndcg@10", "seed": 0})
    assert text.startswith("measure:ndcg@10|seed:0|prorank_plugins:")
    assert "numpy:" in text
    assert package_version("no-such-distribution") == "unknown"


class Fusing(Canned):
    """A second stage that takes the first one's scores."""

    def rerank(self, query, documents, k=None, retrieval_scores=None, fusion_weight=0.5):
        self.fused = (list(retrieval_scores), fusion_weight)
        return super().rerank(query, documents, k)


def test_the_pipeline_hands_the_first_stages_scores_on_when_it_fuses():
    first, second = Canned(), Fusing()
    RetrieveThenRerank(first, second, depth=3, fusion_weight=0.25).retrieve("q", 2)
    scores = [hit.score for hit in first.retrieve("q", 3)]
    assert second.fused == (scores, 0.25)


def test_fusing_needs_a_share_and_a_reranker_that_can():
    with pytest.raises(ConfigError, match=r"fusion_weight must be None or in \[0, 1\], found 2"):
        RetrieveThenRerank(Canned(), Fusing(), fusion_weight=2)
    with pytest.raises(ConfigError, match="Canned does not"):
        RetrieveThenRerank(Canned(), Canned(), fusion_weight=0.5)
