"""What is exported: a model folder with its prompt, and the parts of it that every format has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.encoding import Labels, PairEncoder, find_labels
from prorank_plugins.rerank.settings import Settings
from prorank_plugins.rerank.tokens import PieceTokenizer
from prorank_plugins.rerank.weights import model_positions, read_config, read_tensors

_LARGEST_FILE = 4 << 30  # bytes; the most that is held at once
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True)
class Source:
    """A model to be exported.

    Attributes:
        folder: its files.
        settings: its prompt, length and calibration.
        config: its ``config.json``.
        encoder: pairs to rows of ids.
        labels: ids of the answers.
    """

    folder: Path
    settings: Settings
    config: dict[str, Any]
    encoder: PairEncoder
    labels: Labels

    @classmethod
    def read(cls, folder: Path, settings: Settings) -> Source:
        """The model of a folder.

        Raises:
            ModelError: no model folder, or its answers are not single tokens.
        """
        config, tokenizer = read_config(folder), PieceTokenizer.from_folder(folder)
        positions = model_positions(folder, config)
        encoder = PairEncoder(settings.prompt, tokenizer, settings.max_length, positions)
        return cls(folder, settings, config, encoder, find_labels(settings.prompt, tokenizer))

    @property
    def longest_row(self) -> int:
        """Most tokens of a row, the template included."""
        return self.encoder.max_length + self.encoder.template_length

    def tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """(name, tensor) of the weights; quantised ones multiplied out to float32."""
        return read_tensors(self.folder)

    def special_tokens(self) -> dict[str, str]:
        """Texts of the tokens that the tokenizer's files or the configuration name; one for padding always.

        Raises:
            ConfigError: no token to pad with.
        """
        named = _json(self.folder / "special_tokens_map.json") | _json(self.folder / "tokenizer_config.json")
        tokens: dict[str, str] = {}
        for name in _SPECIAL:
            token = named.get(name)
            token = token.get("content") if isinstance(token, dict) else token
            if token is None and isinstance(number := _first(self.config.get(f"{name}_id")), int):
                token = self.encoder.tokenizer.token(number)
            if isinstance(token, str):
                tokens[name] = token
        if "pad_token" not in tokens and "eos_token" in tokens:
            tokens["pad_token"] = tokens["eos_token"]
        if "pad_token" not in tokens:
            raise ConfigError(
                f"{self.folder} names no token to pad with; put a pad_token into its tokenizer_config.json"
            )
        return tokens


def write_weights(tensors: Iterable[tuple[str, torch.Tensor]], folder: Path) -> torch.dtype:
    """Write weights as transformers reads them, in several files if they are large.

    Returns:
        the type of the first matrix.
    """
    save_file = require("safetensors.torch", "train", "An export").save_file
    parts: list[list[str]] = []
    held: dict[str, torch.Tensor] = {}
    size = 0
    dtype: torch.dtype | None = None

    def write_part() -> None:
        save_file(held, folder / f"part-{len(parts)}", {"format": "pt"})
        parts.append(list(held))
        held.clear()

    for name, tensor in tensors:
        n_bytes = tensor.numel() * tensor.element_size()
        if held and size + n_bytes > _LARGEST_FILE:
            write_part()
            size = 0
        if dtype is None and tensor.ndim > 1 and tensor.is_floating_point():
            dtype = tensor.dtype
        held[name] = tensor.contiguous()
        size += n_bytes
    write_part()
    if len(parts) == 1:
        (folder / "part-0").rename(folder / "model.safetensors")
        return dtype or torch.float32
    where: dict[str, str] = {}
    for number, names in enumerate(parts):
        file = f"model-{number + 1:05d}-of-{len(parts):05d}.safetensors"
        (folder / f"part-{number}").rename(folder / file)
        where |= dict.fromkeys(names, file)
    write_json({"metadata": {}, "weight_map": where}, folder / "model.safetensors.index.json")
    return dtype or torch.float32


def write_config(source: Source, folder: Path, dtype: torch.dtype, **changes: Any) -> None:
    """Write ``config.json`` with the type that the weights have."""
    kept = {name: value for name, value in source.config.items() if name not in ("dtype", "torch_dtype")}
    # transformers 5 calls it dtype and reads the older name, too.
    write_json({**kept, "torch_dtype": str(dtype).removeprefix("torch."), **changes}, folder / "config.json")


def write_tokenizer(source: Source, folder: Path, longest: int) -> None:
    """Write a tokenizer that transformers uses as it stands, and that pads on the left.

    Its class is the general one: transformers 5 builds those of model families anew, from less than
    ``tokenizer.json`` says.
    """
    (folder / "tokenizer.json").write_text(source.encoder.tokenizer.definition, "utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, "padding_side": "left",
        "clean_up_tokenization_spaces": False, **source.special_tokens(),
    }  # fmt: skip
    write_json(settings, folder / "tokenizer_config.json")


def write_json(data: Any, file: Path) -> None:
    """Write JSON data for people to read."""
    file.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _json(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # the tokenizer itself is in another file
    return data if isinstance(data, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else value
