"""The optimizer's loop, shared by the stages: batches in, `StepReport`s out.

It reads no data and shows nothing; it writes checkpoints and the trained model, if a folder is given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

import torch

from prorank_plugins.core.errors import ConfigError, TrainingError
from prorank_plugins.core.extras import require
from prorank_plugins.training.checkpoints import (
    Checkpoint,
    load_checkpoint,
    optimizer_tensors,
    remove_checkpoints,
    restore_optimizer,
    save_checkpoint,
)
from prorank_plugins.training.config import StepReport, TrainingConfig
from prorank_plugins.training.launch import Launch
from prorank_plugins.training.model import TrainableModel
from prorank_plugins.training.saving import write_model
from prorank_plugins.training.validation import Validation

Item = TypeVar("Item")
Given = TypeVar("Given", covariant=True)
Taken = TypeVar("Taken", contravariant=True)

Begun: TypeAlias = Mapping[str, Any]
"""Lists and tensors by name, each with one entry an item."""


class Batches(Protocol[Given]):
    """An endless stream of batches that can be left and taken up again."""

    def __next__(self) -> Sequence[Given]:
        """The next batch."""
        ...

    def state(self) -> dict[str, Any]:
        """Where the stream stands, as JSON data."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        ...


class Objective(Protocol[Taken]):
    """What a stage minimises."""

    passes: int
    """Optimizer steps for each batch."""

    whole: bool
    """Whether the loss needs all items at once, however many tokens they have."""

    def begin(self, model: TrainableModel, items: Sequence[Taken]) -> Begun:
        """What all passes over these items share: their rows of ids, and answers drawn before the first."""
        ...

    def sizes(self, begun: Begun) -> list[int]:
        """Tokens of each item."""
        ...

    def loss(self, model: TrainableModel, begun: Begun) -> tuple[torch.Tensor, dict[str, float]]:
        """The mean loss of items and measurements about it."""
        ...


class Run(Generic[Item]):
    """A stage's state between steps.

    Args:
        model: to be trained in place.
        config: settings.
        batches: the data.
        objective: what to minimise.
        stage: its name, for files and messages.
        data_signature: tells this data from other data; a checkpoint goes on only over the same.
        validation: measures the model now and then; None for never.
    """

    def __init__(
        self,
        model: TrainableModel,
        config: TrainingConfig,
        batches: Batches[Item],
        objective: Objective[Item],
        stage: str,
        data_signature: str = "",
        validation: Validation | None = None,
    ) -> None:
        if config.patience is not None and validation is None:
            raise ConfigError("patience needs development groups: give dev=")
        self.model, self.config, self.batches, self.objective = model, config, batches, objective
        self.stage, self.validation = stage, validation
        self.fingerprint = f"{stage}:{config.fingerprint()}:{data_signature}"
        self.folder = None if config.output_dir is None else Path(config.output_dir)
        self.launch = Launch(model.device)
        if config.batch_size % self.launch.n_processes:
            raise ConfigError(
                f"batch_size {config.batch_size} cannot be shared evenly by {self.launch.n_processes} "
                "processes; make it a multiple"
            )
        self.parameters = model.state()
        self.launch.spread(self.parameters.values())
        self.names = {parameter: name for name, parameter in self.parameters.items()}
        self.optimizer = _optimizer(self.parameters, config, model.device)
        self.done = 0
        self.best: dict[str, torch.Tensor] = {}
        self.best_score: float | None = None
        self.waited = 0

    def reports(self) -> Iterator[StepReport]:
        """Train, and tell about each step."""
        config = self.config
        self._resume()
        self.model.network.train()
        with _bar(config, self.done, self.stage, self.launch) as advance:
            while self.done < config.steps and not self._is_over():
                report = self._step(self.done + 1)
                self.done = report.step
                is_due = self.done % (config.checkpoint_every or 1) == 0 or self.done == config.steps
                if config.checkpoint_every and is_due:
                    self._save_checkpoint()
                advance(report)
                yield report
        self._finish()

    def _step(self, step: int) -> StepReport:
        config = self.config
        items = self.launch.share(next(self.batches))
        learning_rate = config.learning_rate_at(step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with _seeded(config.seed, step, self.launch.rank, self.model.device):
            begun = self.objective.begin(self.model, items)
            for _ in range(self.objective.passes):
                loss, metrics = self._update(items, begun, step)
        if self.validation is not None and config.evaluate_every and step % config.evaluate_every == 0:
            metrics |= self._evaluate()
        return StepReport(step, loss, learning_rate, metrics)

    def _update(self, items: list[Item], begun: Any, step: int) -> tuple[float, dict[str, float]]:
        """One step of the optimizer, its gradient added up over parts that fit into memory."""
        self.optimizer.zero_grad(set_to_none=True)
        total, metrics = 0.0, dict[str, float]()
        for places in self._parts(begun, len(items)):
            loss, found = self.objective.loss(self.model, _take(begun, places))
            weight = len(places) / len(items)
            value = float(loss.detach())
            if not math.isfinite(value):
                self._fail(step, f"the loss is {value}", [items[place] for place in places])
            torch.autograd.backward(loss * weight)
            total += value * weight
            for name, number in found.items():
                metrics[name] = metrics.get(name, 0.0) + number * weight
        self.launch.average_gradients(self.parameters.values())
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm or math.inf)
        if not bool(torch.isfinite(norm)):
            self._fail(step, f"the gradient's norm is {float(norm)}", items)
        self.optimizer.step()
        metrics["grad_norm"] = float(norm)
        averaged = self.launch.mean({"loss": total, **metrics})
        return averaged.pop("loss"), averaged

    def _parts(self, begun: Begun, n_items: int) -> list[list[int]]:
        """Places of items that are computed together: consecutive, under the budget of tokens."""
        if self.objective.whole:
            return [list(range(n_items))]
        parts: list[list[int]] = [[]]
        held = 0
        for place, size in enumerate(self.objective.sizes(begun)):
            if parts[-1] and held + size > self.config.max_batch_tokens:
                parts.append([])
                held = 0
            parts[-1].append(place)
            held += size
        return parts

    def _fail(self, step: int, what: str, items: Sequence[Item]) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        kept = "no checkpoint was asked for"
        if self.folder is not None and self.config.checkpoint_every:
            last = self.done - self.done % self.config.checkpoint_every
            kept = f"the checkpoint of step {last} in {self.folder} is kept" if last else "none was due yet"
        raise TrainingError(
            f"{self.stage} stopped at step {step}: {what} in the batch that begins with {_shown(items[0])}; "
            f"{kept}. Lower the learning rate, or look at these items"
        )

    def _evaluate(self) -> dict[str, float]:
        assert self.validation is not None
        self.model.network.eval()
        found = self.validation.measure(self.model)
        self.model.network.train()
        score = found[self.validation.measure_name]
        if self.config.patience is not None:
            if self.best_score is None or score > self.best_score:
                self.best_score, self.waited = score, 0
                self.best = {name: value.detach().cpu().clone() for name, value in self.parameters.items()}
            else:
                self.waited += 1
        return found

    def _is_over(self) -> bool:
        return self.config.patience is not None and self.waited >= self.config.patience

    def _resume(self) -> None:
        if self.folder is None:
            return
        if not self.config.resume:
            if self.launch.is_main:
                remove_checkpoints(self.folder)
            self.launch.wait()
            return
        found = load_checkpoint(self.folder, self.fingerprint)
        if found is None:
            return
        self.model.restore(found.weights)
        restore_optimizer(self.optimizer, self.names, found.optimizer)
        self.batches.restore(found.cursor)
        self.done, self.best = found.step, dict(found.best)
        self.best_score, self.waited = found.best_score, found.waited

    def _save_checkpoint(self) -> None:
        assert self.folder is not None
        if self.launch.is_main:
            checkpoint = Checkpoint(
                self.done, self.fingerprint, self.batches.state(), self.parameters,
                optimizer_tensors(self.optimizer, self.names), self.best, self.best_score, self.waited,
            )  # fmt: skip
            save_checkpoint(self.folder, checkpoint, self.config.keep_checkpoints)
        self.launch.wait()

    def _finish(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.model.network.eval()
        if self.best:
            self.model.restore(self.best)
        if self.folder is not None and self.launch.is_main:
            recipe = {"stage": self.stage, "steps_done": self.done, **self.config.to_json()}
            write_model(self.model, self.folder, recipe)
        self.launch.wait()


def _optimizer(
    parameters: Mapping[str, torch.nn.Parameter] | Mapping[str, torch.Tensor],
    config: TrainingConfig,
    device: torch.device,
) -> torch.optim.Optimizer:
    """AdamW whose weight decay spares vectors."""
    matrices = [value for value in parameters.values() if value.ndim > 1]
    vectors = [value for value in parameters.values() if value.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=config.betas, fused=device.type in ("cpu", "cuda")
    )


@contextmanager
def _seeded(seed: int, step: int, rank: int, device: torch.device) -> Iterator[None]:
    """Random numbers, those of dropout, from (seed, step) alone; the caller's are given back after."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(((seed * 1_000_003 + step) * 1009 + rank) % 2**63)
        yield


def _take(begun: Begun, places: Sequence[int]) -> Begun:
    """The entries of some items."""
    return {
        name: value[list(places)] if isinstance(value, torch.Tensor) else [value[place] for place in places]
        for name, value in begun.items()
    }


@contextmanager
def _bar(config: TrainingConfig, done: int, stage: str, launch: Launch) -> Iterator[Any]:
    if not config.progress or not launch.is_main:
        yield lambda report: None
        return
    with require("tqdm.auto", "train", "A progress bar").tqdm(
        total=config.steps, initial=done, desc=stage, unit="step"
    ) as bar:

        def advance(report: StepReport) -> None:
            bar.set_postfix(loss=f"{report.loss:.4f}", refresh=False)
            bar.update()

        yield advance


def _shown(item: Any) -> str:
    text = repr(item)
    return text if len(text) <= 200 else text[:197] + "..."
