"""Edits as bytes, for the journal of a saved index, and back.

A record is a JSON object: ``removed`` ids; ``added`` documents as ``[id, length, {term: term frequency}]``;
``documents``, the same ones with text and metadata, if the index keeps them. Terms are spelled out, since
their numbers depend on what else was indexed; lone surrogates survive as escapes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.lexical.content import Content, Edit
from prorank_plugins.lexical.documents import document_line
from prorank_plugins.lexical.segment import MOST_DOCS, MOST_POSTINGS, Segment
from prorank_plugins.lexical.term_counts import TermCounts

_MOST_LENGTH = np.iinfo(np.int32).max


class _Added(NamedTuple):
    """A document as a record has it."""

    id: str
    length: int
    term_freqs: dict[str, int]
    document: Document | None


def edit_record(edit: Edit, content: Content) -> bytes:
    """An edit of ``content``, which it has not been applied to.

    Raises:
        ConfigError: a document's metadata is not JSON.
    """
    added = list(chain.from_iterable(_described(segment, content) for segment in edit.added))
    record = json.dumps({"removed": content.state.ids_at(edit.removed), "added": added}).encode()
    if not content.state.keeps_documents:
        return record
    documents = chain.from_iterable(segment.documents or () for segment in edit.added)
    lines = b",".join(document_line(document).rstrip() for document in documents)
    return record[:-1] + b', "documents": [' + lines + b"]}"


def _described(segment: Segment, content: Content) -> Iterator[list[Any]]:
    order = np.argsort(segment.docs, kind="stable")
    terms = np.repeat(segment.terms, np.diff(segment.indptr))[order].tolist()
    freqs = segment.term_freqs()[order].tolist()
    names = {number: content.vocabulary.term(number) for number in segment.terms.tolist()}
    ends = np.cumsum(np.bincount(segment.docs, minlength=segment.n_docs)).tolist()
    start = 0
    for key, length, end in zip(segment.ids, segment.lengths.tolist(), ends, strict=True):
        spelled = (names[term] for term in terms[start:end])
        yield [key, length, dict(zip(spelled, freqs[start:end], strict=True))]
        start = end


def net_edit(records: Iterable[bytes], content: Content) -> Edit:
    """What recorded edits of ``content`` come to: one edit that leaves the same documents in the same order.

    New terms are added to the vocabulary; nothing else is changed.

    Raises:
        ValueError: a record that is none, or that does not apply.
    """
    removed: dict[str, int] = {}
    added: dict[str, _Added] = {}
    for record in records:
        gone, new = _parsed(record, content.state.keeps_documents)
        for key in gone:
            if added.pop(key, None) is None:
                row = None if key in removed else content.state.row_of(key)
                if row is None:
                    raise ValueError(f"an edit removes {key!r}, which is not there")
                removed[key] = row
        for document in new:
            key = document.id
            if key in added or (key not in removed and content.state.row_of(key) is not None):
                raise ValueError(f"an edit adds {key!r}, which is there")
            added[key] = document
    return Edit(list(removed.values()), list(_segments(list(added.values()), content)))


def _parsed(record: bytes, keeps_documents: bool) -> tuple[list[str], list[_Added]]:
    try:
        fields = json.loads(record)
        removed, entries = list(fields["removed"]), list(fields["added"])
        documents: list[Document | None] = [None] * len(entries)
        if keeps_documents:
            documents = [
                Document(entry["id"], entry["text"], dict(entry["metadata"])) for entry in fields["documents"]
            ]
        added = [
            _Added(key, length, freqs, document)
            for (key, length, freqs), document in zip(entries, documents, strict=True)
        ]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"an edit cannot be read ({error})") from error
    if not (all(isinstance(key, str) for key in removed) and all(map(_is_sound, added))):
        raise ValueError("an edit holds something else than documents and their counts")
    return removed, added


def _is_sound(added: _Added) -> bool:
    key, length, freqs, document = added
    return (
        isinstance(key, str)
        and type(length) is int
        and 0 <= length <= _MOST_LENGTH
        and isinstance(freqs, dict)
        and all(type(freq) is int and 1 <= freq <= length for freq in freqs.values())
        and (document is None or (document.id == key and isinstance(document.text, str)))
    )


def _segments(added: Sequence[_Added], content: Content) -> Iterator[Segment]:
    start = n_postings = 0
    for stop, document in enumerate(added):
        n_postings += len(document.term_freqs)
        if stop > start and (stop - start == MOST_DOCS or n_postings > MOST_POSTINGS):
            yield _segment(added[start:stop], content)
            start, n_postings = stop, len(document.term_freqs)
    if start < len(added):
        yield _segment(added[start:], content)


def _segment(added: Sequence[_Added], content: Content) -> Segment:
    n_distinct = _int32(len(document.term_freqs) for document in added)
    n_postings = int(n_distinct.sum(dtype=np.int64))
    vocabulary = content.vocabulary
    with vocabulary.growing:
        terms = vocabulary.add_all(chain.from_iterable(document.term_freqs for document in added), n_postings)
    freqs = _int32(chain.from_iterable(document.term_freqs.values() for document in added))
    lengths = _int32(document.length for document in added)
    documents = [document.document for document in added if document.document is not None]
    return Segment.build(
        [document.id for document in added],
        TermCounts(terms, freqs, n_distinct, lengths),
        documents if content.state.keeps_documents else None,
    )


def _int32(numbers: Iterable[int]) -> NDArray[np.int32]:
    return np.fromiter(numbers, np.int32)
