"""``KEY=VALUE`` conditions on metadata."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from prorank_plugins.core.errors import ConfigError


def parse_filters(conditions: Iterable[str]) -> dict[str, list[Any]]:
    """``{key: values}`` for `prorank_plugins.lexical.filters.metadata_mask`.

    A value stands for itself as text and for what it is in JSON: ``year=2020`` accepts ``2020`` and
    ``"2020"``. A key given twice accepts either value; several keys must all agree.

    Raises:
        ConfigError: a condition without ``=`` or without a key.
    """
    wanted: dict[str, list[Any]] = {}
    for condition in conditions:
        key, equals, value = condition.partition("=")
        if not equals or not key:
            raise ConfigError(f"--filter takes KEY=VALUE, found {condition!r}; give QUERY before --filter")
        wanted.setdefault(key, []).extend(_readings(value))
    return wanted


def _readings(value: str) -> list[Any]:
    try:
        return [value, json.loads(value)]
    except (ValueError, RecursionError):
        return [value]
