"""``prorank bench reranking`` and ``ablation`` in small, and what they compute."""

import json

import numpy as np
import pytest

from prorank_plugins.cli import main
from prorank_plugins.cli.bench import ablation_measures
from prorank_plugins.cli.bench.ablation_tables import page
from prorank_plugins.training import RankingGroup, write_groups
from tests import tiny_models

TOPICS = {"cats": "cats purr and sleep", "dogs": "dogs bark at night", "fish": "fish swim in water"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("bench") / "tiny")


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    """Three topics with four documents and two queries each."""
    folder = tmp_path_factory.mktemp("collections") / "toy"
    (folder / "qrels").mkdir(parents=True)
    documents, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for topic, text in TOPICS.items():
        documents += [{"_id": f"{topic}{i}", "title": "", "text": f"{text} {i}"} for i in range(4)]
        queries += [{"_id": f"q-{topic}-{i}", "text": f"{topic} {i} night"} for i in range(2)]
        qrels += [f"q-{topic}-{i}\t{topic}{i}\t1" for i in range(2)]
    for name, records in (("corpus", documents), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, records)), "utf-8")
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels), "utf-8")
    return folder


def test_reranking_is_measured_alone_and_fused(model, collection, tmp_path, capsys):
    arguments = ["--model", str(model), "--queries", "4", "--depth", "5", "--output", str(tmp_path)]
    assert main(["bench", "reranking", str(collection), *arguments]) == 0
    shown = capsys.readouterr().out
    assert "| stdlib-qa | 4 | " in shown
    data = json.loads((tmp_path / f"reranking-{model.name}.json").read_text("utf-8"))
    assert list(data) == ["stdlib-qa", "toy"]
    found = data["toy"]["ndcg@10"]
    assert set(found) == {"bmx", "reranked", "fused"}
    difference = data["toy"]["minus_bmx"]["fused"]["difference"]
    assert difference == pytest.approx(found["fused"] - found["bmx"])
    text = (tmp_path / f"reranking-{model.name}.md").read_text("utf-8")
    assert "| toy | 4 | " in text
    assert "BMX's best 5 documents" in text


def test_the_ablation_trains_every_arm_once_and_reads_what_it_knows(
    model, collection, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(ablation_measures.DevelopmentSet, "SIZES", {"toy": 6})
    groups = [
        RankingGroup(topic, [text, *(other for other in TOPICS.values() if other != text)], [1, 0, 0])
        for topic, text in TOPICS.items()
    ]
    write_groups(tmp_path / "groups.jsonl", groups)
    arguments = [
        "bench", "ablation", "--base", str(model), "--groups", str(tmp_path / "groups.jsonl"),
        "--collections", str(collection.parent), "--seeds", "1", "--pairs", "128", "--warmup-share", "0.5",
        "--dtype", "float32", "--output", str(tmp_path),
    ]  # fmt: skip
    assert main(arguments) == 0
    lines = (tmp_path / "ablation.jsonl").read_text("utf-8").splitlines()
    assert len({json.loads(line)["arm"] for line in lines}) == len(lines) == 8
    first = (tmp_path / "ablation.md").read_text("utf-8")
    assert main(arguments) == 0  # nothing is computed again
    assert (tmp_path / "ablation.jsonl").read_text("utf-8").splitlines() == lines
    assert (tmp_path / "ablation.md").read_text("utf-8") == first
    assert "| exact GRPO warm-up + scores | " in first
    assert (tmp_path / "ablation.png").read_bytes().startswith(b"\x89PNG")
    capsys.readouterr()


def test_states_in_one_direction_have_rank_one_and_spread_states_have_more():
    line = np.outer(np.linspace(1, 2, 50), np.ones(8))
    assert ablation_measures._spread(line)["effective_rank"] == pytest.approx(1.0, abs=1e-6)
    assert ablation_measures._spread(line)["mean_cosine"] == pytest.approx(1.0)
    wide = np.random.default_rng(0).standard_normal((4000, 8))
    assert ablation_measures._spread(wide)["effective_rank"] == pytest.approx(8.0, abs=0.1)
    assert abs(ablation_measures._spread(wide)["mean_cosine"]) < 0.01


def test_the_page_gives_the_mean_and_half_its_interval():
    lines = [
        {"arm": "scores", "seed": seed, "measures": {"toy": {"ndcg@10": value, **dict.fromkeys(
            ("auc", "accuracy", "format_rate", "calibration_error", "effective_rank", "mean_cosine"), 0.5)}}}
        for seed, value in enumerate((0.4, 0.5, 0.6))
    ]  # fmt: skip
    text = page(lines, ["scores"], {"pairs": 64}, "a machine")
    # Student's t of two degrees of freedom is 4.303, the standard error 0.1 / sqrt(3).
    assert "| scores | 0.500 ± 0.248 | 0.500 ± 0.000 |" in text
    assert "pairs 64; 3 seeds. a machine." in text
