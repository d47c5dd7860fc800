"""Model folders of the real shapes with random weights: speed does not depend on what the weights are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.prompt import PRORANK

_PURPOSE = "prorank bench rerank"
_TRAINED_VOCABULARY = 16_384
# How Qwen2 splits text before merging.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


@dataclass(frozen=True)
class Shape:
    """Sizes of a Qwen2 model with tied embeddings.

    Attributes:
        hidden: width of the residual stream.
        layers: number of layers.
        heads: attention heads.
        kv_heads: heads of keys and values.
        intermediate: width of the MLP.
        vocabulary: rows of the embedding.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int

    def config(self) -> dict[str, Any]:
        """``config.json`` of the model."""
        return {
            "architectures": ["Qwen2ForCausalLM"],
            "model_type": "qwen2",
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.intermediate,
            "vocab_size": self.vocabulary,
            "tie_word_embeddings": True,
            "max_position_embeddings": 32_768,
            "rope_theta": 1_000_000.0,
            "rms_norm_eps": 1e-6,
            "use_sliding_window": False,
            "hidden_act": "silu",
            "torch_dtype": "float16",
        }

    def tensors(self) -> Iterator[tuple[str, tuple[int, ...], float, float]]:
        """(name, shape, mean, standard deviation) of every weight.

        Embedding, queries and keys are wider than where training starts (0.02), so that attention is far from
        uniform and scores spread: otherwise engines would agree that hardly look at their input.
        """
        keys = self.kv_heads * (self.hidden // self.heads)
        yield "model.embed_tokens.weight", (self.vocabulary, self.hidden), 0.0, 0.04
        for number in range(self.layers):
            layer = f"model.layers.{number}"
            for name, width, deviation in (("q", self.hidden, 0.04), ("k", keys, 0.04), ("v", keys, 0.02)):
                yield f"{layer}.self_attn.{name}_proj.weight", (width, self.hidden), 0.0, deviation
                yield f"{layer}.self_attn.{name}_proj.bias", (width,), 0.0, 0.5
            yield f"{layer}.self_attn.o_proj.weight", (self.hidden, self.hidden), 0.0, 0.02
            yield f"{layer}.mlp.gate_proj.weight", (self.intermediate, self.hidden), 0.0, 0.02
            yield f"{layer}.mlp.up_proj.weight", (self.intermediate, self.hidden), 0.0, 0.02
            yield f"{layer}.mlp.down_proj.weight", (self.hidden, self.intermediate), 0.0, 0.02
            yield f"{layer}.input_layernorm.weight", (self.hidden,), 1.0, 0.0
            yield f"{layer}.post_attention_layernorm.weight", (self.hidden,), 1.0, 0.0
        yield "model.norm.weight", (self.hidden,), 1.0, 0.0


SHAPES = {
    "tiny": Shape(hidden=64, layers=2, heads=4, kv_heads=2, intermediate=128, vocabulary=16_384),
    "small": Shape(hidden=384, layers=6, heads=6, kv_heads=2, intermediate=2084, vocabulary=16_384),
    "0.5b": Shape(hidden=896, layers=24, heads=14, kv_heads=2, intermediate=4864, vocabulary=151_936),
    "1.5b": Shape(hidden=1536, layers=28, heads=12, kv_heads=2, intermediate=8960, vocabulary=151_936),
}
"""mxbai-rerank-base-v2 and -large-v2, and two for quick runs. In ``small`` the vocabulary's product has as
large a share of the arithmetic as in ``0.5b``; ``tiny`` only shows that everything runs."""


def make_model(folder: Path, shape: Shape, tokenizer: Path | None, texts: Sequence[str]) -> None:
    """Write a model folder that every engine loads: float16 weights, as the released models have.

    Args:
        folder: empty.
        shape: sizes.
        tokenizer: folder whose tokenizer to use; None trains one.
        texts: what to train it on.

    Raises:
        ConfigError: the folder holds no ``tokenizer.json``, or one with more tokens than the vocabulary.
        MissingExtraError: torch, tokenizers or safetensors is not installed.
    """
    if tokenizer is None:
        _train_tokenizer(folder, texts, min(shape.vocabulary, _TRAINED_VOCABULARY))
    else:
        _copy_tokenizer(folder, tokenizer, shape.vocabulary)
    (folder / "config.json").write_text(json.dumps(shape.config(), indent=1) + "\n", "utf-8")
    torch = require("torch", "rerank", _PURPOSE)
    save = require("safetensors.torch", "rerank", _PURPOSE).save_file
    chance = torch.Generator().manual_seed(0)
    weights = {
        name: torch.empty(size).normal_(mean, deviation, generator=chance).half()
        for name, size, mean, deviation in shape.tensors()
    }
    save(weights, str(folder / "model.safetensors"), metadata={"format": "pt"})


def _copy_tokenizer(folder: Path, source: Path, vocabulary: int) -> None:
    if not (source / "tokenizer.json").is_file():
        raise ConfigError(f"{source} holds no tokenizer.json; give the folder of a Hugging Face tokenizer")
    tokenizers = require("tokenizers", "rerank", _PURPOSE)
    size = tokenizers.Tokenizer.from_file(str(source / "tokenizer.json")).get_vocab_size()
    if size > vocabulary:
        raise ConfigError(f"the tokenizer of {source} has {size:,} tokens, the model only {vocabulary:,}")
    for file in source.iterdir():
        if "token" in file.name or file.name in {"vocab.json", "merges.txt"}:
            shutil.copyfile(file, folder / file.name)


def _train_tokenizer(folder: Path, texts: Sequence[str], vocabulary: int) -> None:
    """A byte-level BPE with Qwen2's splitting and control tokens."""
    library = require("tokenizers", "rerank", _PURPOSE)
    split, byte_level = library.pre_tokenizers.Split, library.pre_tokenizers.ByteLevel
    tokenizer = library.Tokenizer(library.models.BPE())
    tokenizer.normalizer = library.normalizers.NFC()
    tokenizer.pre_tokenizer = library.pre_tokenizers.Sequence(
        [split(library.Regex(_WORDS), "isolated"), byte_level(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = library.decoders.ByteLevel()
    trainer = library.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=_CONTROL,
        initial_alphabet=byte_level.alphabet(),
        show_progress=False,
    )
    prompt = [PRORANK.prefix, PRORANK.query, PRORANK.document, PRORANK.task]
    tokenizer.train_from_iterator([*texts, *prompt], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "pad_token": "<|endoftext|>",
        "eos_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "model_max_length": 131_072,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings) + "\n", "utf-8")
