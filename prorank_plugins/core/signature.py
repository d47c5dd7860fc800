"""A one-line recipe that travels with every published number."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any


def package_version(distribution: str = "prorank-plugins") -> str:
    """Version of an installed distribution, ``"unknown"`` when run from a bare source tree."""
    # Takes longer to import than a million documents to load.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"


def signature(parts: Mapping[str, Any]) -> str:
    """``key:value`` pairs joined by ``|``, closed by the versions that can change a result.

    The idea is sacrebleu's (Post, WMT 2018): a number is reproducible if its recipe is printed with it.
    """
    recipe = {
        **parts,
        "prorank_plugins": package_version(),
        "numpy": package_version("numpy"),
        "python": platform.python_version(),
    }
    return "|".join(f"{key}:{value}" for key, value in recipe.items())
