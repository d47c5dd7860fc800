"""Import an optional dependency, or say how to install it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from prorank_plugins.core.errors import MissingExtraError


def require(module: str, extra: str, purpose: str) -> Any:
    """Import ``module``, which the extra ``extra`` installs.

    Args:
        module: dotted name of the module.
        extra: the extra of this package that installs it.
        purpose: what needs it, as the subject of a sentence ("The SentencePiece analyzer").

    Raises:
        MissingExtraError: the module's own distribution is absent. An import error *inside* an
            installed module is passed on as it is: installing again would not mend it.
    """
    root = module.partition(".")[0]
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        raise MissingExtraError(
            f"{purpose} needs {root}, which is not installed. Run: pip install 'prorank-plugins[{extra}]'",
            name=error.name,
        ) from error
