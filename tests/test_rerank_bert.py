"""BERT as a causal decoder; what holds for every family of our own is in `test_rerank_model`."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors import safe_open

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.families import find_family
from prorank_plugins.rerank.packed import PackedModel
from prorank_plugins.rerank.reranker import ProRankReranker
from tests import tiny_models
from tests.test_rerank_model import random_rows

CPU = torch.device("cpu")
LABELS = Labels(positive=16, negative=15)
TOLERANCE = 2e-5
ROWS = random_rows([7, 31, 90, 2, 90, 1], seed=7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.bert(tmp_path_factory.mktemp("bert") / "model")


def load(folder, dtype="float32"):
    return PackedModel(folder, json.loads((folder / "config.json").read_text()), LABELS, CPU, dtype)


def configure(folder, target, **changes):
    changed = tiny_models.copy(folder, target)
    config = json.loads((changed / "config.json").read_text()) | changes
    (changed / "config.json").write_text(json.dumps(config))
    return changed


@pytest.fixture(scope="module")
def oracle(folder):
    """(n_rows, vocabulary) logits of the last position that ``BertLMHeadModel`` gives for ROWS."""
    model = transformers.BertLMHeadModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, -1] for row in ROWS]).numpy()


def test_scores_are_those_of_the_lm_head_model(folder, oracle):
    expected = oracle[:, 16] - oracle[:, 15]
    assert expected.std() > 1
    np.testing.assert_allclose(load(folder).score(ROWS), expected, rtol=0, atol=TOLERANCE)


def test_positions_go_on_after_a_shared_beginning(folder, oracle):
    model = load(folder)
    first, second = ROWS[2], ROWS[4]
    for cut in (1, 50, 89):
        shared = model.prefill(first[:cut])
        found = model.score([first[cut:], [*second, *second]], shared)[0]
        assert found == pytest.approx(oracle[2, 16] - oracle[2, 15], abs=TOLERANCE)


def test_the_names_of_tensors_are_those_that_transformers_writes(folder, tmp_path):
    model = transformers.BertLMHeadModel.from_pretrained(folder)
    model.save_pretrained(tmp_path / "saved", safe_serialization=True)
    names = []
    for place in (folder, tmp_path / "saved"):
        with safe_open(place / "model.safetensors", "pt") as file:
            names.append(set(file.keys()))
    assert names[0] == names[1]


def test_the_tied_decoder_may_be_in_the_file(folder, tmp_path):
    written = tiny_models.copy(folder, tmp_path / "written")
    tiny_models.change(written, lambda weights: weights.update({
        "cls.predictions.decoder.weight": weights["bert.embeddings.word_embeddings.weight"].clone(),
        "cls.predictions.decoder.bias": weights["cls.predictions.bias"].clone(),
    }))  # fmt: skip
    np.testing.assert_array_equal(load(written).score(ROWS), load(folder).score(ROWS))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_agrees_with_float32(folder, dtype):
    rows = random_rows(range(10, 60), seed=5)
    exact, found = load(folder).score(rows), load(folder, dtype).score(rows)
    assert found.dtype == np.float32
    assert np.abs(exact - found).max() < 0.1 * exact.std()
    assert len(set(found.tolist())) == len(rows)


def test_int8_is_finite_and_agrees_roughly(folder):
    rows = random_rows(range(10, 60), seed=5)
    exact, found = load(folder).score(rows), load(folder, "int8").score(rows)
    assert np.isfinite(found).all()
    assert np.corrcoef(exact, found)[0, 1] > 0.95


def test_a_reranker_loads_and_cuts_to_the_positions_there_are(folder):
    reranker = ProRankReranker.from_pretrained(folder, device="cpu", check=False)
    scores = reranker.score("how long is it", ["short", "a long text " * 500])
    assert np.isfinite(scores).all()


def test_more_tokens_than_positions_are_refused(folder):
    with pytest.raises(ModelError, match="a row has 513 tokens, the model 512 positions"):
        load(folder).score(random_rows([513]))


@pytest.mark.parametrize(
    "change",
    [
        {"is_decoder": False},
        {"is_decoder": None},
        {"hidden_act": "gelu_new"},
        {"add_cross_attention": True},
        {"position_embedding_type": "relative_key"},
    ],
)
def test_an_encoder_and_other_variants_are_not_run_as_this_decoder(change):
    config = {"model_type": "bert", "is_decoder": True}
    assert find_family(config) is not None
    assert find_family(config | change) is None


def test_without_is_decoder_a_bert_is_an_encoder():
    assert find_family({"model_type": "bert"}) is None


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cls.predictions.bias", r"lack cls\.predictions\.bias"),
        ("bert.encoder.layer.1.output.dense.bias", r"lack encoder\.layer\.1\.output\.dense\.bias"),
        ("bert.embeddings.token_type_embeddings.weight", r"lack embeddings\.token_type"),
    ],
)
def test_a_missing_weight_is_named(folder, tmp_path, name, message):
    broken = tiny_models.copy(folder, tmp_path / "broken")
    tiny_models.change(broken, lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=message):
        load(broken)


@pytest.mark.parametrize("name", ["max_position_embeddings", "hidden_size", "intermediate_size"])
def test_sizes_that_do_not_fit_the_weights_are_refused(folder, tmp_path, name):
    with pytest.raises(ModelError, match="config.json asks for"):
        load(configure(folder, tmp_path / "broken", **{name: 32}))


@pytest.mark.parametrize("heads", [0, 5, "four"])
def test_heads_that_do_not_divide_the_states_are_refused(folder, tmp_path, heads):
    with pytest.raises(ModelError, match="lacks a size or holds a wrong one"):
        load(configure(folder, tmp_path / "broken", num_attention_heads=heads))


def test_a_bias_that_is_not_finite_is_refused(folder, tmp_path):
    broken = tiny_models.copy(folder, tmp_path / "broken")
    tiny_models.change(broken, lambda weights: weights["cls.predictions.bias"].fill_(float("nan")))
    with pytest.raises(ModelError, match="not finite"):
        load(broken)
