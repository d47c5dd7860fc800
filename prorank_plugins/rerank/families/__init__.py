"""The model families with a forward pass of our own, one file each.

A new family is a file with a class that follows `Family` and a row in the table below; the model of
transformers is its oracle in the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from prorank_plugins.rerank.families import bert, qwen
from prorank_plugins.rerank.families.family import Family
from prorank_plugins.rerank.families.stored import StoredWeights

Make = Callable[[Mapping[str, Any], StoredWeights], Family]

FAMILIES: dict[str, tuple[Callable[[Mapping[str, Any]], bool], Make]] = {
    "qwen2": (qwen.is_exact, qwen.Qwen),
    "qwen3": (qwen.is_exact, qwen.Qwen),
    "bert": (bert.is_exact, bert.Bert),
}
"""``model_type`` → whether a configuration of that type is computed exactly, and by what."""


def find_family(config: Mapping[str, Any]) -> Make | None:
    """What runs a model with this ``config.json`` exactly; None if nothing here does."""
    is_exact, make = FAMILIES.get(str(config.get("model_type")), (None, None))
    return make if is_exact is not None and is_exact(config) else None
