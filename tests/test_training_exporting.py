"""Exports: what is written, that it scores the same, and what is refused."""

import json

import numpy as np
import pytest
import torch

from prorank_plugins import ConfigError, ProRankReranker
from prorank_plugins.core.errors import TrainingError
from prorank_plugins.rerank.prompt import BGE_GEMMA, PRORANK, QWEN3_RERANKER, Prompt
from prorank_plugins.rerank.quantised import quantise_folder
from prorank_plugins.rerank.settings import Settings, read_settings
from prorank_plugins.rerank.weights import has_quantised_weights
from prorank_plugins.training import (
    LoraOptions,
    RelevanceExample,
    TrainingConfig,
    WarmupConfig,
    export,
    open_model,
    warm_up,
)
from prorank_plugins.training import export_source as parts
from prorank_plugins.training.chat_template import chat_template
from tests import tiny_models

PAIRS = [
    ("capital of France", "Paris is the capital of France"),
    ("capital of France", "bananas are yellow. They grow in the south!"),
    ("what is a licence", "the licence grants rights to each of the contributors " * 6),
    ("", ""),
]
PEERS = ("mxbai-rerank", "sentence-transformers", "vllm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny_models.qwen(tmp_path_factory.mktemp("models") / "tiny")
    Settings(PRORANK, 200, None, {"stage": "warm-up"}).write(made)
    return made


@pytest.fixture(scope="module")
def int8_folder(folder):
    target = folder.with_name("tiny-int8")
    quantise_folder(folder, target)
    return target


def scores_of(source):
    if not isinstance(source, ProRankReranker):
        source = ProRankReranker.from_pretrained(source, device="cpu", dtype="float32", check=False)
    return source.score_pairs(PAIRS)


def classifier_scores(folder, reranker):
    """Scores of transformers' sequence classifier for the rows that the reranker makes of the pairs."""
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(
        folder, dtype=torch.float32
    ).eval()
    encoder = reranker._encoder
    rows = [
        encoder.row(encoder.head(query, None), encoder.documents([document])[0]) for query, document in PAIRS
    ]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [model.config.pad_token_id] * (longest - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
    with torch.no_grad():
        return model(input_ids=ids, attention_mask=mask).logits[:, 0].numpy()


def rendered(folder, query, document, *system):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "system", "content": text} for text in system]
    messages += [{"role": "query", "content": query}, {"role": "document", "content": document}]
    return tokenizer.apply_chat_template(messages, tokenize=False)


def test_an_export_to_this_package_scores_the_same_and_keeps_prompt_length_and_recipe(folder, tmp_path):
    assert export(folder, tmp_path / "copy") == tmp_path / "copy"
    np.testing.assert_array_equal(scores_of(tmp_path / "copy"), scores_of(folder))
    assert read_settings(tmp_path / "copy") == read_settings(folder)


def test_without_a_target_the_folder_is_put_beside_the_source(folder, tmp_path, monkeypatch):
    source = tiny_models.copy(folder, tmp_path / "mine")
    assert export(source, to="sentence-transformers") == tmp_path / "mine-sentence-transformers"
    monkeypatch.chdir(tmp_path / "mine")
    assert export(".", to="vllm") == tmp_path / "mine-vllm"
    assert {path.name for path in tmp_path.iterdir()} == {
        "mine", "mine-sentence-transformers", "mine-vllm",
    }  # fmt: skip


def test_int8_weights_come_out_as_floats_with_the_same_scores(int8_folder, tmp_path):
    export(int8_folder, tmp_path / "floats")
    assert not has_quantised_weights(tmp_path / "floats")
    assert json.loads((tmp_path / "floats" / "config.json").read_text("utf-8"))["torch_dtype"] == "float32"
    np.testing.assert_array_equal(scores_of(tmp_path / "floats"), scores_of(int8_folder))


def test_int8_storage_is_made_from_floats_and_kept_where_it_is(folder, int8_folder, tmp_path):
    for number, source in enumerate((folder, int8_folder)):
        target = export(source, tmp_path / str(number), int8=True)
        assert has_quantised_weights(target)
        np.testing.assert_array_equal(scores_of(target), scores_of(int8_folder))
        assert read_settings(target) == read_settings(folder)


@pytest.mark.parametrize("to", PEERS)
def test_int8_storage_is_for_this_package_only(folder, to, tmp_path):
    with pytest.raises(ConfigError, match="int8 storage is read by this package only"):
        export(folder, tmp_path / "out", to=to, int8=True)


def test_a_reranker_is_exported_with_its_own_prompt_length_and_calibration(folder, tmp_path):
    prompt = Prompt(prefix="", task="Relevant?", suffix="\n")
    reranker = ProRankReranker.from_pretrained(
        folder, device="cpu", prompt=prompt, max_length=50, check=False
    )
    reranker.calibrate(PAIRS[:3] * 4, [1, 0, 0] * 4)
    export(reranker, tmp_path / "out")
    again = ProRankReranker.from_pretrained(tmp_path / "out", device="cpu", check=False)
    assert (again.prompt, again.max_length) == (prompt, 50)
    assert again.calibration == reranker.calibration
    np.testing.assert_array_equal(scores_of(again), scores_of(reranker))


def test_a_model_in_training_is_exported_as_it_is_now(folder, tmp_path):
    pytest.importorskip("peft")
    config = WarmupConfig(
        steps=3, batch_size=4, device="cpu", learning_rate=1e-2, lora=LoraOptions(rank=2), max_length=64
    )
    model = open_model(folder, config)
    list(warm_up(model, [RelevanceExample(q, d, i % 2) for i, (q, d) in enumerate(PAIRS[:3])], config))
    export(model, tmp_path / "out")
    expected = model.scores([model.rows(query, [document])[0] for query, document in PAIRS])
    np.testing.assert_allclose(scores_of(tmp_path / "out"), expected.detach().numpy(), atol=1e-5)
    assert np.abs(scores_of(tmp_path / "out") - scores_of(folder)).max() > 1e-3
    with pytest.raises(ConfigError, match="give a target folder"):
        export(model)


@pytest.mark.parametrize("family", ["Qwen2", "Qwen3", "Llama", "Mistral", "Phi3", "Gemma", "SmolLM3"])
def test_the_classifier_for_vllm_gives_the_same_scores(family, folder, tmp_path):
    source = tmp_path / family
    if family.startswith("Qwen"):
        tiny_models.qwen(source, seed=2, model_type=family.lower(), tie_word_embeddings=family == "Qwen2")
    else:
        tiny_models.of_transformers(source, family)
    export(source, tmp_path / "out", to="vllm")
    reranker = ProRankReranker.from_pretrained(source, device="cpu", dtype="float32", check=False)
    found = classifier_scores(tmp_path / "out", reranker)
    np.testing.assert_allclose(found, reranker.score_pairs(PAIRS), rtol=0, atol=1e-4)
    config = json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))
    assert config["architectures"] == [family + "ForSequenceClassification"]
    assert len(config["id2label"]) == 1


def test_a_prompt_with_one_answer_becomes_a_classifier_of_its_logit(folder, tmp_path):
    reranker = ProRankReranker.from_pretrained(
        folder, device="cpu", dtype="float32", check=False,
        prompt=Prompt(prefix="", task="Relevant?", suffix="\n", positive="1", negative=None),
    )  # fmt: skip
    export(reranker, tmp_path / "out", to="vllm")
    np.testing.assert_allclose(
        classifier_scores(tmp_path / "out", reranker), reranker.score_pairs(PAIRS), rtol=0, atol=1e-4
    )


def test_the_row_of_a_bfloat16_model_is_not_rounded(folder, tmp_path):
    from safetensors.torch import load_file

    source = tiny_models.copy(folder, tmp_path / "half")
    tiny_models.change(source, lambda weights: weights.update({n: w.bfloat16() for n, w in weights.items()}))
    export(source, tmp_path / "out", to="vllm")
    found, labels = (
        load_file(tmp_path / "out" / "model.safetensors"),
        open_model(source, TrainingConfig()).labels,
    )
    rows = load_file(source / "model.safetensors")["model.embed_tokens.weight"].float()
    assert torch.equal(found["score.weight"][0], rows[labels.positive] - rows[labels.negative])
    assert found["model.norm.weight"].dtype == torch.bfloat16
    assert json.loads((tmp_path / "out" / "config.json").read_text("utf-8"))["torch_dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("family", "reason"), [("Gemma2", "gives scores that differ"), ("Phi", "gives scores that differ")]
)
def test_a_family_whose_logits_are_more_than_a_product_is_refused(family, reason, tmp_path):
    source = tiny_models.of_transformers(tmp_path / family, family)
    with pytest.raises(ConfigError, match=reason):
        export(source, tmp_path / "out", to="vllm")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("to", "reason"),
    [("vllm", "not a linear layer"), ("mxbai-rerank", "count the padding"),
     ("sentence-transformers", "count the padding")],
)  # fmt: skip
def test_a_bert_decoder_is_for_this_package_only(to, reason, tmp_path):
    source = tiny_models.bert(tmp_path / "bert")
    with pytest.raises(ConfigError, match=reason):
        export(source, to=to)
    np.testing.assert_array_equal(scores_of(export(source)), scores_of(source))
    assert {path.name for path in tmp_path.iterdir()} == {"bert", "bert-prorank"}


def test_a_family_without_a_classifier_is_refused(folder, tmp_path, monkeypatch):
    from transformers.models.auto import modeling_auto

    names = dict(modeling_auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    del names["qwen2"]
    monkeypatch.setattr(modeling_auto, "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES", names)
    with pytest.raises(ConfigError, match="no sequence classifier for 'qwen2'"):
        export(folder, tmp_path / "out", to="vllm")


@pytest.mark.parametrize("prompt", [PRORANK, QWEN3_RERANKER, BGE_GEMMA], ids=["prorank", "qwen3", "gemma"])
@pytest.mark.parametrize("system", [(), ("find {it}",)], ids=["plain", "instruction"])
def test_the_template_renders_the_pieces_of_the_prompt_joined(prompt, system, folder, tmp_path):
    pytest.importorskip("jinja2")
    (folder_with := tmp_path / "t").mkdir()
    tiny_models.write_tokenizer(folder_with)
    (folder_with / "chat_template.jinja").write_text(chat_template(prompt), "utf-8")
    query, document = "a 'quoted' {{ query }}\n", 'Größe "{document}" \\n'
    head = prompt.head_text(query, *system or (None,))
    task = prompt.separator + prompt.task if prompt.task else ""
    expected = prompt.prefix + head + prompt.separator + prompt.document_text(document) + task + prompt.suffix
    assert rendered(folder_with, query, document, *system) == expected


@pytest.mark.parametrize("to", ["sentence-transformers", "vllm"])
def test_the_template_comes_with_the_export(folder, to, tmp_path):
    export(folder, tmp_path / "out", to=to)
    assert rendered(tmp_path / "out", "q", "d").startswith("<|im_start|>system\nYou are Qwen")


def test_a_tokenizer_that_joins_pieces_otherwise_is_named_in_the_log(tmp_path, caplog):
    licence = (tiny_models.TOKENIZER.parents[3] / "LICENSE").read_text("utf-8")
    source = tiny_models.of_transformers(
        tmp_path / "llama", "Llama", tokenizer=tiny_models.sentencepiece_style([licence])
    )
    (source / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    prompt = Prompt(prefix="<s>", task="Relevant?", suffix="\n")
    Settings(prompt, 200).write(source)
    export(source, tmp_path / "out", to="sentence-transformers")
    assert "sees other tokens in the joined prompt" in caplog.text
    tokenizer_config = json.loads((tmp_path / "out" / "tokenizer_config.json").read_text("utf-8"))
    assert tokenizer_config["pad_token"] == "</s>"


def test_mxbai_rerank_gets_no_model_with_another_prompt(folder, tmp_path):
    source = tiny_models.copy(folder, tmp_path / "other")
    Settings(Prompt(PRORANK.prefix, PRORANK.suffix, "Relevant?"), 200).write(source)
    with pytest.raises(ConfigError, match=r"has one prompt, and this model's differs in task"):
        export(source, tmp_path / "out", to="mxbai-rerank")


def test_mxbai_rerank_gets_no_model_whose_scaled_positions_it_would_change(folder, tmp_path):
    scaling = {"rope_type": "dynamic", "factor": 2.0}
    source = tiny_models.qwen(tmp_path / "scaled", rope_scaling=scaling)
    Settings(PRORANK, 200).write(source)
    with pytest.raises(ConfigError, match="set max_length to 8192"):
        export(source, tmp_path / "out", to="mxbai-rerank")


def test_an_export_for_mxbai_rerank_still_loads_here_and_cuts_alike(folder, tmp_path):
    export(folder, tmp_path / "out", to="mxbai-rerank")
    np.testing.assert_array_equal(scores_of(tmp_path / "out"), scores_of(folder))


def test_large_weights_are_split_into_files(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "_LARGEST_FILE", 100_000)
    export(folder, tmp_path / "out")
    files = sorted(path.name for path in (tmp_path / "out").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    np.testing.assert_array_equal(scores_of(tmp_path / "out"), scores_of(folder))
    export(tmp_path / "out", tmp_path / "classifier", to="vllm")  # transformers reads the parts, too


def test_wrong_arguments_say_what_is_expected(folder, tmp_path):
    with pytest.raises(
        ConfigError, match="expected one of prorank, mxbai-rerank, sentence-transformers, vllm"
    ):
        export(folder, tmp_path / "out", to="onnx")
    with pytest.raises(ConfigError, match="the source must be a folder"):
        export(7, tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    with pytest.raises(ConfigError, match="full is there already"):
        export(folder, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    assert export(folder, tmp_path / "empty") == tmp_path / "empty"


def test_a_model_without_a_token_to_pad_with_is_refused(folder, tmp_path):
    source = tiny_models.qwen(tmp_path / "bare", eos_token_id=None, pad_token_id=None)
    (source / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="names no token to pad with"):
        export(source, tmp_path / "out", to="vllm")


@pytest.mark.parametrize("to", ["prorank", *PEERS])
def test_an_export_that_fails_leaves_nothing_behind(folder, to, tmp_path, monkeypatch):
    import safetensors.torch

    def fail(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.torch, "save_file", fail)
    with pytest.raises(TrainingError, match="No space left"):
        export(folder, tmp_path / "out", to=to)
    assert not list(tmp_path.iterdir())
