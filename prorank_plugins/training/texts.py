"""The text of whatever holds one, and when two texts count as the same."""

from __future__ import annotations

from typing import Any

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError


def text_of(item: Any) -> str:
    """The text of a string, a `Document`, a LangChain document or a LlamaIndex node.

    The frameworks' classes are known by what they offer, ``page_content`` or ``get_content()``, so neither
    need be installed.

    Raises:
        ConfigError: anything else, or one whose text is no string.
    """
    if isinstance(item, str):
        return item
    if isinstance(item, Document):
        return item.text
    text = getattr(item, "page_content", None)
    if text is None and callable(get_content := getattr(item, "get_content", None)):
        text = get_content()
    if not isinstance(text, str):
        raise ConfigError(
            f"found {type(item).__name__} without a text; expected a str, a prorank_plugins.Document, "
            "a LangChain document (page_content) or a LlamaIndex node (get_content()). Pass its text instead"
        )
    return text


def normalized(text: str) -> str:
    """The text without differences of case and white space: equal results are near-duplicates."""
    return " ".join(text.split()).casefold()
