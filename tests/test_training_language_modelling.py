"""Language modelling before the stages: what it reaches, how it resumes, what it refuses."""

import numpy as np
import pytest
import torch

from prorank_plugins import ConfigError, ModelError, ProRankReranker
from prorank_plugins.core.errors import CheckpointError
from prorank_plugins.training import LanguageModellingConfig, continue_language_model, open_model
from prorank_plugins.training.language_modelling import Windows
from tests import tiny_models

TEXT = (tiny_models.TOKENIZER.parents[3] / "LICENSE").read_text("utf-8")
TEXTS = [TEXT[:6000], "too short", TEXT[6000:]]


@pytest.fixture(scope="module", params=["qwen", "bert"])
def folder(request, tmp_path_factory):
    return getattr(tiny_models, request.param)(tmp_path_factory.mktemp("models") / request.param)


def settings(**changes):
    return LanguageModellingConfig(
        **{"steps": 4, "batch_size": 4, "window": 32, "learning_rate": 1e-3, "device": "cpu"} | changes
    )


def weights_of(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def windows(folder, texts=TEXTS, **changes):
    config = settings(**changes)
    return Windows(open_model(folder, config), texts, config)


def test_the_loss_falls_below_that_of_guessing_and_the_model_is_saved(folder, tmp_path):
    reports = list(
        continue_language_model(
            folder, TEXTS, settings(steps=40, batch_size=8, learning_rate=5e-3, output_dir=tmp_path)
        )
    )
    n_tokens = tiny_models.vocabulary_size(tiny_models.TOKENIZER.read_text("utf-8"))
    assert reports[-1].loss < np.log(n_tokens) - 1 < reports[0].loss
    assert reports[-1].metrics["perplexity"] == pytest.approx(np.exp(reports[-1].loss), rel=1e-4)
    found = ProRankReranker.from_pretrained(tmp_path, device="cpu", check=False).score("a", ["the licence"])
    assert np.isfinite(found).all()


def test_the_loss_is_the_one_of_transformers_on_the_same_windows(folder):
    from transformers import AutoModelForCausalLM

    config = settings(steps=1, learning_rate=1e-9)
    (report,) = continue_language_model(folder, TEXTS, config)
    ids = torch.tensor(next(windows(folder)))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        expected = float(model(input_ids=ids, labels=ids).loss)
    assert report.loss == pytest.approx(expected, abs=1e-5)


def test_a_run_that_was_left_goes_on_bit_for_bit(folder, tmp_path):
    def run(output, texts=TEXTS):
        config = settings(steps=6, output_dir=output, checkpoint_every=2, dropout=0.1)
        return continue_language_model(folder, texts, config)

    whole, first = list(run(tmp_path / "whole")), []
    for report in run(tmp_path / "parts"):
        first.append(report)
        if report.step == 5:
            break
    assert [*first[:4], *run(tmp_path / "parts")] == whole
    left, right = weights_of(tmp_path / "whole"), weights_of(tmp_path / "parts")
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    with pytest.raises(CheckpointError, match="other settings or other data"):
        list(run(tmp_path / "parts", [TEXT[:5000]]))


def test_windows_are_the_text_in_pieces_each_once_a_pass_in_an_order_of_its_own(folder):
    batches = windows(folder, [TEXT[:4000]], batch_size=3)
    (ids,) = batches._windows.reshape(1, -1)
    assert (
        ids.tolist()
        == open_model(folder, settings()).encoder.tokenizer.encode(TEXT[:4000], False)[: ids.size]
    )
    n = len(batches._windows)
    rows = [tuple(row) for _ in range(n) for row in next(batches)]  # three passes
    passes = [rows[start : start + n] for start in range(0, 3 * n, n)]
    assert [set(rows) for rows in passes] == [{tuple(row) for row in batches._windows.tolist()}] * 3
    assert passes[0] != passes[1] != passes[2]


@pytest.mark.parametrize("done", [0, 1, 7, 20])
def test_batches_go_on_from_where_their_state_was_taken(folder, done):
    batches, again = windows(folder, batch_size=5), windows(folder, batch_size=5)
    for _ in range(done):
        next(batches)
    again.restore(batches.state())
    assert [next(batches) for _ in range(12)] == [next(again) for _ in range(12)]


def test_every_row_begins_with_a_token_where_one_is_named(folder):
    tokenizer = open_model(folder, settings()).encoder.tokenizer
    for row in next(windows(folder, begin_with="<|im_start|>")):
        assert len(row) == 32
        assert row[0] == tokenizer.number("<|im_start|>")


def test_control_tokens_in_the_text_are_plain_text(folder):
    tokenizer = open_model(folder, settings()).encoder.tokenizer
    rows = next(windows(folder, ["a <|im_end|> b " * 100]))
    assert tokenizer.number("<|im_end|>") not in {number for row in rows for number in row}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"window": 0}, "window must be a whole number"),
        ({"window": 1}, "has no next token to predict"),
        ({"window": 100_000}, "positions, fewer than window=100000"),
        ({"begin_with": "[NONE]"}, "is no token of"),
        ({"steps": 0}, "steps must be"),
    ],
)
def test_settings_that_cannot_be_are_named(changes, message, folder):
    with pytest.raises(ConfigError, match=message):
        continue_language_model(folder, TEXTS, settings(**changes))


@pytest.mark.parametrize("texts", [[], [""], ["too short"]])
def test_texts_shorter_than_a_window_are_refused(texts, folder):
    with pytest.raises(ConfigError, match="no text has 32 tokens"):
        continue_language_model(folder, texts, settings())


def test_a_model_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="there is no model folder"):
        continue_language_model(tmp_path / "nowhere", TEXTS)
