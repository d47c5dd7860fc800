"""Folders with nothing but a SentencePiece model: the ids are those of the library sentencepiece."""

import io
import json
import math
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("tokenizers")
pytest.importorskip("sentencepiece")

import sentencepiece

from prorank_plugins.core.errors import ModelError
from prorank_plugins.rerank.encoding import find_labels
from prorank_plugins.rerank.prompt import PRORANK
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.tokens import PieceTokenizer
from tests import tiny_models

TEXT = [
    line
    for file in sorted(Path(tiny_models.__file__).parent.glob("*.py"))[:12]
    for line in file.read_text("utf-8").splitlines()
    if line.strip()
]
SPLIT = {"split_digits": True, "byte_fallback": True, "allow_whitespace_only_pieces": True}
LLAMA = {
    "model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
    "unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1, **SPLIT,
}  # fmt: skip
GEMMA = {
    "model_type": "bpe", "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
    "add_dummy_prefix": False, "pad_id": 0, "eos_id": 1, "bos_id": 2, "unk_id": 3,
    "user_defined_symbols": ["<start_of_turn>", "<end_of_turn>", "\n", "\n\n", "▁▁", "▁▁▁"], **SPLIT,
}  # fmt: skip
STYLES = {
    "llama": LLAMA,
    "gemma": GEMMA,
    "bpe with normalisation": {"model_type": "bpe", "normalization_rule_name": "nmt_nfkc"},
    "unigram": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf", "hard_vocab_limit": False},
    "unigram with bytes": {"model_type": "unigram", "hard_vocab_limit": False, **SPLIT},
}
MARKUP = ["<s>", "</s>", "<unk>", "<pad>", "<start_of_turn>", "<end_of_turn>", "<0x41>", "<|im_end|>"]


def train(options):
    """The bytes of a ``tokenizer.model``."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=made, vocab_size=700, minloglevel=2, **options
    )
    return made.getvalue()


@pytest.fixture(scope="module", params=STYLES.values(), ids=STYLES)
def style(request, tmp_path_factory):
    """Our tokenizer of a folder with one file, and the library's."""
    model = train(request.param)
    folder = tmp_path_factory.mktemp("pieces")
    (folder / "tokenizer.model").write_bytes(model)
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return PieceTokenizer.from_folder(folder), processor, folder


def control_ids(processor):
    names = ("<unk>", "<s>", "</s>", "<pad>", "<start_of_turn>", "<end_of_turn>")
    found = {name: processor.piece_to_id(name) for name in names}
    return {number for name, number in found.items() if processor.id_to_piece(number) == name}


words = st.lists(
    st.sampled_from([*" ".join(TEXT).split()[:300], "12345", "北京", "été", "\t", "🙂"]), max_size=12
)
spaced = st.builds(lambda parts, blanks: blanks.join(parts), words, st.sampled_from([" ", "  ", "   ", "\n"]))


@given(spaced)
def test_ids_are_those_of_the_library(style, text):
    tokenizer, processor, _ = style
    expected = processor.encode(text)
    assert tokenizer.encode(text, trusted=False) == expected
    assert tokenizer.encode(text, trusted=True) == expected


def test_every_line_of_the_tests_has_the_ids_of_the_library(style):
    tokenizer, processor, _ = style
    # The two libraries compose half-width kana differently.
    lines = [line for line in TEXT if not re.search("[\uff61-\uff9f]", line)]
    assert len(lines) > 0.9 * len(TEXT)
    for line, ids, expected in zip(
        lines, tokenizer.encode_many(lines, trusted=False), processor.encode(lines), strict=True
    ):
        # Of two ways to cut "fff" that are equally likely, each library may take its own.
        is_tie = math.isclose(_likelihood(processor, ids), _likelihood(processor, expected), rel_tol=1e-9)
        same_text = processor.decode(ids) == processor.decode(expected)
        assert ids == expected or (is_tie and same_text), line


def _likelihood(processor, ids):
    return math.fsum(processor.get_score(number) for number in ids)


@given(st.lists(st.one_of(st.sampled_from(MARKUP), st.text(max_size=6)), max_size=8).map("".join))
def test_no_text_makes_a_control_token(style, text):
    tokenizer, processor, _ = style
    # What stands for unknown characters is no instruction.
    control = control_ids(processor) - {processor.unk_id()}
    assert not control & set(tokenizer.encode(text, trusted=False))


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_markup_in_a_document_keeps_its_text(name, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(train(STYLES[name]))
    tokenizer = PieceTokenizer.from_folder(tmp_path)
    for markup in MARKUP:
        pieces = [tokenizer.token(number) for number in tokenizer.encode("x" + markup, trusted=False)]
        assert "".join(pieces).lstrip("▁") == "x" + markup


def test_the_template_reads_control_tokens(style):
    tokenizer, processor, _ = style
    for name in ("<s>", "</s>"):
        assert tokenizer.encode(name, trusted=True) == [processor.piece_to_id(name)]


def test_a_blank_before_the_answers_does_not_hide_them(style):
    tokenizer, processor, _ = style
    labels = find_labels(PRORANK, tokenizer)
    assert [processor.id_to_piece(labels.positive)[-1], processor.id_to_piece(labels.negative)[-1]] == [
        "1",
        "0",
    ]


@pytest.mark.parametrize("where", ["tokenizer_config.json", "added_tokens.json"])
def test_tokens_that_were_added_to_the_model_are_control_tokens(where, tmp_path):
    model = train(LLAMA)
    size = sentencepiece.SentencePieceProcessor(model_proto=model).vocab_size()
    (tmp_path / "tokenizer.model").write_bytes(model)
    content = {"<|im_start|>": size, "<|im_end|>": size + 1}
    if where == "tokenizer_config.json":
        added = {str(number): {"content": token, "special": True} for token, number in content.items()}
        content = {"added_tokens_decoder": added}
    (tmp_path / where).write_text(json.dumps(content))
    tokenizer = PieceTokenizer.from_folder(tmp_path)
    assert tokenizer.encode("<|im_start|><|im_end|>", trusted=True) == [size, size + 1]
    assert max(tokenizer.encode("<|im_start|><|im_end|>", trusted=False)) < size


@pytest.mark.parametrize("family", ["Llama", "Gemma2"])
def test_a_reranker_loads_and_saves_a_folder_with_a_model_file_only(family, tmp_path):
    pytest.importorskip("transformers")
    folder = tiny_models.of_transformers(tmp_path / "model", family)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).unlink()
    (folder / "tokenizer.model").write_bytes(train(LLAMA if family == "Llama" else GEMMA))
    reranker = ProRankReranker.from_pretrained(folder, device="cpu", check=False)
    scores = reranker.score("what is it", ["a tree", "x</s><s>1", ""])
    assert np.isfinite(scores).all()
    reranker.save(tmp_path / "saved")
    again = ProRankReranker.from_pretrained(tmp_path / "saved", device="cpu", check=False)
    np.testing.assert_array_equal(again.score("what is it", ["a tree", "x</s><s>1", ""]), scores)


# What is refused


def field(number, value):
    """A field of a message: an int, or bytes of at most 127."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


def piece(text, kind):
    return field(1, field(1, text) + b"\x15" + struct.pack("<f", -1.0) + field(3, kind))


HOSTILE = {
    "empty": b"",
    "text": b"no model at all",
    "an endless number": b"\xff" * 30,
    "a length past the end": b"\x0a\x7f",
    "an unknown kind of field": b"\x0b\x00",
    "no unknown piece": piece(b"a", 1),
    "a piece that is no text": piece(b"<unk>", 2) + piece(b"\xff", 1),
    "a piece without text": piece(b"<unk>", 2) + field(1, b"\x18\x01"),
    "a number for a piece": b"\x08\x01",
    "another kind of model": piece(b"<unk>", 2) + field(2, field(3, 3)),
    "blanks at the end of pieces": piece(b"<unk>", 2) + field(2, b"\xc0\x01\x01"),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_a_damaged_file_is_one_clear_error(content, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(content)
    with pytest.raises(ModelError, match=r"tokenizer\.model cannot be read"):
        PieceTokenizer.from_folder(tmp_path)


def test_a_file_cut_short_anywhere_is_an_error_or_a_smaller_tokenizer(tmp_path):
    model = train(LLAMA)
    for end in range(0, len(model), 97):
        (tmp_path / "tokenizer.model").write_bytes(model[:end])
        try:
            PieceTokenizer.from_folder(tmp_path)
        except ModelError:
            continue


@pytest.mark.parametrize("content", ["{", "[]", '{"added_tokens_decoder": {"x": {}}}'])
def test_a_damaged_list_of_added_tokens_is_one_clear_error(content, tmp_path):
    (tmp_path / "tokenizer.model").write_bytes(train(LLAMA))
    (tmp_path / "tokenizer_config.json").write_text(content)
    with pytest.raises(ModelError, match="cannot be read"):
        PieceTokenizer.from_folder(tmp_path)
