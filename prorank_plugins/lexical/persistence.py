"""A lexical index, with or without its documents, on disk.

The files of format version 1, all in one data folder (see `prorank_plugins.core.storage`)::

    indptr.npy rows.npy term_freqs.npy         Postings
    lengths.npy log_entropies.npy              (n_docs,) int32, (n_terms,) float64
    terms.npy terms_offsets.npy                StringTable: term number to term
    ids.npy ids_offsets.npy                    StringTable: row to id
    subwords.model                             only with a SentencePiece analyzer
    documents.jsonl documents_offsets.npy      only with documents: one JSON object a line

Everything that changes results is in the manifest: the analyzer's configuration and fingerprint, and
what a retriever was told. Contents are checked before use, checksums first, then every bound that the
kernels rely on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError, IndexFormatError
from prorank_plugins.core.storage import ArtifactReader, ArtifactWriter
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerConfig, WordTerms
from prorank_plugins.lexical.documents import StoredDocuments, document_line
from prorank_plugins.lexical.postings import Postings, read_only
from prorank_plugins.lexical.segment import Segment
from prorank_plugins.lexical.statistics import CorpusStats
from prorank_plugins.lexical.vocabulary import StringTable, Vocabulary

if TYPE_CHECKING:
    from prorank_plugins.lexical.index import LexicalIndex

FORMAT = "prorank_plugins.lexical"
FORMAT_VERSION = 1


def save_index(
    path: Path,
    index: LexicalIndex,
    documents: Sequence[Document] | None = None,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Write an index to a folder, replacing an index that is there.

    Args:
        path: the folder.
        index: what to write.
        documents: in row order, if they are to be kept with the index.
        options: JSON data of the caller's, returned by `load_index`.

    Raises:
        ConfigError: the folder holds something else, or a document's metadata is not JSON.
    """
    segment, analyzer = index.snapshot()
    with ArtifactWriter(path, FORMAT, FORMAT_VERSION) as out:
        for name in ("indptr", "rows", "term_freqs"):
            out.array(name, getattr(segment.postings, name))
        out.array("lengths", segment.lengths)
        out.array("log_entropies", segment.stats.log_entropies)
        names = list(segment.vocabulary)[: segment.postings.n_terms]
        for name, strings in (("terms", names), ("ids", segment.ids)):
            table = strings if isinstance(strings, StringTable) else StringTable.pack(strings)
            out.array(name, table.data)
            out.array(f"{name}_offsets", table.offsets.astype(np.int64))
        if analyzer is not None and (model := getattr(analyzer.source, "model", None)) is not None:
            out.chunks("subwords.model", [model])
        if documents is not None:
            lines = [document_line(document) for document in documents]
            out.chunks("documents.jsonl", lines)
            out.array("documents_offsets", np.cumsum([0, *map(len, lines)], dtype=np.int64))
        out.publish(
            {
                "analyzer": _describe(analyzer),
                "n_docs": len(segment.ids),
                "n_terms": segment.postings.n_terms,
                "n_postings": len(segment.postings.rows),
                "options": dict(options or {}),
            }
        )


def load_index(
    path: Path, mmap: bool, analyzer: Analyzer | None
) -> tuple[LexicalIndex, StoredDocuments | None, dict[str, Any]]:
    """An index, its documents if it was saved with them, and the options it was saved with.

    Raises:
        IndexNotFoundError: no folder there.
        CorruptIndexError: incomplete, damaged or inconsistent.
        IndexFormatError: another kind, a newer format or another analyzer.
    """
    from prorank_plugins.lexical.index import LexicalIndex

    source = ArtifactReader(path, FORMAT, FORMAT_VERSION)
    source.verify()
    sizes = [source.content.get(name) for name in ("n_docs", "n_terms", "n_postings")]
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise source.corrupt(f"the manifest gives the sizes {sizes}")
    n_docs, n_terms, n_postings = (int(size) for size in sizes if size is not None)
    postings = Postings(
        indptr=source.array("indptr", [np.int64], mmap, n_terms + 1),
        rows=source.array("rows", [np.int32], mmap, n_postings),
        term_freqs=source.array("term_freqs", [np.uint8, np.uint16, np.int32], mmap, n_postings),
    )
    lengths = source.array("lengths", [np.int32], mmap, n_docs)
    _check_postings(source, postings, lengths)
    stats = CorpusStats(
        n_docs=n_docs,
        total_length=int(lengths.sum(dtype=np.int64)),
        doc_freqs=read_only(postings.doc_freqs()),
        log_entropies=source.array("log_entropies", [np.float64], mmap, n_terms),
    )
    if np.isnan(stats.log_entropies).any() or (stats.log_entropies == np.inf).any():
        raise source.corrupt("log_entropies.npy holds numbers that are not finite")
    vocabulary = Vocabulary(_strings(source, "terms", n_terms, mmap))
    if len(vocabulary) != n_terms:
        raise source.corrupt("terms.npy holds a term twice")
    ids = _strings(source, "ids", n_docs, mmap)
    restored = _restore_analyzer(source, analyzer)
    index = LexicalIndex(Segment(ids, lengths, postings, stats, vocabulary), restored)
    options = source.content.get("options")
    return index, _documents(source, ids, mmap), options if isinstance(options, dict) else {}


def _check_postings(source: ArtifactReader, postings: Postings, lengths: NDArray[np.int32]) -> None:
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


def _strings(source: ArtifactReader, name: str, length: int, mmap: bool) -> StringTable:
    data = source.array(name, [np.uint8], mmap)
    offsets = source.array(f"{name}_offsets", [np.int64], mmap, length + 1)
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


def _documents(source: ArtifactReader, ids: Sequence[str], mmap: bool) -> StoredDocuments | None:
    if "documents.jsonl" not in source:
        return None
    data = source.bytes("documents.jsonl", mmap)
    offsets = source.array("documents_offsets", [np.int64], mmap, len(ids) + 1)
    _check_offsets(source, "documents", offsets, len(data))
    return StoredDocuments(ids, offsets, data, str(source.path))


def _describe(analyzer: Analyzer | None) -> dict[str, Any] | None:
    if analyzer is None:
        return None
    return {**analyzer.source.description(), "fingerprint": analyzer.fingerprint()}


def _restore_analyzer(source: ArtifactReader, given: Analyzer | None) -> Analyzer | None:
    """The analyzer the index was built with, from what was saved or as ``given`` again."""
    saved = source.content.get("analyzer")
    if saved is None:
        if given is not None:
            raise IndexFormatError(f"{source.path} was built from token lists; load it without an analyzer")
        return None
    if not isinstance(saved, dict):
        raise source.corrupt("the manifest does not describe the analyzer")
    analyzer = given if given is not None else _rebuild(source, saved)
    if analyzer.fingerprint() != saved.get("fingerprint"):
        which = (
            "the analyzer given"
            if given is not None
            else "the analyzer of this release (its stemmer or Unicode tables)"
        )
        raise IndexFormatError(
            f"{source.path} was built with another analyzer: {which} gives other terms than {_named(saved)}. "
            "Pass the analyzer it was built with, or build the index again."
        )
    return analyzer


def _named(saved: Mapping[str, Any]) -> str:
    return json.dumps(
        {key: value for key, value in saved.items() if key != "fingerprint"}, ensure_ascii=False
    )


def _rebuild(source: ArtifactReader, saved: Mapping[str, Any]) -> Analyzer:
    kind = saved.get("kind")
    if kind == "callable":
        raise IndexFormatError(
            f"{source.path} was built with the function {saved.get('name')!r}, which is not saved; "
            "pass it again: load(path, analyzer=Analyzer(function))"
        )
    try:
        if kind == "subwords":
            from prorank_plugins.lexical.subwords import SubwordTerms

            return Analyzer(SubwordTerms(source.bytes("subwords.model", mmap=False).tobytes()))
        if kind == "words":
            config = dict(saved["config"])
            if isinstance(config.get("stop_words"), list):
                config["stop_words"] = tuple(config["stop_words"])
            return Analyzer(WordTerms(AnalyzerConfig(**config)))
    except (ConfigError, TypeError, KeyError, ValueError) as error:
        raise source.corrupt(f"the manifest's analyzer cannot be restored ({error})") from error
    raise IndexFormatError(f"{source.path} names an analyzer of kind {kind!r}; upgrade prorank-plugins")
