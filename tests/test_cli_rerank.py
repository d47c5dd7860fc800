"""``prorank rerank`` and the demo with a model."""

import gzip
import json

import pytest

from prorank_plugins import MissingExtraError, ProRankReranker
from prorank_plugins.cli import demo, main
from tests import tiny_models

RECORDS = [
    {"query_id": "1", "query": "cats", "id": "a", "score": 3.0, "text": "cats purr", "metadata": {"x": 1}},
    {"query_id": "1", "query": "cats", "id": "b", "score": 2.0, "text": "dogs bark loudly at night"},
    {"query_id": "2", "query": "dogs", "id": "b", "score": 1.0, "text": "dogs bark loudly at night"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def candidates(tmp_path):
    path = tmp_path / "candidates.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return path


def reranked(capsys, *arguments):
    assert main(["rerank", *map(str, arguments)]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_candidates_come_back_ranked_by_the_model_with_their_old_scores(candidates, model, capsys):
    found = reranked(capsys, candidates, "--model", model, "--format", "json")
    expected = ProRankReranker.from_pretrained(model).score("cats", [r["text"] for r in RECORDS[:2]])
    assert {hit["id"]: hit["score"] for hit in found if hit["query"] == "cats"} == pytest.approx(
        {"a": expected[0], "b": expected[1]}, abs=1e-5
    )
    assert [hit["rank"] for hit in found] == [1, 2, 1]
    assert found[0]["score"] >= found[1]["score"]
    assert {hit["id"]: hit["retrieval_score"] for hit in found if hit["query_id"] == "1"} == {
        "a": 3.0,
        "b": 2.0,
    }
    assert next(hit for hit in found if hit["id"] == "a")["metadata"] == {"x": 1}


def test_one_query_can_be_given_for_all_lines_and_results_written_to_a_packed_file(tmp_path, model, capsys):
    source, target = tmp_path / "documents.jsonl", tmp_path / "out.jsonl.gz"
    source.write_text('{"id": "a", "text": "cats"}\n{"text": "dogs"}\n')
    assert (
        reranked(capsys, source, "--query", "pets", "--model", model, "--format", "json", "--output", target)
        == []
    )
    with gzip.open(target, "rt") as lines:
        assert {json.loads(line)["id"] for line in lines} == {"a", "2"}


def test_k_and_threshold_limit_what_comes_back(candidates, model, capsys):
    assert len(reranked(capsys, candidates, "--model", model, "--format", "json", "-k", 1)) == 2
    assert reranked(capsys, candidates, "--model", model, "--format", "json", "--threshold", 1e9) == []


def test_the_table_names_each_query(candidates, model, capsys):
    assert main(["rerank", str(candidates), "--model", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "cats" in shown
    assert "dogs bark" in shown


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{}", 'candidates.jsonl:1: "query" is None'),
        ("nonsense", "not JSON"),
        ('{"query": "q", "text": 1}', '"text" is 1'),
    ],
)
def test_lines_that_are_no_candidates_are_named(tmp_path, model, capsys, line, message):
    path = tmp_path / "candidates.jsonl"
    path.write_text(line + "\n")
    assert main(["rerank", str(path), "--model", str(model)]) == 2
    assert message in capsys.readouterr().err


def test_a_model_that_is_not_there_is_an_error_on_one_line(candidates, tmp_path, capsys):
    assert main(["rerank", str(candidates), "--model", str(tmp_path / "nowhere")]) == 2
    error = capsys.readouterr().err
    assert "there is no model folder" in error
    assert error.count("\n") == 1


def test_the_demo_reranks_with_a_model(model, capsys, monkeypatch):
    monkeypatch.setattr(demo, "_MEASURED_QUESTIONS", 4)
    assert main(["demo", "read a zip file", "-k", "2", "--no-explain", "--model", str(model)]) == 0
    shown = capsys.readouterr().out
    assert "it ranks BMX's best 20 anew, fused with BMX's scores" in shown
    assert "nDCG@10 on 4 of the questions, reranked in" in shown
    assert f"BMX + {model.name} minus BMX, paired: " in shown


def test_the_demo_goes_on_with_bmx_alone_where_torch_is_missing(capsys, monkeypatch):
    def missing(*args, **options):
        raise MissingExtraError("ProRankReranker needs torch. Run: pip install 'prorank-plugins[rerank]'")

    monkeypatch.setattr(ProRankReranker, "from_pretrained", missing)
    assert main(["demo", "read a zip file", "-k", "2", "--no-explain"]) == 0
    shown = capsys.readouterr().out
    assert (
        "BMX answers alone: ProRankReranker needs torch. Run: pip install 'prorank-plugins[rerank]'" in shown
    )
    assert "reranked in" not in shown
