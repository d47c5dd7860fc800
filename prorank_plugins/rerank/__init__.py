"""Reranking with small causal language models: ProRank (arXiv:2506.03487).

(query, document) → token ids by a saved `prompt` → batches by token budget → one score a row,
``logit("1") - logit("0")`` at the last position. Imports `prorank_plugins.core`; torch, tokenizers,
safetensors and transformers inside the modules that need them.

Importing this loads nothing heavy: each name below is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prorank_plugins.rerank.cache import DiskScoreCache, MemoryScoreCache
    from prorank_plugins.rerank.calibration import (
        Isotonic,
        Platt,
        ReferenceNormalization,
        Sigmoid,
        Temperature,
        brier_score,
        expected_calibration_error,
        fit_calibration,
    )
    from prorank_plugins.rerank.chunking import Chunking
    from prorank_plugins.rerank.fusion import fuse
    from prorank_plugins.rerank.prompt import BGE_GEMMA, PRORANK, QWEN3_RERANKER, Prompt
    from prorank_plugins.rerank.quantised import quantise_folder
    from prorank_plugins.rerank.reranker import ProRankReranker, SpanScore

_HOMES = {
    "cache": ("DiskScoreCache", "MemoryScoreCache"),
    "calibration": (
        "Isotonic",
        "Platt",
        "ReferenceNormalization",
        "Sigmoid",
        "Temperature",
        "brier_score",
        "expected_calibration_error",
        "fit_calibration",
    ),
    "chunking": ("Chunking",),
    "fusion": ("fuse",),
    "prompt": ("BGE_GEMMA", "PRORANK", "QWEN3_RERANKER", "Prompt"),
    "quantised": ("quantise_folder",),
    "reranker": ("ProRankReranker", "SpanScore"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "BGE_GEMMA",
    "PRORANK",
    "QWEN3_RERANKER",
    "Chunking",
    "DiskScoreCache",
    "Isotonic",
    "MemoryScoreCache",
    "Platt",
    "ProRankReranker",
    "Prompt",
    "ReferenceNormalization",
    "Sigmoid",
    "SpanScore",
    "Temperature",
    "brier_score",
    "expected_calibration_error",
    "fit_calibration",
    "fuse",
    "quantise_folder",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
