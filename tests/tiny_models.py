"""Tiny random language models, the same on every machine: weights from numpy's frozen generator.

`RandomState` is the one whose stream numpy promises to keep. A model folder is made of plain files, so
that the models of Qwen's families do not depend on the release of transformers.
"""

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

TOKENIZER = Path(__file__).parent / "golden" / "rerank" / "tokenizer.json"
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TOKENIZER_CONFIG = {
    "tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
    "additional_special_tokens": ["<|im_start|>", "<|im_end|>"], "model_max_length": 32768,
    "add_prefix_space": False, "split_special_tokens": False, "clean_up_tokenization_spaces": False,
}  # fmt: skip
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], size: int) -> str:
    """A ``tokenizer.json`` made like Qwen2's: NFC, its split, byte-level BPE, control tokens last."""
    from tokenizers import (
        AddedToken,
        Regex,
        Tokenizer,
        decoders,
        models,
        normalizers,
        pre_tokenizers,
        trainers,
    )

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN_SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL_TOKENS])
    return tokenizer.to_str()


def sentencepiece_style(texts: Iterable[str], size: int = 600) -> str:
    """A ``tokenizer.json`` made like Llama 2's: ``▁`` for spaces, bytes as a fallback, no pre-tokenizer."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    control = ["<unk>", "<s>", "</s>"]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False, special_tokens=[*control, *(f"<0x{n:02X}>" for n in range(256))]
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.pre_tokenizer = None
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback()])
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [token for token in data["added_tokens"] if token["content"] in control]
    rebuilt = Tokenizer.from_str(json.dumps(data))
    rebuilt.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in control])
    return rebuilt.to_str()


def vocabulary_size(definition: str) -> int:
    """How many ids a ``tokenizer.json`` has."""
    data = json.loads(definition)
    added = [token["id"] for token in data["added_tokens"]]
    return 1 + max([*data["model"]["vocab"].values(), *added])


def write_tokenizer(folder: Path, definition: str | None = None) -> int:
    """Put a tokenizer (the committed one) into a model folder; its number of ids."""
    folder.mkdir(parents=True, exist_ok=True)
    if definition is None:
        definition = TOKENIZER.read_text("utf-8")
    (folder / "tokenizer.json").write_text(definition, "utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG), "utf-8")
    return vocabulary_size(definition)


def _shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors of a Qwen2 or Qwen3 model."""
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    heads, kv_heads, size = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    qwen2 = config["model_type"] == "qwen2"
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    if not config["tie_word_embeddings"]:
        yield "lm_head.weight", (config["vocab_size"], hidden)
    for number in range(config["num_hidden_layers"]):
        layer = f"model.layers.{number}."
        yield layer + "input_layernorm.weight", (hidden,)
        yield layer + "post_attention_layernorm.weight", (hidden,)
        for name, n_out in (("q", heads * size), ("k", kv_heads * size), ("v", kv_heads * size)):
            yield f"{layer}self_attn.{name}_proj.weight", (n_out, hidden)
            if qwen2 or config.get("attention_bias"):
                yield f"{layer}self_attn.{name}_proj.bias", (n_out,)
        yield layer + "self_attn.o_proj.weight", (hidden, heads * size)
        if config.get("attention_bias"):
            yield layer + "self_attn.o_proj.bias", (hidden,)
        if not qwen2:
            yield layer + "self_attn.q_norm.weight", (size,)
            yield layer + "self_attn.k_norm.weight", (size,)
        yield layer + "mlp.gate_proj.weight", (wide, hidden)
        yield layer + "mlp.up_proj.weight", (wide, hidden)
        yield layer + "mlp.down_proj.weight", (hidden, wide)


def random_weights(shapes: Iterable[tuple[str, tuple[int, ...]]], seed: int) -> dict[str, torch.Tensor]:
    """Matrices of about unit gain, norms about one, small biases: scores that vary by a few units."""
    state = np.random.RandomState(seed)
    weights = {}
    for name, shape in sorted(shapes):
        values = state.standard_normal(shape).astype(np.float32)
        if len(shape) == 1:
            values = values * 0.1 + (1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0)
        else:
            values *= 0.25 if "embed" in name or "lm_head" in name else shape[1] ** -0.5
        weights[name] = torch.from_numpy(values)
    return weights


def qwen(folder: Path, seed: int = 0, tokenizer: str | None = None, **changes: Any) -> Path:
    """Write a Qwen2 model folder (Qwen3 by ``model_type="qwen3"``) with a tokenizer; the folder."""
    n_tokens = write_tokenizer(folder, tokenizer)
    config: dict[str, Any] = {
        "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": n_tokens,
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1000000.0, "hidden_act": "silu",
        "tie_word_embeddings": True, "use_sliding_window": False, "attention_dropout": 0.0,
        "bos_token_id": None, "eos_token_id": n_tokens - 1, "pad_token_id": n_tokens - 3,
        "torch_dtype": "float32",
    }  # fmt: skip
    config |= changes
    if config["model_type"] == "qwen3":
        config["architectures"] = ["Qwen3ForCausalLM"]
    config.setdefault("head_dim", config["hidden_size"] // config["num_attention_heads"])
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    save_file(random_weights(_shapes(config), seed), folder / "model.safetensors", {"format": "pt"})
    return folder


def _bert_shapes(config: dict[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors that ``BertLMHeadModel.save_pretrained`` writes."""
    hidden, wide, n_tokens = config["hidden_size"], config["intermediate_size"], config["vocab_size"]

    def dense(name: str, n_out: int, n_in: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield name + ".weight", (n_out, n_in)
        yield name + ".bias", (n_out,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield name + ".LayerNorm.weight", (hidden,)
        yield name + ".LayerNorm.bias", (hidden,)

    yield "bert.embeddings.word_embeddings.weight", (n_tokens, hidden)
    yield "bert.embeddings.position_embeddings.weight", (config["max_position_embeddings"], hidden)
    yield "bert.embeddings.token_type_embeddings.weight", (config["type_vocab_size"], hidden)
    yield from norm("bert.embeddings")
    for number in range(config["num_hidden_layers"]):
        layer = f"bert.encoder.layer.{number}."
        for part in ("query", "key", "value"):
            yield from dense(f"{layer}attention.self.{part}", hidden, hidden)
        yield from dense(layer + "attention.output.dense", hidden, hidden)
        yield from norm(layer + "attention.output")
        yield from dense(layer + "intermediate.dense", wide, hidden)
        yield from dense(layer + "output.dense", hidden, wide)
        yield from norm(layer + "output")
    yield from dense("cls.predictions.transform.dense", hidden, hidden)
    yield from norm("cls.predictions.transform")
    yield "cls.predictions.bias", (n_tokens,)
    if not config["tie_word_embeddings"]:
        yield from dense("cls.predictions.decoder", n_tokens, hidden)


def bert(folder: Path, seed: int = 0, tokenizer: str | None = None, **changes: Any) -> Path:
    """Write a folder of a BERT model that is a causal decoder; the folder."""
    n_tokens = write_tokenizer(folder, tokenizer)
    config: dict[str, Any] = {
        "model_type": "bert", "architectures": ["BertLMHeadModel"], "is_decoder": True,
        "vocab_size": n_tokens, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "max_position_embeddings": 512,
        "type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "tie_word_embeddings": True,
        "pad_token_id": n_tokens - 3, "torch_dtype": "float32",
    }  # fmt: skip
    config |= changes
    (folder / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
    weights = random_weights(_bert_shapes(config), seed)
    if not config["tie_word_embeddings"]:
        weights["cls.predictions.decoder.bias"] = weights["cls.predictions.bias"].clone()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def of_transformers(
    folder: Path, family: str, seed: int = 0, tokenizer: str | None = None, **changes: Any
) -> Path:
    """Write a model folder of a family that only transformers runs: ``"Llama"``, ``"Gemma2"``, ``"Phi"``."""
    import transformers

    n_tokens = write_tokenizer(folder, tokenizer)
    small: dict[str, Any] = {
        "vocab_size": n_tokens, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 4096,
        "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
    }  # fmt: skip
    if family == "Phi":
        del small["head_dim"]
    config = getattr(transformers, family + "Config")(**(small | changes))
    model = transformers.AutoModelForCausalLM.from_config(config)
    fill(model, seed)
    model.save_pretrained(folder, safe_serialization=True)
    return folder


def fill(model: torch.nn.Module, seed: int) -> None:
    """Random weights in place of those a model was made with."""
    parameters = dict(model.named_parameters())
    weights = random_weights(((name, tuple(p.shape)) for name, p in parameters.items()), seed)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], None]) -> None:
    """Edit the weights of a model folder."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    weights = {name: tensor.clone() for name, tensor in load_file(file).items()}
    edit(weights)
    save_file(weights, file, {"format": "pt"})


def copy(source: Path, target: Path) -> Path:
    """A copy of a model folder, to be damaged."""
    return Path(shutil.copytree(source, target))
