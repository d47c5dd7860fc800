"""Reads indexes of format version 1, which held all postings in one piece with wide numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.storage import ArtifactReader
from prorank_plugins.lexical.content import Content, Edit
from prorank_plugins.lexical.documents import StoredDocuments
from prorank_plugins.lexical.segment import MOST_DOCS, Segment, named
from prorank_plugins.lexical.state import State
from prorank_plugins.lexical.statistics import TermStatistics
from prorank_plugins.lexical.strings import StringTable
from prorank_plugins.lexical.term_counts import TermCounts
from prorank_plugins.lexical.vocabulary import Vocabulary


class _Postings(NamedTuple):
    """Term ``t`` owns places ``indptr[t]:indptr[t + 1]``; rows ascend within a term."""

    indptr: NDArray[np.int64]
    rows: NDArray[np.int32]
    term_freqs: NDArray[np.int32]


def load_content_v1(source: ArtifactReader) -> Content:
    """The content of an index of format 1, all of it checked and in memory.

    Raises:
        CorruptIndexError: incomplete, damaged or inconsistent.
    """
    source.verify()
    sizes = [source.content.get(name) for name in ("n_docs", "n_terms", "n_postings")]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise source.corrupt(f"the manifest gives the sizes {sizes}")
    n_docs, n_terms, n_postings = (int(size) for size in sizes if size is not None)
    freqs = source.array("term_freqs", [np.uint8, np.uint16, np.int32], False, n_postings)
    postings = _Postings(
        source.array("indptr", [np.int64], False, n_terms + 1),
        source.array("rows", [np.int32], False, n_postings),
        freqs.astype(np.int32),
    )
    lengths = source.array("lengths", [np.int32], False, n_docs)
    _check_postings(source, postings, lengths)
    vocabulary = Vocabulary(_strings(source, "terms", n_terms))
    if len(vocabulary) != n_terms:
        raise source.corrupt("terms.npy holds a term twice")
    ids = list(_strings(source, "ids", n_docs))
    if len(set(ids)) != n_docs:
        raise source.corrupt("ids.npy holds an id twice")
    documents = _documents(source, ids)
    segments = named(list(_segments(postings, lengths)), ids, documents)
    content = Content(State(keeps_documents=documents is not None), vocabulary, TermStatistics())
    content.count(Edit((), segments))
    for segment in segments:
        content = content.with_state(content.state.followed_by(segment))
    return content


def _segments(postings: _Postings, lengths: NDArray[np.int32]) -> Sequence[Segment]:
    order = np.argsort(postings.rows, kind="stable")
    terms = np.repeat(np.arange(len(postings.indptr) - 1, dtype=np.int32), np.diff(postings.indptr))[order]
    freqs, n_distinct = postings.term_freqs[order], np.bincount(postings.rows, minlength=len(lengths))
    ends = np.cumsum([0, *n_distinct.tolist()])
    segments = []
    for start in range(0, len(lengths), MOST_DOCS):
        docs = slice(start, min(start + MOST_DOCS, len(lengths)))
        part = slice(ends[docs.start], ends[docs.stop])
        counts = TermCounts(terms[part], freqs[part], n_distinct[docs].astype(np.int32), lengths[docs])
        segments.append(Segment.build((), counts))
    return segments


def _check_postings(source: ArtifactReader, postings: _Postings, lengths: NDArray[np.int32]) -> None:
    """Everything the kernels take for granted: offsets and rows in range and in order."""
    indptr, rows = postings.indptr, postings.rows
    if indptr[0] != 0 or indptr[-1] != len(rows) or (np.diff(indptr) < 0).any():
        raise source.corrupt("indptr.npy does not divide the postings into terms")
    if lengths.min(initial=0) < 0:
        raise source.corrupt("lengths.npy holds a negative length")
    if not len(rows):
        return
    if rows.min() < 0 or rows.max() >= len(lengths):
        raise source.corrupt(f"rows.npy points outside the {len(lengths)} documents")
    if postings.term_freqs.min() < 1:
        raise source.corrupt("term_freqs.npy holds a frequency below 1")
    falls = np.flatnonzero(rows[1:] <= rows[:-1]) + 1
    starts = indptr[np.searchsorted(indptr, falls, side="left")]
    if (starts != falls).any():
        raise source.corrupt("rows.npy does not ascend within a term")


def _strings(source: ArtifactReader, name: str, length: int) -> StringTable:
    data = source.array(name, [np.uint8], False)
    offsets = source.array(f"{name}_offsets", [np.int64], False, length + 1)
    _check_offsets(source, name, offsets, len(data))
    try:
        for _ in (table := StringTable(offsets, data)):
            pass
    except UnicodeDecodeError as error:
        raise source.corrupt(f"{name}.npy is not UTF-8 ({error})") from error
    return table


def _check_offsets(source: ArtifactReader, name: str, offsets: NDArray[np.int64], size: int) -> None:
    if offsets[0] != 0 or offsets[-1] != size or (np.diff(offsets) < 0).any():
        raise source.corrupt(f"{name}_offsets.npy does not divide {name} into pieces")


def _documents(source: ArtifactReader, ids: Sequence[str]) -> list[Document] | None:
    if "documents.jsonl" not in source:
        return None
    data = source.bytes("documents.jsonl", False)
    offsets = source.array("documents_offsets", [np.int64], False, len(ids) + 1)
    _check_offsets(source, "documents", offsets, len(data))
    return list(StoredDocuments(ids, offsets, data, str(source.path)))
