"""Whether what was read from an index's files can be trusted."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from prorank_plugins.core.storage import ArtifactReader
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.documents import StoredDocuments
from prorank_plugins.lexical.ids import StoredIds
from prorank_plugins.lexical.segment import Segment
from prorank_plugins.lexical.segment_checks import check_segment
from prorank_plugins.lexical.strings import StringNumbers


class ContentCheck:
    """Compares contents with checksums, then with what the kernels rely on.

    Args:
        source: the files.
        content: what was read from them; edits of it do not disturb the check.
        trusted: numbers of segments that have been checked already.
    """

    def __init__(self, source: ArtifactReader, content: Content, trusted: Collection[int] = ()) -> None:
        self._source, self._vocabulary, self._state = source, content.vocabulary.saved, content.state
        self._statistics, self._trusted = content.statistics.copy(), trusted
        self.is_done = False

    def __call__(self) -> None:
        """Check.

        Raises:
            CorruptIndexError: something is not as it was written.
        """
        source = self._source
        source.verify(but={name for i in self._trusted for name in files_of_segment(i)})
        try:
            self._statistics.check()
        except ValueError as error:
            raise source.corrupt(f"statistics.bin contradicts itself ({error})") from error
        assert self._vocabulary is not None
        _check_strings(source, "terms.bin", self._vocabulary)
        for i, segment in enumerate(self._state.segments):
            self._check_segment(i, segment, len(self._vocabulary))
            gone = self._state.deleted[i]
            if gone is not None and gone.view(np.uint8).max(initial=0) > 1:
                raise source.corrupt(f"deleted_{i}.bin holds something else than 0 and 1")
        self.is_done = True

    def _check_segment(self, i: int, segment: Segment, n_terms: int) -> None:
        name, source = f"segment_{i}.bin", self._source
        if i in self._trusted:
            if len(segment.terms) and segment.terms[-1] >= n_terms:
                raise source.corrupt(f"{name} holds other terms than the {n_terms} of the index")
            return
        try:
            check_segment(segment, n_terms)
            if isinstance(segment.documents, StoredDocuments):
                segment.documents.check_offsets()
        except ValueError as error:
            raise source.corrupt(f"{name}: {error}") from error
        if isinstance(segment.ids, StoredIds):
            _check_strings(source, name, segment.ids.numbers)


def files_of_segment(i: int) -> tuple[str, str]:
    """Names of the files that hold segment ``i``; the second is missing in an index without documents."""
    return f"segment_{i}.bin", f"documents_{i}.jsonl"


def _check_strings(source: ArtifactReader, name: str, numbers: StringNumbers) -> None:
    offsets = numbers.strings.offsets
    if offsets[0] != 0 or offsets[-1] != len(numbers.strings.data) or (offsets[1:] < offsets[:-1]).any():
        raise source.corrupt(f"{name}: offsets do not divide the bytes into strings")
