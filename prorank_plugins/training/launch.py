"""One process or several: who computes which part of a batch, and how gradients meet.

Several processes are those that ``accelerate launch`` or ``torchrun`` starts, one for each GPU. Each takes a
share of every batch, of the same size, and the gradients are averaged.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch

from prorank_plugins.core.extras import require

Item = TypeVar("Item")


def is_main_process() -> bool:
    """Whether this process is the only one, or the one of several that writes files."""
    return os.environ.get("RANK", "0") == "0"


class Launch:
    """Where this process stands among those that train one model together."""

    def __init__(self) -> None:
        self.n_processes = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = 0
        self._accelerator: Any = None
        if self.n_processes > 1:
            self._accelerator = require("accelerate", "train", "Training on several GPUs").Accelerator()
            self.rank = self._accelerator.process_index

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def place(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module, joined with its copies in the other processes."""
        if self._accelerator is None:
            return module
        joined: torch.nn.Module = self._accelerator.prepare_model(module)
        return joined

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The part of a batch that this process computes."""
        return list(items[self.rank :: self.n_processes])

    def mean(self, values: Mapping[str, float], weight: float) -> dict[str, float]:
        """Numbers of all processes, each of which weighs as many items as it had."""
        if self._accelerator is None:
            return dict(values)
        device = self._accelerator.device
        table = torch.tensor([*(value * weight for value in values.values()), weight], device=device)
        summed = self._accelerator.reduce(table.double(), "sum")
        return dict(zip(values, (summed[:-1] / summed[-1]).tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes have come here."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
