"""Checkpoints: everything a run needs to go on as if it had not stopped, without pickle.

::

    <output_dir>/checkpoints/step-000200/
        weights.safetensors      the trained parameters
        optimizer.safetensors    the optimizer's tensors, named <parameter>.<what>
        best.safetensors         the best parameters so far, if early stopping watches
        run.json                 step, cursor of the data, digests of the files above; written last

A folder is filled under another name and renamed when complete, so a crash or a full disk leaves the
checkpoints before it. Random numbers need no state: step n draws from (seed, n).
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from prorank_plugins.core.errors import CheckpointError, TrainingError
from prorank_plugins.core.extras import require

FOLDER = "checkpoints"
FORMAT_VERSION = 1
_NAME = re.compile(r"step-(\d{6,})")
_PARTS = ("weights", "optimizer", "best")


@dataclass(frozen=True)
class Checkpoint:
    """A run between two steps.

    Attributes:
        step: the last one done.
        fingerprint: of the configuration and the data, see `TrainingConfig.fingerprint`.
        cursor: where the stream of batches stands.
        weights: the trained parameters by name.
        optimizer: the optimizer's tensors by name.
        best: the best parameters so far; empty if there are none.
        best_score: their measure; None if there is none.
        waited: measurements since then.
    """

    step: int
    fingerprint: str
    cursor: Mapping[str, Any]
    weights: Mapping[str, torch.Tensor]
    optimizer: Mapping[str, torch.Tensor]
    best: Mapping[str, torch.Tensor]
    best_score: float | None = None
    waited: int = 0


def save_checkpoint(output_dir: Path, checkpoint: Checkpoint, keep: int) -> Path:
    """Write a checkpoint and remove all but the newest ``keep``; its folder.

    Raises:
        TrainingError: it cannot be written, such as for a full disk. Those before it are untouched.
    """
    tensors = require("safetensors.torch", "train", "Training")
    folder = output_dir / FOLDER
    target = folder / f"step-{checkpoint.step:06d}"
    aside = folder / f".{target.name}-{secrets.token_hex(4)}"
    try:
        aside.mkdir(parents=True)
        digests = {}
        for part in _PARTS:
            state = getattr(checkpoint, part)
            if state:
                file = aside / f"{part}.safetensors"
                tensors.save_file({name: value.detach().contiguous() for name, value in state.items()}, file)
                digests[file.name] = _digest(file)
        run = {
            "format_version": FORMAT_VERSION, "step": checkpoint.step, "fingerprint": checkpoint.fingerprint,
            "cursor": dict(checkpoint.cursor), "best_score": checkpoint.best_score,
            "waited": checkpoint.waited, "sha256": digests,
        }  # fmt: skip
        (aside / "run.json").write_text(json.dumps(run, indent=1) + "\n", "utf-8")
        if target.exists():
            shutil.rmtree(target)
        aside.rename(target)
    except (OSError, _safetensors_error()) as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise TrainingError(
            f"the checkpoint of step {checkpoint.step} cannot be written to {folder} ({error}); the earlier "
            "ones are kept. Make room and start the run again: it goes on from the newest"
        ) from error
    for old in _found(folder)[:-keep]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def load_checkpoint(output_dir: Path, fingerprint: str) -> Checkpoint | None:
    """The newest checkpoint of a run that can be read, None if there is none.

    A damaged checkpoint is passed over for the one before it.

    Raises:
        CheckpointError: all are damaged, or the newest readable one is of another run.
    """
    damaged: CheckpointError | None = None
    for folder in reversed(_found(output_dir / FOLDER)):
        try:
            checkpoint = _read(folder)
        except CheckpointError as error:
            damaged = damaged or error
            continue
        if checkpoint.fingerprint != fingerprint:
            raise CheckpointError(
                f"{folder} is of a run with other settings or other data; give another output_dir, remove "
                "the checkpoints, or set resume=False"
            )
        return checkpoint
    if damaged is not None:
        raise damaged
    return None


def remove_checkpoints(output_dir: Path) -> None:
    """Remove all checkpoints of a run."""
    shutil.rmtree(output_dir / FOLDER, ignore_errors=True)


def _found(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    if not folder.is_dir():
        return []
    named = [(match, path) for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for match, path in sorted(named, key=lambda item: int(item[0][1]))]


def _read(folder: Path) -> Checkpoint:
    tensors = require("safetensors.torch", "train", "Training")
    try:
        run = json.loads((folder / "run.json").read_text("utf-8"))
        if not isinstance(run["format_version"], int) or run["format_version"] > FORMAT_VERSION:
            raise CheckpointError(
                f"{folder} has format_version {run['format_version']!r}; this release reads up to "
                f"{FORMAT_VERSION}. Upgrade prorank-plugins."
            )
        parts: dict[str, Mapping[str, torch.Tensor]] = {part: {} for part in _PARTS}
        for name, digest in run["sha256"].items():
            if name not in {f"{part}.safetensors" for part in _PARTS}:
                raise CheckpointError(f"{folder}/run.json names an unknown file {name!r}")
            if _digest(folder / name) != digest:
                raise CheckpointError(f"{folder}/{name} is damaged: its digest differs; remove the folder")
            parts[name.removesuffix(".safetensors")] = tensors.load_file(folder / name)
        best = run["best_score"]
        return Checkpoint(
            int(run["step"]), str(run["fingerprint"]), dict(run["cursor"]), **parts,
            best_score=None if best is None else float(best), waited=int(run["waited"]),
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError, _safetensors_error()) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{folder} cannot be read ({error!r}); remove it") from error


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, names: Mapping[torch.Tensor, str]
) -> dict[str, torch.Tensor]:
    """The optimizer's tensors by parameter name; its settings are those of the configuration."""
    return {
        f"{names[parameter]}.{what}": value
        for parameter, state in optimizer.state.items()
        for what, value in state.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    names: Mapping[torch.Tensor, str],
    tensors: Mapping[str, torch.Tensor],
) -> None:
    """Put tensors that `optimizer_tensors` gave back in place."""
    by_parameter: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        parameter, _, what = name.rpartition(".")
        by_parameter.setdefault(parameter, {})[what] = value
    for tensor, name in names.items():
        if name in by_parameter:
            optimizer.state[tensor] = {
                # The count of steps stays where the optimizer keeps it, see torch.optim.Adam.
                what: value if what == "step" else value.to(tensor.device)
                for what, value in by_parameter[name].items()
            }


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _safetensors_error() -> type[Exception]:
    error: type[Exception] = require("safetensors", "train", "Training").SafetensorError
    return error
