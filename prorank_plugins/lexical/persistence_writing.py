"""The files of a lexical index, written; those of segments that lie there already are linked.

The layout is in `prorank_plugins.lexical.persistence`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.documents import StoredDocuments, document_line
from prorank_plugins.lexical.ids import NumberedIds, StoredIds
from prorank_plugins.lexical.saved_analyzer import describe_analyzer
from prorank_plugins.lexical.segment import ARRAYS, Segment
from prorank_plugins.lexical.strings import StringNumbers, StringTable
from prorank_plugins.lexical.vocabulary import Vocabulary


class SavedParts:
    """What of an index lies in files already, so that it is not written again.

    Args:
        source: the artifact, as it was published last.
        content: what is in it.
    """

    def __init__(self, source: ArtifactReader, content: Content) -> None:
        self._source = source
        self._vocabulary, self._n_terms = content.vocabulary, int(source.content["n_terms"])
        self._numbers = WeakKeyDictionary({segment: i for i, segment in enumerate(content.state.segments)})

    def reuse_terms(self, out: ArtifactWriter, vocabulary: Vocabulary, n_terms: int) -> bool:
        """Take over the first ``n_terms`` terms, if these are what is there; returns whether they are."""
        if vocabulary is not self._vocabulary or n_terms != self._n_terms:
            return False
        out.reuse("terms.bin", self._source)
        return True

    def reuse_segment(self, out: ArtifactWriter, i: int, segment: Segment) -> bool:
        """Take over the files of a segment as those of segment ``i``, if it has files."""
        number = self._numbers.get(segment)
        if number is None:
            return False
        out.reuse(f"segment_{i}.bin", self._source, f"segment_{number}.bin")
        if segment.documents is not None:
            out.reuse(f"documents_{i}.jsonl", self._source, f"documents_{number}.jsonl")
        return True


def write_content(
    out: ArtifactWriter, content: Content, analyzer: Analyzer | None, saved: SavedParts | None = None
) -> dict[str, Any]:
    """Write the files of an index; returns what its manifest says, but for the caller's ``options``.

    Args:
        out: where to; publishing is left to the caller.
        content: must not change meanwhile.
        analyzer: of the index.
        saved: what is in files of the same artifact already.

    Raises:
        ConfigError: a document's metadata is not JSON.
    """
    state, statistics = content.state, content.statistics
    # The vocabulary is shared with copies of the index, where it may grow meanwhile.
    n_terms = statistics.n_terms
    if saved is None or not saved.reuse_terms(out, content.vocabulary, n_terms):
        terms = StringTable.pack(islice(content.vocabulary, n_terms))
        out.arrays("terms.bin", _packed(terms))
    out.arrays("statistics.bin", statistics.arrays())
    for i, segment in enumerate(state.segments):
        if saved is None or not saved.reuse_segment(out, i, segment):
            _write_segment(out, i, segment)
        if (gone := state.deleted[i]) is not None:
            out.arrays(f"deleted_{i}.bin", {"deleted": gone})
    if analyzer is not None and (model := getattr(analyzer.source, "model", None)) is not None:
        out.chunks("subwords.model", [model])
    return {
        "analyzer": describe_analyzer(analyzer),
        "n_docs": state.n_docs,
        "total_length": statistics.total_length,
        "n_terms": n_terms,
        "keeps_documents": state.keeps_documents,
        "segments": [_describe(segment) for segment in state.segments],
    }


def _write_segment(out: ArtifactWriter, i: int, segment: Segment) -> None:
    arrays: dict[str, NDArray[Any]] = {name: getattr(segment, name) for name in ARRAYS}
    if _first_number(segment.ids) is None:
        ids = (
            segment.ids.numbers.strings
            if isinstance(segment.ids, StoredIds)
            else StringTable.pack(segment.ids)
        )
        arrays.update({f"ids_{name}": array for name, array in _packed(ids).items()})
    if segment.documents is not None:
        arrays["documents_offsets"] = _write_documents(out, f"documents_{i}.jsonl", segment.documents)
    out.arrays(f"segment_{i}.bin", arrays)


def _write_documents(out: ArtifactWriter, name: str, documents: Sequence[Document]) -> NDArray[np.int64]:
    if isinstance(documents, StoredDocuments):
        data, offsets = documents.lines
        out.chunks(name, [data.tobytes()])
        return offsets
    lines = [document_line(document) for document in documents]
    out.chunks(name, lines)
    return np.cumsum([0, *map(len, lines)], dtype=np.int64)


def _describe(segment: Segment) -> dict[str, Any]:
    return {
        "n_docs": segment.n_docs,
        "n_terms": len(segment.terms),
        "n_postings": len(segment.docs),
        "first_number": _first_number(segment.ids),
    }


def _first_number(ids: Sequence[str]) -> int | None:
    """Where ids that are numbers in order begin; None for others."""
    if isinstance(ids, NumberedIds):
        return ids.start
    if isinstance(ids, StoredIds) or not ids or not ids[0].isascii() or not ids[0].isdigit():
        return None
    if len(ids[0]) > 18 or str(int(ids[0])) != ids[0]:
        return None
    numbers = NumberedIds(int(ids[0]), len(ids))
    return numbers.start if all(key == number for key, number in zip(ids, numbers, strict=True)) else None


def _packed(strings: StringTable) -> dict[str, NDArray[Any]]:
    return {"offsets": strings.offsets, "data": strings.data, "slots": StringNumbers.build(strings).slots}
