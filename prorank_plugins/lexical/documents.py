"""Documents kept with an index: in memory, or as mapped JSON lines that are parsed when asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, CorruptIndexError


def document_line(document: Document) -> bytes:
    """A document as one line of JSON.

    Raises:
        ConfigError: metadata that JSON cannot give back as it was (dates, sets, keys that are not str...).
    """
    metadata = dict(document.metadata)
    fields = {"id": document.id, "text": document.text, "metadata": metadata}
    try:
        text = json.dumps(fields)
        back = json.loads(text)["metadata"] if metadata else {}
    except (TypeError, ValueError, RecursionError) as error:
        raise _not_json(document, str(error)) from error
    # Compared by repr as well, since NaN, which tables are full of, does not equal itself.
    if back.keys() != metadata.keys() or any(
        back[key] != value and repr(back[key]) != repr(value) for key, value in metadata.items()
    ):
        raise _not_json(document, "it would come back changed: tuples as lists, keys as str")
    return text.encode() + b"\n"


def _not_json(document: Document, what: str) -> ConfigError:
    return ConfigError(
        f"metadata of document {document.id!r} cannot be saved as JSON ({what}); "
        "turn such values into str, numbers, lists or dicts first"
    )


class StoredDocuments(Sequence[Document]):
    """Documents in a saved index.

    Args:
        ids: row to id.
        offsets: (n + 1,) document ``i`` is ``data[offsets[i]:offsets[i + 1]]``.
        data: JSON lines.
        origin: where they come from, for messages.
    """

    def __init__(
        self, ids: Sequence[str], offsets: NDArray[np.int64], data: NDArray[np.uint8], origin: str
    ) -> None:
        self._ids, self._offsets, self._data, self._origin = ids, offsets, data, origin

    @property
    def lines(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """All of them as they lie in the file: the JSON lines and the (n + 1,) offsets."""
        return self._data, self._offsets

    def check_offsets(self) -> None:
        """Raise ValueError if the offsets do not divide the lines."""
        offsets = self._offsets
        if offsets[0] != 0 or offsets[-1] != len(self._data) or (offsets[1:] < offsets[:-1]).any():
            raise ValueError("documents_offsets do not divide the documents")

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Document: ...
    @overload
    def __getitem__(self, index: slice) -> list[Document]: ...
    def __getitem__(self, index: int | slice) -> Document | list[Document]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        index %= len(self)
        line = self._data[self._offsets[index] : self._offsets[index + 1]].tobytes()
        try:
            fields = json.loads(line)
            document = Document(fields["id"], fields["text"], dict(fields["metadata"]))
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise self._corrupt(index, f"is not a document ({error})") from error
        if document.id != self._ids[index]:
            raise self._corrupt(index, f"has the id {document.id!r}, expected {self._ids[index]!r}")
        return document

    def _corrupt(self, row: int, what: str) -> CorruptIndexError:
        return CorruptIndexError(
            f"{self._origin}: line {row + 1} of documents.jsonl {what}. "
            "Restore the folder from a copy or build it again."
        )
