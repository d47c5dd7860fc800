"""Model folders a quarter as large: each row of each matrix as int8 with one scale.

::

    x.weight (n_out, n_in) float   →   x.weight.int8 (n_out, n_in),  x.weight.scale (n_out,) float32
    x.weight[i, j] ≈ x.weight.int8[i, j] · x.weight.scale[i]

What is no matrix (norms, biases) stays as it is. Only storage is approximate: the matrices are multiplied out
when they are read, so scores are those of a float model that holds the rounded weights, bit for bit. Other
libraries do not find the weights under these names, instead of computing with the wrong numbers.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import torch

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.core.extras import require

MARK = "prorank_storage"
"""Key in the metadata of a safetensors file."""

FORMAT = "int8-rows-1"
"""What stands there."""

_CODES, _SCALES = ".int8", ".scale"
_COPIED = {".json", ".model", ".txt", ".md"}
_INDEX = ".safetensors.index.json"


class OpenFile(Protocol):
    """An open safetensors file."""

    def metadata(self) -> Mapping[str, str] | None:
        """Its header's text."""
        ...

    def keys(self) -> list[str]:
        """Names of its tensors."""
        ...

    def get_tensor(self, name: str) -> torch.Tensor:
        """One of them."""
        ...


def quantise(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(n_out, n_in) int8 codes and (n_out,) float32 scales: the largest of a row becomes 127."""
    exact = matrix.to(torch.float32)
    largest = exact.abs().amax(1)
    scales = torch.where(largest > 0, largest / 127.0, torch.ones(()))
    codes = (exact / scales[:, None]).round().clamp(-127, 127).to(torch.int8)
    return codes, scales


def dequantise(codes: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """(n_out, n_in) float32 matrix of codes and scales."""
    return codes.to(torch.float32).mul_(scales[:, None])


def quantise_folder(source: Path, target: Path) -> None:
    """Write a model folder again, a quarter as large.

    Args:
        source: a model folder with float weights.
        target: a new or empty folder; it appears as a whole or not at all.

    Raises:
        ConfigError: ``target`` is there already and not empty.
        ModelError: ``source`` cannot be read, is quantised already, or a weight is not finite.
    """
    save_file = require("safetensors.torch", "rerank", "A quantised model").save_file
    files = sorted(source.glob("*.safetensors"))
    if not files:
        raise ModelError(f"{source} holds no .safetensors file; give a model folder")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(f"{target} is there already; give a new or empty folder")
    unfinished = target.with_name(f".{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        for file in files:
            save_file(_quantised(file), unfinished / file.name, {"format": "pt", MARK: FORMAT})
        for file in source.iterdir():
            if file.suffix in _COPIED and not file.name.endswith(_INDEX):
                shutil.copyfile(file, unfinished / file.name)
        if target.exists():
            target.rmdir()
        unfinished.rename(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _quantised(file: Path) -> dict[str, torch.Tensor]:
    safetensors = require("safetensors", "rerank", "A quantised model")
    tensors: dict[str, torch.Tensor] = {}
    try:
        with safetensors.safe_open(str(file), framework="pt") as opened:
            if MARK in (opened.metadata() or {}):
                raise ModelError(f"{file} is quantised already; give the folder with the float weights")
            for name in opened.keys():  # noqa: SIM118 - not a mapping
                tensor = opened.get_tensor(name)
                if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                    raise ModelError(f"{name} in {file} is not finite; download or export the model again")
                if tensor.ndim == 2 and tensor.is_floating_point():
                    tensors[name + _CODES], tensors[name + _SCALES] = quantise(tensor)
                else:
                    tensors[name] = tensor
    except (OSError, safetensors.SafetensorError) as error:
        raise ModelError(f"{file} cannot be read ({error}); download or export the model again") from error
    return tensors


def is_quantised(opened: OpenFile, where: Path) -> bool:
    """Whether an open file is one that `quantise_folder` wrote.

    Raises:
        ModelError: it is of a newer release.
    """
    found = (opened.metadata() or {}).get(MARK)
    if found is not None and found != FORMAT:
        raise ModelError(
            f"{where} has {MARK} {found!r}; this release reads {FORMAT!r}. Upgrade prorank-plugins."
        )
    return found is not None


def dequantised(opened: OpenFile, where: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of an open quantised file, the matrices multiplied out to float32.

    Raises:
        ModelError: codes without scales or the reverse, or either of another type or shape than it must be.
    """
    names = set(opened.keys())
    for name in sorted(names):
        if name.endswith(_SCALES) and name.removesuffix(_SCALES) + _CODES in names:
            continue
        if not name.endswith((_CODES, _SCALES)):
            yield name, opened.get_tensor(name)
            continue
        plain = name.removesuffix(_CODES)
        if name.endswith(_SCALES) or plain + _SCALES not in names or plain in names:
            raise _damaged(where, name, "does not come with one matrix of codes and one row of scales")
        codes, scales = opened.get_tensor(name), opened.get_tensor(plain + _SCALES)
        if codes.dtype != torch.int8 or codes.ndim != 2:
            raise _damaged(where, name, f"is {codes.dtype} in {codes.ndim} dimensions, expected int8 in 2")
        if scales.dtype != torch.float32 or scales.shape != codes.shape[:1]:
            found = f"{scales.dtype} of shape {tuple(scales.shape)}"
            raise _damaged(where, plain + _SCALES, f"is {found}, expected float32, one for each row")
        if not bool(torch.isfinite(scales).all()):
            raise _damaged(where, plain + _SCALES, "is not finite")
        yield plain, dequantise(codes, scales)


def _damaged(where: Path, name: str, what: str) -> ModelError:
    return ModelError(f"{name} in {where} {what}; download or export the model again")
