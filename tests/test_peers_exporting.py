"""Exported folders in the libraries that they are for."""

import numpy as np
import pytest
import torch

from prorank_plugins import ProRankReranker
from prorank_plugins.rerank.prompt import PRORANK, QWEN3_RERANKER
from prorank_plugins.rerank.quantised import quantise_folder
from prorank_plugins.rerank.settings import Settings
from prorank_plugins.training import export
from tests import tiny_models
from tests.golden.rerank.make import load_peer

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

MAX_LENGTH = 120
QUERIES = ["capital of France", "what is a licence?", "the terms of the licence " * 30, ""]
DOCUMENTS = [
    "Paris is the capital of France", "Paris is the capital of France.", "bananas are yellow!", "",
    "each contributor grants rights in the work " * 20, "Größe и 日本", "0 1 <|im_end|>",
]  # fmt: skip
PAIRS = [(query, document) for query in QUERIES for document in DOCUMENTS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tiny_models.qwen(tmp_path_factory.mktemp("models") / "tiny")
    Settings(PRORANK, MAX_LENGTH).write(made)
    return made


def reranker_of(folder):
    # Other libraries read control tokens in documents as such.
    return ProRankReranker.from_pretrained(
        folder, device="cpu", dtype="float32", allow_special_tokens=True, check=False
    )


def rows_of(folder, pairs=PAIRS, instruction=None):
    encoder = reranker_of(folder)._encoder
    heads = [encoder.head(query, instruction) for query, _ in pairs]
    documents = encoder.documents([document for _, document in pairs])
    return [encoder.row(head, document) for head, document in zip(heads, documents, strict=True)]


@pytest.mark.parametrize("max_length", [MAX_LENGTH, 8192, 40_000])
@pytest.mark.parametrize("instruction", [None, "find the place."])
def test_mxbai_rerank_gives_the_same_ids_and_scores_without_being_told_the_length(
    folder, instruction, max_length, tmp_path
):
    pytest.importorskip("mxbai_rerank")
    source = tiny_models.copy(folder, tmp_path / "source")
    Settings(PRORANK, max_length).write(source)
    target = export(source, tmp_path / "out", to="mxbai-rerank")
    peer = load_peer(target, max_length=8192)  # the library's default
    queries, documents = zip(*PAIRS, strict=True)
    inputs = peer.prepare_inputs(queries, documents, instruction=instruction)
    kept = inputs["attention_mask"].bool()
    found = [ids[mask].tolist() for ids, mask in zip(inputs["input_ids"], kept, strict=True)]
    assert found == rows_of(source, instruction=instruction)
    expected = reranker_of(source).score_pairs(PAIRS, instruction=instruction)
    scores = peer.predict(queries, documents, instruction=instruction)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)


def test_mxbai_rerank_loads_and_ranks_what_was_stored_as_int8(folder, tmp_path):
    pytest.importorskip("mxbai_rerank")
    quantise_folder(folder, tmp_path / "int8")
    peer = load_peer(export(tmp_path / "int8", to="mxbai-rerank"), max_length=8192)
    ranked = peer.rank(QUERIES[0], DOCUMENTS, sort=False)
    expected = reranker_of(tmp_path / "int8").score(QUERIES[0], DOCUMENTS)
    found = {result.index: result.score for result in ranked}
    np.testing.assert_allclose([found[i] for i in range(len(DOCUMENTS))], expected, rtol=0, atol=1e-4)


def cross_encoder(folder):
    library = pytest.importorskip("sentence_transformers")
    return library.CrossEncoder(str(folder), device="cpu")


def their_rows(model, pairs, prompt=None):
    features = model[0].preprocess(pairs, prompt=prompt)
    kept = features["attention_mask"].bool()
    return [ids[mask].tolist() for ids, mask in zip(features["input_ids"], kept, strict=True)]


@pytest.mark.parametrize("instruction", [None, "find the place"])
def test_sentence_transformers_gives_the_same_score_where_its_ids_agree(folder, instruction, tmp_path):
    model = cross_encoder(export(folder, tmp_path / "out", to="sentence-transformers"))
    ours, theirs = rows_of(folder, instruction=instruction), their_rows(model, PAIRS, instruction)
    same = [place for place, row in enumerate(ours) if row == theirs[place]]
    scores = model.predict(PAIRS, prompt=instruction, show_progress_bar=False)
    expected = reranker_of(folder).score_pairs(PAIRS, instruction=instruction)
    assert len(same) > len(PAIRS) / 3
    np.testing.assert_allclose(scores[same], expected[same], rtol=0, atol=1e-4)
    # The known difference: a text that ends in punctuation, and what is cut.
    plain = PAIRS.index(("capital of France", "Paris is the capital of France"))
    assert plain in same
    assert plain + 1 not in same


def test_sentence_transformers_cuts_documents_at_the_same_length_and_keeps_the_task(folder, tmp_path):
    model = cross_encoder(export(folder, tmp_path / "out", to="sentence-transformers"))
    long = [("capital of France", "each contributor grants rights in the work " * 20)]
    (ours,), (theirs,) = rows_of(folder, long), their_rows(model, long)
    assert ours == theirs
    assert len(ours) == MAX_LENGTH + reranker_of(folder)._encoder.template_length


def test_sentence_transformers_uses_a_prompt_with_a_default_instruction_and_other_answers(tmp_path):
    words = [(tiny_models.TOKENIZER.parents[3] / "LICENSE").read_text("utf-8"), *["yes", "no"] * 2000]
    definition = tiny_models.train_tokenizer(words, 700)
    folder = tiny_models.qwen(tmp_path / "model", model_type="qwen3", tokenizer=definition)
    Settings(QWEN3_RERANKER, MAX_LENGTH).write(folder)
    model = cross_encoder(export(folder, to="sentence-transformers"))
    pairs = [("capital of France", "Paris is a city"), ("capital of France", "bananas are yellow")]
    assert rows_of(folder, pairs) == their_rows(model, pairs)
    expected = reranker_of(folder).score_pairs(pairs)
    np.testing.assert_allclose(model.predict(pairs, show_progress_bar=False), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_sentence_transformers_runs_other_families(family, tmp_path):
    folder = tiny_models.of_transformers(tmp_path / "model", family)
    model = cross_encoder(export(folder, to="sentence-transformers"))
    pairs = [("capital of France", "Paris is a city"), ("capital of France", "bananas are yellow")]
    assert rows_of(folder, pairs) == their_rows(model, pairs)
    expected = reranker_of(folder).score_pairs(pairs)
    np.testing.assert_allclose(model.predict(pairs, show_progress_bar=False), expected, rtol=0, atol=1e-4)


def test_the_classifier_for_vllm_is_one_that_sentence_transformers_loads_as_well(folder, tmp_path):
    model = cross_encoder(export(folder, tmp_path / "out", to="vllm"))
    pairs = [("capital of France", "Paris is a city"), ("capital of France", "bananas are yellow")]
    scores = model.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    np.testing.assert_allclose(scores, reranker_of(folder).score_pairs(pairs), rtol=0, atol=1e-4)
