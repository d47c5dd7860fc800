"""Import baguetter's sparse indexes without the rest of it.

Its ``__init__`` imports faiss, usearch and datasets, which BMX does not need.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import MissingExtraError


def load_sparse() -> Any:
    """The module ``baguetter.indices.sparse``.

    Unless baguetter is imported already, its two outer packages are stand-ins without content from
    then on, for the rest of the process.

    Raises:
        MissingExtraError: it is not installed.
    """
    if "baguetter" not in sys.modules:
        spec = find_spec("baguetter")
        if spec is None or spec.origin is None:
            raise MissingExtraError(
                "baguetter is not installed. Run: pip install --no-deps baguetter", name="baguetter"
            )
        folder = Path(spec.origin).parent
        for name, path in (("baguetter", folder), ("baguetter.indices", folder / "indices")):
            package = ModuleSpec(name, loader=None, is_package=True)
            package.submodule_search_locations = [str(path)]
            sys.modules[name] = module_from_spec(package)
    return import_module("baguetter.indices.sparse")
