"""The packed forward pass and the fallback against transformers' own models and their full logits."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank import weights
from prorank_plugins.rerank.batching import plan_batches
from prorank_plugins.rerank.causal_lm import TransformersModel, load_causal_lm
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.rerank.families import find_family
from prorank_plugins.rerank.last_logits import LastLogits
from prorank_plugins.rerank.packed import PackedModel
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.scheduling import RowGroup, Scheduler
from prorank_plugins.rerank.weights import model_positions
from tests import tiny_models

CPU = torch.device("cpu")
LABELS = Labels(positive=16, negative=15)
TOLERANCE = 1e-5
VARIANTS = {
    "tied": (tiny_models.qwen, {}),
    "untied": (tiny_models.qwen, {"tie_word_embeddings": False}),
    "a key head per query head": (tiny_models.qwen, {"num_key_value_heads": 4}),
    "one key head, head_dim given": (tiny_models.qwen, {"num_key_value_heads": 1, "head_dim": 24}),
    "one layer": (tiny_models.qwen, {"num_hidden_layers": 1}),
    "small theta": (tiny_models.qwen, {"rope_theta": 10000.0, "rms_norm_eps": 1e-3}),
    "qwen3": (tiny_models.qwen, {"model_type": "qwen3", "head_dim": 32}),
    "qwen3 untied, with biases": (tiny_models.qwen, {
        "model_type": "qwen3", "attention_bias": True, "tie_word_embeddings": False, "num_key_value_heads": 4,
    }),
    "bert": (tiny_models.bert, {}),
    "bert untied, one layer": (tiny_models.bert, {"tie_word_embeddings": False, "num_hidden_layers": 1}),
    "bert, two heads, wide": (tiny_models.bert, {
        "num_attention_heads": 2, "intermediate_size": 300, "layer_norm_eps": 1e-3, "type_vocab_size": 1,
    }),
}  # fmt: skip
FALLBACK = {
    "Llama": {},
    "Gemma2": {"final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16, "sliding_window": 16},
    "Phi": {"partial_rotary_factor": 0.5},
    "Granite": {"logits_scaling": 4.0, "residual_multiplier": 0.5},
    "Cohere": {"logit_scale": 0.25},
    "Roberta": {"is_decoder": True, "hidden_act": "gelu"},
    "GPT2": {"n_positions": 512},
}
LINEAR = {"Llama", "Gemma2", "Phi", "Granite", "Cohere", "GPT2"}


def random_rows(lengths, seed=0):
    state = np.random.RandomState(seed)
    return [state.randint(0, 700, length).tolist() for length in lengths]


ROWS = random_rows([5, 9, 40, 41, 200, 3, 1, 2, 64, 64])


def full_logits(folder, rows):
    """(n_rows, vocabulary) logits of the last positions, each row alone."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows]).numpy()


def load(folder, dtype="float32", labels=LABELS):
    config = json.loads((folder / "config.json").read_text())
    assert find_family(config) is not None
    return PackedModel(folder, config, labels, CPU, dtype)


@pytest.fixture(scope="module", params=VARIANTS.values(), ids=VARIANTS)
def packed(request, tmp_path_factory):
    """A packed model with the logits that transformers gives for ROWS."""
    make, changes = request.param
    folder = make(tmp_path_factory.mktemp("packed") / "model", **changes)
    return load(folder), full_logits(folder, ROWS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.qwen(tmp_path_factory.mktemp("qwen2") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return load(folder)


# The packed pass


def test_scores_are_those_of_transformers(packed):
    model, logits = packed
    np.testing.assert_allclose(model.score(ROWS), logits[:, 16] - logits[:, 15], rtol=0, atol=TOLERANCE)


def test_a_row_alone_scores_as_in_a_batch(packed):
    model, logits = packed
    alone = np.concatenate([model.score([row]) for row in ROWS])
    np.testing.assert_allclose(alone, logits[:, 16] - logits[:, 15], rtol=0, atol=TOLERANCE)


def test_a_shared_beginning_leaves_scores_as_they_are(packed):
    model, logits = packed
    longest = ROWS[4]
    for cut in (1, 7, 100, 199):
        shared = model.prefill(longest[:cut])
        score = model.score([longest[cut:]], shared)
        np.testing.assert_allclose(score, logits[4:5, 16] - logits[4:5, 15], rtol=0, atol=TOLERANCE)


def test_rows_with_a_shared_beginning_score_as_whole_rows(packed):
    model, _ = packed
    beginning, (first, second, third) = ROWS[2], random_rows([1, 30, 17], seed=1)
    rows = [first, second, third]
    whole = model.score([[*beginning, *row] for row in rows])
    np.testing.assert_allclose(model.score(rows, model.prefill(beginning)), whole, rtol=0, atol=TOLERANCE)


def test_the_answers_mass_is_their_softmax(packed):
    model, logits = packed
    odds = np.exp(logits.astype(np.float64))
    expected = odds[:, [15, 16]].sum(1) / odds.sum(1)
    np.testing.assert_allclose(model.answer_mass(ROWS), expected, rtol=1e-4)


def test_one_answer_is_scored_by_its_own_logit(folder):
    model = load(folder, labels=Labels(16, None))
    np.testing.assert_allclose(model.score(ROWS), full_logits(folder, ROWS)[:, 16], rtol=0, atol=TOLERANCE)


@settings(max_examples=12)
@given(st.permutations(range(len(ROWS))), st.integers(1, 500), st.integers(0, 30))
def test_order_budget_and_sharing_do_not_change_scores(model, order, budget, n_shared):
    beginning = random_rows([n_shared], seed=2)[0]
    rows = [[*beginning, *ROWS[place]] for place in order]
    expected = model.score([[*beginning, *row] for row in ROWS])[list(order)]
    (scores,) = Scheduler(model, budget).score([RowGroup(rows, lambda n: None)])
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2 * TOLERANCE)


@settings(max_examples=12)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 200))
def test_any_plan_of_batches_gives_the_scores_of_single_rows(model, lengths, budget):
    rows = random_rows(lengths, seed=3)
    scores = np.empty(len(rows), np.float32)
    for batch in plan_batches(lengths, budget):
        scores[batch] = model.score([rows[place] for place in batch])
    alone = np.concatenate([model.score([row]) for row in rows])
    np.testing.assert_allclose(scores, alone, rtol=0, atol=2 * TOLERANCE)


def test_a_row_longer_than_the_table_of_positions_scores_as_in_transformers(folder, model):
    rows = random_rows([1500], seed=4)
    logits = full_logits(folder, rows)
    np.testing.assert_allclose(model.score(rows), logits[:, 16] - logits[:, 15], rtol=0, atol=TOLERANCE)


def test_weights_without_the_prefix_model_are_found(folder, tmp_path, model):
    bare = tiny_models.copy(folder, tmp_path / "bare")
    tiny_models.change(bare, lambda weights: [
        weights.__setitem__(name.removeprefix("model."), weights.pop(name)) for name in list(weights)
    ])  # fmt: skip
    np.testing.assert_array_equal(load(bare).score(ROWS), model.score(ROWS))


def test_weights_in_several_files_are_read(folder, tmp_path, model):
    from safetensors.torch import load_file, save_file

    split = tiny_models.copy(folder, tmp_path / "split")
    weights = list(load_file(split / "model.safetensors").items())
    (split / "model.safetensors").unlink()
    save_file(dict(weights[::2]), split / "model-00001-of-00002.safetensors")
    save_file(dict(weights[1::2]), split / "model-00002-of-00002.safetensors")
    np.testing.assert_array_equal(load(split).score(ROWS), model.score(ROWS))


def test_weights_asked_for_one_by_one_are_those_in_the_file(folder, monkeypatch):
    monkeypatch.setattr(weights, "_MAPPED_AT_ONCE", 20_000)  # so that the file is opened several times
    tensors, expected = weights.StoredTensors(folder), dict(weights.read_tensors(folder))
    assert sorted(tensors) == sorted(expected)
    assert len(tensors) == len(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0)


def test_a_weight_that_is_let_go_does_not_keep_its_file_mapped(folder, monkeypatch):
    monkeypatch.setattr(weights, "_MAPPED_AT_ONCE", 0)
    tensors, opened = weights.StoredTensors(folder), []
    monkeypatch.setattr(weights, "_open", lambda file, real=weights._open: opened.append(file) or real(file))
    for name in tensors:
        tensors[name]
    assert len(opened) == len(tensors)


# Number formats


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_agrees_with_float32(folder, model, dtype):
    rows = random_rows(range(10, 60), seed=5)
    exact, found = model.score(rows), load(folder, dtype).score(rows)
    assert found.dtype == np.float32
    assert np.corrcoef(exact, found)[0, 1] > 0.995
    assert np.abs(exact - found).max() < 0.1 * exact.std()


def test_bfloat16_scores_do_not_tie(folder):
    """The last dot product is in float32: scores are not rounded to the 8 bits of bfloat16."""
    scores = load(folder, "bfloat16").score(random_rows([20] * 200, seed=6))
    assert len(set(scores.tolist())) == 200


def test_int8_is_finite_and_agrees_roughly(folder, model):
    rows = random_rows(range(10, 60), seed=5)
    exact, found = model.score(rows), load(folder, "int8").score(rows)
    assert np.isfinite(found).all()
    assert np.corrcoef(exact, found)[0, 1] > 0.95


# Which models run packed


@pytest.mark.parametrize(
    ("change", "packs"),
    [
        ({}, True),
        ({"model_type": "qwen3"}, True),
        ({"rope_scaling": None}, True),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5.0}}, True),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, False),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0}}, False),
        ({"use_sliding_window": True}, False),
        ({"hidden_act": "gelu"}, False),
        ({"model_type": "llama"}, False),
        ({"model_type": "qwen2_moe"}, False),
    ],
)
def test_only_what_is_computed_exactly_runs_packed(change, packs):
    assert (find_family({"model_type": "qwen2", **change}) is not None) is packs


def test_the_rope_parameters_of_transformers_5_are_read(folder, tmp_path, model):
    changed = tiny_models.copy(folder, tmp_path / "rope")
    config = json.loads((changed / "config.json").read_text())
    theta = config.pop("rope_theta")
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": theta}
    (changed / "config.json").write_text(json.dumps(config))
    np.testing.assert_array_equal(load(changed).score(ROWS), model.score(ROWS))


# The fallback


@pytest.fixture(scope="module", params=FALLBACK, ids=FALLBACK)
def other(request, tmp_path_factory):
    """A model of another family with the logits that transformers gives for ROWS."""
    folder = tmp_path_factory.mktemp("other") / request.param
    tiny_models.of_transformers(folder, request.param, **FALLBACK[request.param])
    assert find_family(json.loads((folder / "config.json").read_text())) is None
    return request.param, TransformersModel(folder, LABELS, CPU, "float32"), full_logits(folder, ROWS)


def test_other_families_have_the_scores_of_their_full_logits(other):
    _, model, logits = other
    expected = logits[:, 16] - logits[:, 15]
    np.testing.assert_allclose(model.score(ROWS), expected, rtol=0, atol=TOLERANCE)
    alone = np.concatenate([model.score([row]) for row in ROWS])
    np.testing.assert_allclose(alone, expected, rtol=0, atol=TOLERANCE)


def test_the_short_way_is_taken_where_the_output_embedding_is_all_there_is(other):
    family, model, _ = other
    assert model._logits.is_linear == (family in LINEAR)


def test_the_answers_mass_of_other_families_is_their_softmax(other):
    _, model, logits = other
    odds = np.exp(logits.astype(np.float64))
    np.testing.assert_allclose(model.answer_mass(ROWS), odds[:, [15, 16]].sum(1) / odds.sum(1), rtol=1e-4)


@pytest.mark.parametrize("family", ["Granite", "Roberta"])
def test_half_precision_of_other_families_agrees_with_float32(tmp_path, family):
    folder = tiny_models.of_transformers(tmp_path / family, family, **FALLBACK[family])
    rows = random_rows(range(10, 60), seed=5)
    exact, found = (
        TransformersModel(folder, LABELS, CPU, dtype).score(rows) for dtype in ("float32", "bfloat16")
    )
    assert np.abs(exact - found).mean() < 0.1 * exact.std()


def test_a_head_that_no_attribute_tells_of_is_the_models_own(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    model = load_causal_lm(folder, torch.float32, CPU)
    model.lm_head.register_forward_hook(lambda module, inputs, output: output.pow(3))
    found = LastLogits(model, [16, 15])
    assert not found.is_linear
    expected = full_logits(folder, ROWS) ** 3
    np.testing.assert_allclose(found.of_answers(ROWS), expected[:, [16, 15]], rtol=1e-4, atol=TOLERANCE)
    np.testing.assert_allclose(found.of_vocabulary(ROWS), expected, rtol=1e-4, atol=TOLERANCE)


def test_a_model_without_a_body_of_its_own_is_asked_for_all_its_logits(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    model = load_causal_lm(folder, torch.float32, CPU)
    model.base_model_prefix = ""
    assert model.base_model is model
    logits = full_logits(folder, ROWS)
    np.testing.assert_allclose(
        LastLogits(model, [16, 15]).of_vocabulary(ROWS), logits, rtol=0, atol=TOLERANCE
    )


def test_a_row_may_be_as_long_as_the_positions_that_roberta_has_left(tmp_path):
    folder = tiny_models.of_transformers(
        tmp_path / "roberta", "Roberta", max_position_embeddings=300, **FALLBACK["Roberta"]
    )
    reranker = ProRankReranker.from_pretrained(folder, device="cpu", check=False)
    assert np.isfinite(reranker.score("a question", ["many words " * 500])).all()
    positions = model_positions(folder, json.loads((folder / "config.json").read_text()))
    assert positions == 300 - 3
    model = TransformersModel(folder, LABELS, CPU, "float32")
    ids = [number for number in range(600) if number != 2]
    assert np.isfinite(model.score([ids[:positions]])).all()
    with pytest.raises((IndexError, RuntimeError)):  # one more would have no position
        model.score([ids[: positions + 1]])


def test_a_model_that_cannot_be_asked_is_one_clear_error(tmp_path, monkeypatch):
    folder = tiny_models.of_transformers(tmp_path / "gpt", "GPT2")

    def forward(self, input_ids):
        raise AssertionError("it takes no other arguments")

    monkeypatch.setattr(transformers.GPT2Model, "forward", forward)
    monkeypatch.setattr(transformers.GPT2LMHeadModel, "forward", forward)
    with pytest.raises(ModelError, match="GPT2LMHeadModel in .* cannot be scored"):
        TransformersModel(folder, LABELS, CPU, "float32")


def test_ids_that_the_model_has_not_are_refused(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    model = TransformersModel(folder, LABELS, CPU, "float32")
    with pytest.raises(ModelError, match="the two are not of the same model"):
        model.score([[1, 99_999]])
    with pytest.raises(ModelError, match="they are of two models"):
        TransformersModel(folder, Labels(99_999, 15), CPU, "float32")


@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize("letter", "qkv")
def test_a_layer_that_lacks_one_of_its_biases_is_refused(tmp_path, layer, letter):
    folder = tiny_models.qwen(tmp_path / "lacking")
    n_layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    name = f"model.layers.{layer % n_layers}.self_attn.{letter}_proj.bias"
    tiny_models.change(folder, lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=re.escape(name.removeprefix("model."))):
        PackedModel(folder, json.loads((folder / "config.json").read_text()), LABELS, CPU, "float32")


def test_the_fallback_agrees_with_the_packed_pass(folder, model):
    np.testing.assert_allclose(
        TransformersModel(folder, LABELS, CPU, "float32").score(ROWS),
        model.score(ROWS),
        rtol=0,
        atol=TOLERANCE,
    )


def test_int8_is_refused_for_other_families(folder):
    with pytest.raises(ModelError, match="dtype 'int8' is for families with a forward pass of our own"):
        TransformersModel(folder, LABELS, CPU, "int8")


def test_weights_that_another_family_lacks_are_not_made_up(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    tiny_models.change(folder, lambda weights: weights.pop("model.norm.weight"))
    with pytest.raises(ModelError, match=r"lack model\.norm\.weight"):
        TransformersModel(folder, LABELS, CPU, "float32")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_causal_model_is_loaded_in_the_format_asked_for_and_ready_to_score(tmp_path, dtype):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    model = load_causal_lm(folder, dtype, CPU)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    assert not model.training


@pytest.mark.parametrize("is_decoder", [False, None])
def test_an_encoder_is_not_loaded_as_a_causal_model(tmp_path, is_decoder):
    changes = {} if is_decoder is None else {"is_decoder": is_decoder}
    folder = tiny_models.bert(tmp_path / "encoder", **changes)
    if is_decoder is None:
        config = json.loads((folder / "config.json").read_text())
        del config["is_decoder"]
        (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"is an encoder \(bert\)"):
        TransformersModel(folder, LABELS, CPU, "float32")


def test_a_bert_decoder_is_loaded_as_a_causal_model(tmp_path):
    folder = tiny_models.bert(tmp_path / "decoder")
    load_causal_lm(folder, torch.float32, CPU)


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    tiny_models.change(folder, lambda weights: weights.update({"model.norm.weight": torch.ones(7)}))
    with pytest.raises(ModelError, match="transformers cannot load"):
        load_causal_lm(folder, torch.float32, CPU)


def test_code_that_comes_with_a_model_is_not_run(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "foreign", "Llama")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(ModelError, match="transformers cannot load"):
        load_causal_lm(folder, torch.float32, CPU)


def test_damaged_weights_of_another_family_are_refused(tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "llama", "Llama")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match="model.safetensors cannot be read"):
        TransformersModel(folder, LABELS, CPU, "float32")
