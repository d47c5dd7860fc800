"""One process or several: who computes which part of a batch, and how gradients meet.

Several processes are those that ``accelerate launch`` or ``torchrun`` starts, one for each GPU. Each takes a
share of every batch, of the same size, and the gradients are averaged once a step. Between the steps the
processes are on their own: how many parts a share is computed in may differ among them, which gradients that
are averaged as they come about (``DistributedDataParallel``) would not survive.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import torch
from torch import distributed

Item = TypeVar("Item")


def n_processes() -> int:
    """How many processes train one model together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_process() -> bool:
    """Whether this process is the only one, or the one of several that writes files."""
    return os.environ.get("RANK", "0") == "0"


def own_device(device: str | None) -> str | None:
    """The device that was asked for; of several processes each has a GPU of its own."""
    if n_processes() > 1 and device in (None, "cuda") and torch.cuda.is_available():
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    return device


class Launch:
    """Where this process stands among those that train one model together.

    Attributes:
        n_processes: how many they are.
        rank: the number of this one.

    Args:
        device: where this process computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.n_processes, self.rank, self._device = 1, 0, device
        if n_processes() > 1:
            if not distributed.is_initialized():
                # Where they meet is in the environment.
                distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
                atexit.register(_leave)
            self.n_processes, self.rank = distributed.get_world_size(), distributed.get_rank()

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and shows progress."""
        return self.rank == 0

    def spread(self, parameters: Iterable[torch.Tensor]) -> None:
        """Give all processes the values of the first, in place."""
        if self.n_processes > 1:
            for parameter in parameters:
                distributed.broadcast(parameter.detach(), 0)

    def average_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Give all processes the mean of their gradients, in place."""
        if self.n_processes > 1:
            for parameter in parameters:
                if parameter.grad is None:  # here unused, such as an expert that no token went to
                    parameter.grad = torch.zeros_like(parameter)
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.n_processes

    def share(self, items: Sequence[Item]) -> list[Item]:
        """The part of a batch that this process computes."""
        return list(items[self.rank :: self.n_processes])

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """Means of numbers over all processes, whose shares are of one size."""
        if self.n_processes == 1:
            return dict(values)
        summed = torch.tensor(list(values.values()), dtype=torch.float64, device=self._device)
        distributed.all_reduce(summed)
        return dict(zip(values, (summed / self.n_processes).tolist(), strict=True))

    def wait(self) -> None:
        """Until all processes have come here."""
        if self.n_processes > 1:
            distributed.barrier()


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()
