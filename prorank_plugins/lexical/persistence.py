"""A lexical index, with or without its documents, on disk.

The files of format version 3, all in one data folder (see `prorank_plugins.core.storage`)::

    terms.bin                    StringTable and its hash table: number to term, term to number
    statistics.bin               the arrays of `TermStatistics`
    segment_<i>.bin              the arrays of a `Segment`; ids as a StringTable with its hash table, unless
                                 they are numbers; offsets of documents
    deleted_<i>.bin              (n_docs,) bool, only if documents of the segment are gone
    documents_<i>.jsonl          only with documents: one JSON object a line
    subwords.model               only with a SentencePiece analyzer
    journal.log                  edits since, one after the other; not in the manifest, since it grows. See
                                 `prorank_plugins.core.journal` and `prorank_plugins.lexical.edit_records`

In version 2, which is still read, the codes of best postings are one array with a row for each term.

Everything that changes results is in the manifest: the analyzer's configuration and fingerprint, and
what a retriever was told. Contents are checked before use, checksums first, then every bound that the
kernels rely on; of a large index when it is used first, so that loading reads no array.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike

from prorank_plugins.core.errors import CorruptIndexError
from prorank_plugins.core.journal import read_journal_from
from prorank_plugins.core.storage import ArtifactReader
from prorank_plugins.lexical.analysis import Analyzer
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.content import Content
from prorank_plugins.lexical.content_checks import ContentCheck, files_of_segment
from prorank_plugins.lexical.documents import StoredDocuments
from prorank_plugins.lexical.edit_records import net_edit
from prorank_plugins.lexical.ids import NumberedIds, StoredIds
from prorank_plugins.lexical.saved_analyzer import restore_analyzer
from prorank_plugins.lexical.segment import ARRAYS as SEGMENT_ARRAYS
from prorank_plugins.lexical.segment import LONG_LIST, Segment
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import ARRAYS as STATISTICS_ARRAYS
from prorank_plugins.lexical.statistics import TermStatistics
from prorank_plugins.lexical.strings import StringNumbers, StringTable
from prorank_plugins.lexical.vocabulary import Vocabulary

FORMAT = "prorank_plugins.lexical"
FORMAT_VERSION = 3
JOURNAL = "journal.log"

Kinds: TypeAlias = "dict[str, DTypeLike | tuple[DTypeLike, ...]]"

_V2_ARRAYS: dict[str, Any] = {**SEGMENT_ARRAYS, "best_codes": np.uint8}
del _V2_ARRAYS["highest_codes"], _V2_ARRAYS["level_codes"]

# Indexes of at most so many bytes are checked when they are loaded, which takes some 20 ms.
_CHECKED_AT_LOAD = 32_000_000

# How often loading begins again because a writer has replaced what was being read.
_MOST_TRIES = 100


@dataclass(eq=False)
class Found:
    """A saved index as it was at one moment.

    Attributes:
        source: the files.
        analyzer: of the index.
        base: what is in them, without the edits in the journal.
        content: with these edits.
        check: of what is in the files; None for format 1, which is checked as it is read.
        place: the end of the last edit in the journal, which ``content`` has.
    """

    source: ArtifactReader
    analyzer: Analyzer | None
    base: Content
    content: Content
    check: ContentCheck | None
    place: int

    @property
    def pending(self) -> ContentCheck | None:
        """What is to be called before the content is used."""
        return None if self.check is None or self.check.is_done else self.check

    @property
    def options(self) -> dict[str, Any]:
        """JSON data of the caller's, as it was saved."""
        options = self.source.content.get("options")
        return options if isinstance(options, dict) else {}


class KnownSegments:
    """Segments that were read and checked before, to be taken again where their files are the same.

    Args:
        source: where they were read.
        content: what was read.
    """

    def __init__(self, source: ArtifactReader, content: Content) -> None:
        self._segments = WeakValueDictionary(
            {self._key(source, i): segment for i, segment in enumerate(content.state.segments)}
        )

    def get(self, source: ArtifactReader, i: int) -> Segment | None:
        """The segment in the files of segment ``i``, if it is known."""
        return self._segments.get(self._key(source, i))

    @staticmethod
    def _key(source: ArtifactReader, i: int) -> str:
        digests = [source.entry(name).get("sha256") for name in files_of_segment(i) if name in source]
        return repr((source.content["segments"][i], digests))


def read_index(
    path: Path, mmap: bool, analyzer: Analyzer | None, known: KnownSegments | None = None
) -> Found:
    """What the newest manifest in a folder and its journal say, read while others may write.

    Args:
        path: the folder.
        mmap: map the files.
        analyzer: what the index was built with, needed only if that is not saved.
        known: segments that need not be read again.

    Raises:
        IndexNotFoundError: no folder there.
        CorruptIndexError: incomplete, damaged or inconsistent.
        IndexFormatError: another kind, a newer format or another analyzer.
    """
    for _ in range(_MOST_TRIES):
        source = ArtifactReader(path, FORMAT, FORMAT_VERSION)
        try:
            found = _read(source, mmap, analyzer, known)
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


def _read(source: ArtifactReader, mmap: bool, given: Analyzer | None, known: KnownSegments | None) -> Found:
    analyzer = restore_analyzer(source, given)
    check: ContentCheck | None = None
    if source.version == 1:
        from prorank_plugins.lexical.persistence_v1 import load_content_v1

        base = load_content_v1(source)
    else:
        base, trusted = _read_content(source, mmap, known)
        check = ContentCheck(source, base, trusted)
        if source.n_bytes <= _CHECKED_AT_LOAD:
            check()
    records, place = read_journal_from(source.data / JOURNAL, source.generation, 0)
    try:
        content = base.edited(net_edit(records, base)) if records else base
    except (ValueError, LookupError) as error:
        if check is not None:
            check()
        raise source.corrupt(f"{JOURNAL} does not fit the index ({error})") from error
    return Found(source, analyzer, base, content, check, place)


def _read_content(
    source: ArtifactReader, mmap: bool, known: KnownSegments | None
) -> tuple[Content, set[int]]:
    """All that the manifest names, with sizes that agree, and which segments were known.

    Nobody has looked at the contents of the others.
    """
    terms = _numbers(source, "terms.bin", "", mmap)
    n_docs, total_length, n_terms = (
        _size(source, source.content, name) for name in ("n_docs", "total_length", "n_terms")
    )
    described = source.content.get("segments")
    if not isinstance(described, list):
        raise source.corrupt("the manifest holds no list of segments")
    keeps_documents = source.content.get("keeps_documents") is True
    segments, deleted, trusted = [], [], set()
    for i, entry in enumerate(described):
        segment = None if known is None else known.get(source, i)
        if segment is None:
            segment = _read_segment(source, i, entry, keeps_documents, mmap)
        else:
            trusted.add(i)
        segments.append(segment)
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
    return Content(state, Vocabulary(saved=terms), statistics), trusted


def _size(source: ArtifactReader, fields: Mapping[str, Any], name: str) -> int:
    size = fields.get(name)
    if type(size) is not int or size < 0:
        raise source.corrupt(f"the manifest gives {size!r} as {name}")
    return size


def _read_segment(source: ArtifactReader, i: int, entry: Any, keeps_documents: bool, mmap: bool) -> Segment:
    name = f"segment_{i}.bin"
    entry = entry if isinstance(entry, dict) else {}
    n_docs, n_terms, n_postings = (_size(source, entry, key) for key in ("n_docs", "n_terms", "n_postings"))
    arrays = source.arrays(name, _V2_ARRAYS if source.version == 2 else _kinds(SEGMENT_ARRAYS), mmap)
    expected = {
        "lengths": n_docs, "terms": n_terms, "indptr": n_terms + 1, "docs": n_postings, "codes": n_postings,
        "limits": 4 * 256, "code_freqs": 256, "large_freqs": len(arrays["large_places"]),
        "best_codes": 4 * n_terms, "highest_codes": n_terms,
    }  # fmt: skip
    for key, array in arrays.items():
        size = expected.get(key, len(array))
        if len(array) != size or (key == "level_codes" and size % 3):
            wanted = "three for each long list" if key == "level_codes" else size
            raise source.corrupt(f"{key} in {name} has {len(array)} elements, expected {wanted}")
    arrays["limits"] = arrays["limits"].reshape(4, 256)
    if source.version == 2:
        best = arrays.pop("best_codes").reshape(n_terms, 4)
        arrays["highest_codes"] = best[:, 0].copy()
        arrays["level_codes"] = best[np.diff(arrays["indptr"]) >= LONG_LIST, 1:]
    arrays["level_codes"] = arrays["level_codes"].reshape(-1, 3)
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
