"""Folders with int8 weights: what they hold, what they score, and what is refused."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.rerank.causal_lm import load_causal_lm
from prorank_plugins.rerank.packed import PackedModel
from prorank_plugins.rerank.quantised import FORMAT, MARK, dequantise, quantise, quantise_folder
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.weights import read_tensors
from tests import tiny_models
from tests.test_rerank_model import CPU, LABELS, random_rows

ROWS = random_rows([5, 40, 40, 90], seed=8)
MAKERS = {
    "qwen2": lambda folder: tiny_models.qwen(folder),
    "qwen3": lambda folder: tiny_models.qwen(folder, model_type="qwen3", tie_word_embeddings=False),
    "bert": lambda folder: tiny_models.bert(folder),
}
MATRIX = "model.layers.0.mlp.down_proj.weight"


def load(folder, dtype="float32"):
    return PackedModel(folder, json.loads((folder / "config.json").read_text()), LABELS, CPU, dtype)


def rounded_copy(source, target):
    """The folder with float matrices that hold what int8 and a scale can say, worked out in numpy."""
    copied = tiny_models.copy(source, target)

    def round_all(weights):
        for name, tensor in weights.items():
            if tensor.ndim == 2:
                exact = tensor.numpy()
                scales = np.abs(exact).max(1, keepdims=True) / np.float32(127)
                weights[name] = torch.from_numpy(np.rint(exact / scales) * scales)

    tiny_models.change(copied, round_all)
    return copied


@pytest.fixture(scope="module", params=MAKERS.values(), ids=MAKERS)
def folders(request, tmp_path_factory):
    """A float folder, the quantised one, and a float one with the quantised one's numbers."""
    root = tmp_path_factory.mktemp("quantised")
    source = request.param(root / "float")
    quantise_folder(source, root / "int8")
    return source, root / "int8", rounded_copy(source, root / "rounded")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    root = tmp_path_factory.mktemp("small")
    quantise_folder(tiny_models.qwen(root / "float"), root / "int8")
    return root / "int8"


@given(st.integers(1, 5), st.integers(1, 40), st.floats(1e-20, 1e20), st.integers(0, 99))
def test_no_number_is_off_by_more_than_half_a_step(n_out, n_in, size, seed):
    matrix = torch.from_numpy(np.random.RandomState(seed).standard_normal((n_out, n_in)).astype(np.float32))
    matrix *= size
    codes, scales = quantise(matrix)
    assert codes.dtype == torch.int8
    error = (dequantise(codes, scales) - matrix).abs()
    assert (error <= 0.5001 * scales[:, None]).all()
    torch.testing.assert_close(scales, matrix.abs().amax(1) / 127)


def test_a_row_of_zeros_stays_zero():
    codes, scales = quantise(torch.zeros(2, 3))
    assert (dequantise(codes, scales) == 0).all()


def test_scores_are_those_of_the_rounded_weights_bit_for_bit(folders):
    _, quantised, rounded = folders
    for dtype in ("float32", "bfloat16"):
        np.testing.assert_array_equal(load(quantised, dtype).score(ROWS), load(rounded, dtype).score(ROWS))


def test_scores_are_close_to_those_of_the_exact_weights(folders):
    source, quantised, _ = folders
    rows = random_rows(range(10, 60), seed=5)
    exact, found = load(source).score(rows), load(quantised).score(rows)
    assert 0 < np.abs(exact - found).mean() < 0.1 * exact.std()


def test_transformers_computes_the_same_with_the_quantised_folder(folders):
    _, quantised, rounded = folders
    ids = torch.tensor([ROWS[1]])
    with torch.no_grad():
        found = load_causal_lm(quantised, torch.float32, CPU)(input_ids=ids).logits
        expected = load_causal_lm(rounded, torch.float32, CPU)(input_ids=ids).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_a_quantised_model_can_be_trained_and_saved(small, tmp_path):
    model = load_causal_lm(small, torch.float32, CPU)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(input_ids=torch.tensor([ROWS[0]])).logits[0, -1, 16].backward()
    optimizer.step()
    assert all(not torch.equal(before[name], now) for name, now in model.named_parameters() if now.ndim == 2)
    model.save_pretrained(tmp_path / "trained", safe_serialization=True)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "trained")
    torch.testing.assert_close(again.get_input_embeddings().weight, model.get_input_embeddings().weight)


def test_the_file_is_about_a_quarter_as_large(tmp_path):
    folder = tiny_models.qwen(tmp_path / "float", hidden_size=256, intermediate_size=512)
    quantise_folder(folder, tmp_path / "int8")
    sizes = [(place / "model.safetensors").stat().st_size for place in (tmp_path / "int8", folder)]
    assert sizes[0] < 0.27 * sizes[1]


def test_only_matrices_are_quantised_and_the_file_says_so(small):
    with safe_open(small / "model.safetensors", "pt") as file:
        assert file.metadata()[MARK] == FORMAT
        names = set(file.keys())
    assert {MATRIX + ".int8", MATRIX + ".scale", "model.norm.weight"} <= names
    assert MATRIX not in names


def test_the_other_files_come_along_without_an_index_that_no_longer_holds(tmp_path):
    folder = tiny_models.qwen(tmp_path / "float")
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "README.md").write_text("a model")
    quantise_folder(folder, tmp_path / "int8")
    expected = {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "README.md"}
    assert {file.name for file in (tmp_path / "int8").iterdir()} == expected


def test_a_reranker_of_a_quantised_folder_can_be_saved_and_loaded(small, tmp_path):
    reranker = ProRankReranker.from_pretrained(small, device="cpu", check=False)
    reranker.save(tmp_path / "saved")
    again = ProRankReranker.from_pretrained(tmp_path / "saved", device="cpu", check=False)
    np.testing.assert_array_equal(again.score("q", ["a", "b"]), reranker.score("q", ["a", "b"]))


def test_several_files_are_quantised_one_by_one(folders, tmp_path):
    source, quantised, _ = folders
    split = tiny_models.copy(source, tmp_path / "split")
    weights = list(load_file(split / "model.safetensors").items())
    (split / "model.safetensors").unlink()
    save_file(dict(weights[::2]), split / "model-00001-of-00002.safetensors")
    save_file(dict(weights[1::2]), split / "model-00002-of-00002.safetensors")
    quantise_folder(split, tmp_path / "int8")
    expected = dict(read_tensors(quantised))
    found = dict(read_tensors(tmp_path / "int8"))
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


# What is refused


def test_a_folder_that_holds_something_is_not_written_over(small, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious").touch()
    with pytest.raises(ConfigError, match="is there already"):
        quantise_folder(small, tmp_path / "full")


def test_a_quantised_folder_is_not_quantised_again(small, tmp_path):
    with pytest.raises(ModelError, match="is quantised already"):
        quantise_folder(small, tmp_path / "twice")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_not_finite_are_not_quantised(tmp_path):
    folder = tiny_models.qwen(tmp_path / "float")
    tiny_models.change(folder, lambda weights: weights[MATRIX].fill_(float("inf")))
    with pytest.raises(ModelError, match="not finite"):
        quantise_folder(folder, tmp_path / "int8")
    assert not (tmp_path / "int8").exists()


def test_a_folder_without_weights_is_not_quantised(tmp_path):
    with pytest.raises(ModelError, match=r"holds no \.safetensors file"):
        quantise_folder(tmp_path, tmp_path / "int8")


def edit(name, change):
    return lambda weights: weights.__setitem__(name, change(weights[name]))


def rename(old, new):
    return lambda weights: weights.__setitem__(new, weights.pop(old))


CODES, SCALES = MATRIX + ".int8", MATRIX + ".scale"
HOSTILE = {
    "scales missing": (lambda weights: weights.pop(SCALES), "does not come with"),
    "codes missing": (lambda weights: weights.pop(CODES), "does not come with"),
    "both kinds": (lambda weights: weights.update({MATRIX: torch.zeros(64, 128)}), "does not come with"),
    "codes of another type": (edit(CODES, lambda codes: codes.int()), "expected int8 in 2"),
    "codes with one dimension": (edit(CODES, lambda codes: codes[0].clone()), "expected int8 in 2"),
    "codes of another shape": (edit(CODES, lambda codes: codes[:, :5].contiguous()), "config.json asks for"),
    "rows missing": (edit(CODES, lambda codes: codes[:5].contiguous()), "one for each row"),
    "scales as a matrix": (edit(SCALES, lambda scales: scales[:, None].contiguous()), "one for each row"),
    "scales of another type": (edit(SCALES, lambda scales: scales.half()), "expected float32"),
    "a scale that is NaN": (edit(SCALES, lambda scales: scales * float("nan")), "is not finite"),
    "a scale that is infinite": (edit(SCALES, lambda scales: scales / 0), "is not finite"),
    "a weight missing": (lambda weights: [weights.pop(CODES), weights.pop(SCALES)], "the weights lack"),
    "another name": (rename("model.norm.weight", "norm2.weight"), "the weights lack"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_file_is_one_clear_error(small, tmp_path, change, message):
    broken = tiny_models.copy(small, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    change(weights)
    save_file(weights, broken / "model.safetensors", {"format": "pt", MARK: FORMAT})
    with pytest.raises(ModelError, match=message):
        load(broken)
    with pytest.raises(ModelError):
        load_causal_lm(broken, torch.float32, CPU)


def test_a_newer_format_asks_for_an_upgrade(small, tmp_path):
    newer = tiny_models.copy(small, tmp_path / "newer")
    save_file(
        load_file(newer / "model.safetensors"),
        newer / "model.safetensors",
        {"format": "pt", MARK: "int3-rows"},
    )
    for load_it in (load, lambda folder: load_causal_lm(folder, torch.float32, CPU)):
        with pytest.raises(ModelError, match="Upgrade prorank-plugins"):
            load_it(newer)


def test_without_the_mark_the_weights_are_not_found(small, tmp_path):
    bare = tiny_models.copy(small, tmp_path / "bare")
    save_file(load_file(bare / "model.safetensors"), bare / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="the weights lack"):
        load(bare)


def test_weights_quantised_by_another_program_are_refused(tmp_path):
    folder = tiny_models.qwen(tmp_path / "other")
    tiny_models.change(folder, edit(MATRIX, lambda matrix: matrix.to(torch.int8)))
    with pytest.raises(ModelError, match="of an unknown quantisation"):
        load(folder)
