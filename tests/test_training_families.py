"""Score learning on families that only transformers runs, on a BERT decoder, and from int8 weights."""

import json
import logging

import numpy as np
import pytest
import torch

from prorank_plugins import ProRankReranker
from prorank_plugins.rerank.quantised import quantise_folder
from prorank_plugins.rerank.weights import has_quantised_weights
from prorank_plugins.training import (
    RankingGroup,
    ScoreLearningConfig,
    WarmupConfig,
    distill,
    learn_scores,
    open_model,
    warm_up,
)
from tests import tiny_models

GROUPS = [
    RankingGroup("fruit", ["apple pear plum", "hammer saw drill", "eagle robin"], [1, 0, 0]),
    RankingGroup("tool", ["hammer drill saw", "apple grape peach", "swan finch"], [1, 0, 0]),
    RankingGroup("bird", ["crow heron swan", "level clamp chisel", "peach lemon"], [1, 0, 0]),
    RankingGroup("metal", ["iron zinc gold", "apple pear grape", "saw file level"], [1, 0, 0]),
]


def make(family, folder):
    if family == "Bert":
        return tiny_models.bert(folder)
    return tiny_models.of_transformers(folder, family)


def settings(kind=ScoreLearningConfig, **changes):
    return kind(**{"steps": 8, "batch_size": 4, "learning_rate": 2e-3, "warmup_ratio": 0.0,
                   "device": "cpu", "max_length": 64} | changes)  # fmt: skip


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Phi", "Bert"])
def test_scores_are_learned_and_are_those_of_inference(family, tmp_path):
    folder = make(family, tmp_path / "model")
    model = open_model(folder, settings())
    pairs = [(group.query, document) for group in GROUPS for document in group.documents]
    rows = [model.rows(query, [document])[0] for query, document in pairs]
    model.network.eval()
    with torch.no_grad():
        before = model.scores(rows).numpy()
    reranker = ProRankReranker.from_pretrained(folder, device="cpu", dtype="float32", check=False)
    np.testing.assert_allclose(before, reranker.score_pairs(pairs), rtol=0, atol=5e-5)
    reports = list(learn_scores(model, GROUPS, settings(output_dir=tmp_path / "out")))
    assert reports[-1].loss < reports[0].loss / 2
    with torch.no_grad():
        after = model.scores(rows).numpy()
    trained = ProRankReranker.from_pretrained(tmp_path / "out", device="cpu", dtype="float32", check=False)
    np.testing.assert_allclose(after, trained.score_pairs(pairs), rtol=0, atol=5e-5)


@pytest.mark.parametrize("family", ["Llama", "Gemma2", "Bert"])
def test_warm_up_runs_with_the_model_before_training_beside_it(family, tmp_path):
    folder = make(family, tmp_path / "model")
    examples = [example for group in GROUPS for example in group.examples()]
    config = settings(WarmupConfig, steps=30, estimator="exact", kl_beta=0.01)
    reports = list(warm_up(folder, examples, config))
    assert reports[0].metrics["kl"] == pytest.approx(0, abs=1e-5)
    assert reports[-1].metrics["kl"] > 0.1
    assert reports[-1].metrics["format_rate"] > max(0.5, reports[0].metrics["format_rate"])


@pytest.mark.parametrize("family", ["Llama", "Bert"])
def test_training_goes_on_from_weights_that_were_stored_as_int8(family, tmp_path):
    folder = make(family, tmp_path / "model")
    quantise_folder(folder, tmp_path / "int8")
    model = open_model(tmp_path / "int8", settings())
    assert {value.dtype for value in model.state().values()} == {torch.float32}
    query, documents = GROUPS[0].query, GROUPS[0].documents
    model.network.eval()
    with torch.no_grad():
        found = model.scores(model.rows(query, documents)).numpy()
    stored = ProRankReranker.from_pretrained(tmp_path / "int8", device="cpu", dtype="float32", check=False)
    np.testing.assert_allclose(found, stored.score(query, documents), rtol=0, atol=5e-5)
    reports = list(learn_scores(model, GROUPS, settings(output_dir=tmp_path / "out")))
    assert reports[-1].loss < reports[0].loss / 2
    assert not has_quantised_weights(tmp_path / "out")
    assert json.loads((tmp_path / "out" / "prorank.json").read_text("utf-8"))["training"]["base"] == str(
        tmp_path / "int8"
    )
    trained = ProRankReranker.from_pretrained(tmp_path / "out", device="cpu", dtype="float32", check=False)
    with torch.no_grad():
        after = model.scores(model.rows(query, documents)).numpy()
    np.testing.assert_allclose(trained.score(query, documents), after, rtol=0, atol=5e-5)


def test_a_small_family_learns_the_scores_of_another(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    teacher = ProRankReranker.from_pretrained(make("Llama", tmp_path / "teacher"), device="cpu", check=False)
    config = settings(loss="mse", steps=20)
    reports = list(distill(make("Bert", tmp_path / "student"), GROUPS, teacher, config))
    assert reports[-1].loss < reports[0].loss / 2
