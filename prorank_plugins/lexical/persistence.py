"""A lexical index, with or without its documents, on disk.

The files of format version 2, all in one data folder (see `prorank_plugins.core.storage`)::

    terms.bin                    StringTable and its hash table: number to term, term to number
    statistics.bin               the arrays of `TermStatistics`
    segment_<i>.bin              the arrays of a `Segment`; ids as a StringTable with its hash table, unless
                                 they are numbers; offsets of documents
    deleted_<i>.bin              (n_docs,) bool, only if documents of the segment are gone
    documents_<i>.jsonl          only with documents: one JSON object a line
    subwords.model               only with a SentencePiece analyzer
    journal.log                  edits since, one after the other; not in the manifest, since it grows. See
                                 `prorank_plugins.core.journal` and `prorank_plugins.lexical.edit_records`

Everything that changes results is in the manifest: the analyzer's configuration and fingerprint, and
what a retriever was told. Contents are checked before use, checksums first, then every bound that the
kernels rely on; of a large index when it is used first, so that loading reads no array.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import DTypeLike, NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import CorruptIndexError
from prorank_plugins.core.journal import read_journal_from
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.documents import StoredDocuments, document_line
from prorank_plugins.lexical.edit_records import net_edit
from prorank_plugins.lexical.ids import NumberedIds, StoredIds
from prorank_plugins.lexical.persistence_v1 import load_content_v1
from prorank_plugins.lexical.saved_analyzer import describe_analyzer, restore_analyzer
from prorank_plugins.lexical.segment import ARRAYS as SEGMENT_ARRAYS
from prorank_plugins.lexical.segment import Segment
from prorank_plugins.lexical.segment_checks import check_segment
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import ARRAYS as STATISTICS_ARRAYS
from prorank_plugins.lexical.statistics import TermStatistics
from prorank_plugins.lexical.strings import StringNumbers, StringTable
from prorank_plugins.lexical.vocabulary import Vocabulary

FORMAT = "prorank_plugins.lexical"
FORMAT_VERSION = 2
JOURNAL = "journal.log"

Kinds: TypeAlias = "dict[str, DTypeLike | tuple[DTypeLike, ...]]"

# Indexes of at most so many bytes are checked when they are loaded, which takes some 20 ms.
_CHECKED_AT_LOAD = 32_000_000

# How often loading begins again because a writer has replaced what was being read.
_MOST_TRIES = 100


# Writing


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
    arrays: dict[str, NDArray[Any]] = {name: getattr(segment, name) for name in SEGMENT_ARRAYS}
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


# Reading


@dataclass(eq=False)
class Found:
    """A saved index as it was at one moment.

    Attributes:
        source: the files.
        analyzer: of the index.
        base: what is in them, without the edits in the journal.
        content: with these edits.
        check: to be called before the content is used, None if that has been done.
        place: the end of the last edit in the journal, which ``content`` has.
        n_edits: edits in the journal.
    """

    source: ArtifactReader
    analyzer: Analyzer | None
    base: Content
    content: Content
    check: Callable[[], None] | None
    place: int
    n_edits: int

    @property
    def options(self) -> dict[str, Any]:
        """JSON data of the caller's, as it was saved."""
        options = self.source.content.get("options")
        return options if isinstance(options, dict) else {}


def read_index(path: Path, mmap: bool, analyzer: Analyzer | None) -> Found:
    """What the newest manifest in a folder and its journal say, read while others may write.

    Args:
        path: the folder.
        mmap: map the files.
        analyzer: what the index was built with, needed only if that is not saved.

    Raises:
        IndexNotFoundError: no folder there.
        CorruptIndexError: incomplete, damaged or inconsistent.
        IndexFormatError: another kind, a newer format or another analyzer.
    """
    for _ in range(_MOST_TRIES):
        source = ArtifactReader(path, FORMAT, FORMAT_VERSION)
        try:
            found = _read(source, mmap, analyzer)
        except CorruptIndexError:
            if source.is_current:
                raise
            continue
        # Files go when a manifest is replaced: with this one still in place, the journal was all there.
        if source.is_current:
            return found
    raise CorruptIndexError(
        f"{path} was replaced {_MOST_TRIES} times while it was being read; wait until its writer has finished"
    )


def _read(source: ArtifactReader, mmap: bool, given: Analyzer | None) -> Found:
    analyzer = restore_analyzer(source, given)
    check: Callable[[], None] | None = None
    if source.version == 1:
        base = load_content_v1(source)
    else:
        base = _read_content(source, mmap)
        if source.n_bytes > _CHECKED_AT_LOAD:
            check = _Check(source, base)
        else:
            _Check(source, base)()
    records, place = read_journal_from(source.data / JOURNAL, source.generation, 0)
    try:
        content = base.edited(net_edit(records, base)) if records else base
    except (ValueError, LookupError) as error:
        if check is not None:
            check()
        raise source.corrupt(f"{JOURNAL} does not fit the index ({error})") from error
    return Found(source, analyzer, base, content, check, place, len(records))


def _read_content(source: ArtifactReader, mmap: bool) -> Content:
    """All that the manifest names, with sizes that agree and contents that nobody has looked at."""
    terms = _numbers(source, "terms.bin", "", mmap)
    n_docs, total_length, n_terms = (
        _size(source, source.content, name) for name in ("n_docs", "total_length", "n_terms")
    )
    described = source.content.get("segments")
    if not isinstance(described, list):
        raise source.corrupt("the manifest holds no list of segments")
    keeps_documents = source.content.get("keeps_documents") is True
    segments, deleted = [], []
    for i, entry in enumerate(described):
        segments.append(_read_segment(source, i, entry, keeps_documents, mmap))
        deleted.append(_read_deleted(source, i, segments[-1].n_docs, mmap))
    state = State(tuple(segments), tuple(deleted), keeps_documents)
    if state.n_docs != n_docs or len(terms) != n_terms:
        raise source.corrupt(
            f"there are {state.n_docs} documents and {len(terms)} terms, expected {n_docs} and {n_terms}"
        )
    arrays = source.arrays("statistics.bin", _kinds(STATISTICS_ARRAYS), mmap)
    try:
        statistics = TermStatistics.from_arrays(arrays, n_docs, total_length, check=False)
    except ValueError as error:
        raise source.corrupt(f"statistics.bin contradicts itself ({error})") from error
    return Content(state, Vocabulary(saved=terms), statistics)


def _size(source: ArtifactReader, fields: Mapping[str, Any], name: str) -> int:
    size = fields.get(name)
    if type(size) is not int or size < 0:
        raise source.corrupt(f"the manifest gives {size!r} as {name}")
    return size


def _read_segment(source: ArtifactReader, i: int, entry: Any, keeps_documents: bool, mmap: bool) -> Segment:
    name = f"segment_{i}.bin"
    entry = entry if isinstance(entry, dict) else {}
    n_docs, n_terms, n_postings = (_size(source, entry, key) for key in ("n_docs", "n_terms", "n_postings"))
    arrays = source.arrays(name, _kinds(SEGMENT_ARRAYS), mmap)
    n_large = len(arrays["large_places"])
    expected = {
        "lengths": n_docs, "terms": n_terms, "indptr": n_terms + 1, "docs": n_postings, "codes": n_postings,
        "limits": 4 * 256, "code_freqs": 256, "large_freqs": n_large, "best_codes": 4 * n_terms,
    }  # fmt: skip
    for key, size in expected.items():
        if len(arrays[key]) != size:
            raise source.corrupt(f"{key} in {name} has {len(arrays[key])} elements, expected {size}")
    arrays["limits"] = arrays["limits"].reshape(4, 256)
    arrays["best_codes"] = arrays["best_codes"].reshape(n_terms, 4)
    first = entry.get("first_number")
    ids: Sequence[str]
    if first is not None:
        ids = NumberedIds(_size(source, entry, "first_number"), n_docs)
    else:
        ids = StoredIds(_numbers(source, name, "ids_", mmap))
        if len(ids) != n_docs:
            raise source.corrupt(f"{name} holds {len(ids)} ids of {n_docs} documents")
    documents = None
    if keeps_documents:
        offsets = source.arrays(name, {"documents_offsets": np.int64}, mmap)["documents_offsets"]
        if len(offsets) != n_docs + 1:
            raise source.corrupt(f"{name} holds {len(offsets)} offsets of {n_docs} documents")
        documents = StoredDocuments(
            ids, offsets, source.bytes(f"documents_{i}.jsonl", mmap), str(source.path)
        )
    return Segment(ids=ids, documents=documents, **{key: read_only(array) for key, array in arrays.items()})


def _kinds(arrays: Mapping[str, Any]) -> Kinds:
    return dict(arrays)


def _read_deleted(source: ArtifactReader, i: int, n_docs: int, mmap: bool) -> Any:
    name = f"deleted_{i}.bin"
    if name not in source:
        return None
    mask = source.arrays(name, {"deleted": np.bool_}, mmap)["deleted"]
    if len(mask) != n_docs:
        raise source.corrupt(f"{name} has {len(mask)} elements, expected {n_docs}")
    return read_only(mask)


def _numbers(source: ArtifactReader, name: str, prefix: str, mmap: bool) -> StringNumbers:
    kinds: Kinds = {
        "offsets": (np.uint32, np.int64), "data": np.uint8, "slots": np.int32
    }  # fmt: skip
    arrays = source.arrays(name, {prefix + key: kind for key, kind in kinds.items()}, mmap)
    offsets, data, slots = (arrays[prefix + key] for key in kinds)
    try:
        return StringNumbers(StringTable(offsets, data), slots)
    except CorruptIndexError as error:
        raise source.corrupt(f"{name}: {error}") from error


class _Check:
    """Compares contents with checksums, then with what the kernels rely on."""

    def __init__(self, source: ArtifactReader, content: Content) -> None:
        self._source, self._vocabulary, self._state = source, content.vocabulary.saved, content.state
        # A shallow copy: edits change the other one, not the arrays that were read.
        self._statistics = content.statistics.copy()

    def __call__(self) -> None:
        source = self._source
        source.verify()
        try:
            self._statistics.check()
        except ValueError as error:
            raise source.corrupt(f"statistics.bin contradicts itself ({error})") from error
        assert self._vocabulary is not None
        _check_strings(source, "terms.bin", self._vocabulary)
        for i, segment in enumerate(self._state.segments):
            name = f"segment_{i}.bin"
            try:
                check_segment(segment, len(self._vocabulary))
                if isinstance(segment.documents, StoredDocuments):
                    segment.documents.check_offsets()
            except ValueError as error:
                raise source.corrupt(f"{name}: {error}") from error
            if isinstance(segment.ids, StoredIds):
                _check_strings(source, name, segment.ids.numbers)
        for i, gone in enumerate(self._state.deleted):
            if gone is not None and gone.view(np.uint8).max(initial=0) > 1:
                raise source.corrupt(f"deleted_{i}.bin holds something else than 0 and 1")


def _check_strings(source: ArtifactReader, name: str, numbers: StringNumbers) -> None:
    offsets = numbers.strings.offsets
    if offsets[0] != 0 or offsets[-1] != len(numbers.strings.data) or (offsets[1:] < offsets[:-1]).any():
        raise source.corrupt(f"{name}: offsets do not divide the bytes into strings")
