"""Where a model runs and in which number format."""

from __future__ import annotations

import logging
from typing import Any

from prorank_plugins.core.errors import ConfigError

_LOG = logging.getLogger(__name__)

DTYPES = ("float32", "bfloat16", "float16", "int8")


def pick_device(device: str | None) -> Any:
    """A torch device: the one asked for, or CUDA, then MPS, then the CPU.

    Raises:
        ConfigError: torch does not know it, or this machine does not have it.
    """
    import torch

    if device is None:
        if torch.cuda.is_available():
            device = "cuda"
        else:
            device = "mps" if torch.backends.mps.is_available() else "cpu"
        _LOG.info("reranking on %s", device)
    try:
        found = torch.device(device)
        torch.zeros(1, device=found).cpu()
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        message = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(f"device {device!r} cannot be used here ({message}); try device='cpu'") from error
    return found


def pick_dtype(dtype: str | None, device: Any) -> str:
    """A name in `DTYPES`: the one asked for, or bfloat16 on CUDA that has it, float16 on MPS, else float32.

    Raises:
        ConfigError: unknown, or not to be had on this device.
    """
    import torch

    if dtype is None:
        if device.type == "cuda":
            dtype = "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
        else:
            dtype = "float16" if device.type == "mps" else "float32"
        _LOG.info("reranking in %s", dtype)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)} or None, found {dtype!r}")
    if dtype == "int8" and device.type != "cpu":
        raise ConfigError(
            f"dtype 'int8' is for the CPU, found device {str(device)!r}; use bfloat16 or float16 there"
        )
    return dtype


def keep_freed_memory() -> None:
    """Let the C library keep what tensors on the CPU free, for those that come after them.

    glibc gives large blocks back to the system and gets them anew, page by page (5 % of a pass of a small
    model), until a block as large has been freed once. It stops learning at 32 MiB. Elsewhere this does
    nothing.
    """
    import torch

    torch.empty(31 * 2**20, dtype=torch.uint8)  # freed at once, and never touched


def default_budget(device: Any) -> int:
    """Tokens a batch: few on a CPU, where they stay in the cache, many on a GPU, where they fill it."""
    return 32_768 if device.type == "cuda" else 4_096 if device.type == "mps" else 1_024
