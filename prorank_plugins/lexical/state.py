"""One generation of an index: what a search reads from beginning to end."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, chain, compress
from typing import Any, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import UnknownIdError
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.segment import Segment

Deleted = NDArray[np.bool_] | None
Value = TypeVar("Value")


@dataclass(frozen=True, eq=False)
class State:
    """Segments in order of insertion and which of their documents are gone. Immutable.

    A *row* numbers documents over all segments, those that are gone included; kernels know rows. A
    *position* numbers the documents that are there; callers know positions. Without deletions both agree.

    Attributes:
        segments: in order of their documents.
        deleted: for each segment (n_docs,) which documents are gone, None if none is.
        keeps_documents: whether segments hold what a retriever returns.
    """

    segments: tuple[Segment, ...] = ()
    deleted: tuple[Deleted, ...] = ()
    keeps_documents: bool = False

    def __getstate__(self) -> dict[str, Any]:
        # What is remembered besides holds addresses of this process's arrays.
        return {name: getattr(self, name) for name in ("segments", "deleted", "keeps_documents")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        masks = tuple(None if gone is None else read_only(gone) for gone in state["deleted"])
        for name, value in {**state, "deleted": masks}.items():
            object.__setattr__(self, name, value)

    @cached_property
    def bases(self) -> list[int]:
        """(n_segments + 1,) row of each segment's first document, and the number of rows."""
        return list(accumulate((segment.n_docs for segment in self.segments), initial=0))

    @cached_property
    def n_deleted(self) -> list[int]:
        """Of each segment."""
        return [0 if gone is None else int(np.count_nonzero(gone)) for gone in self.deleted]

    @cached_property
    def n_rows(self) -> int:
        """Documents, those that are gone included."""
        return self.bases[-1]

    @cached_property
    def n_docs(self) -> int:
        """Documents that are there."""
        return self.n_rows - sum(self.n_deleted)

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """(n_segments, 17) the segments as the kernels see them."""
        from prorank_plugins.lexical.kernels.searching import N_COLUMNS

        records = np.empty((len(self.segments), N_COLUMNS), np.int64)
        for i, segment in enumerate(self.segments):
            records[i] = segment.record
            gone = self.deleted[i]
            records[i, -3:] = (0 if gone is None else gone.ctypes.data, self.n_deleted[i], self.bases[i])
        return read_only(records)

    @cached_property
    def live_rows(self) -> NDArray[np.int64] | None:
        """(n_docs,) row of each position; None if they are the same."""
        if self.n_docs == self.n_rows:
            return None
        return np.flatnonzero(np.concatenate([self.live_mask(i) for i in range(len(self.segments))]))

    @cached_property
    def lengths(self) -> NDArray[np.int32]:
        """(n_rows,) |D| in tokens."""
        return np.concatenate([np.empty(0, np.int32), *(segment.lengths for segment in self.segments)])

    def live_mask(self, i: int) -> NDArray[np.bool_]:
        """(n_docs of segment ``i``,) the documents that are there."""
        gone = self.deleted[i]
        return np.ones(self.segments[i].n_docs, np.bool_) if gone is None else ~gone

    def place(self, row: int) -> tuple[Segment, int]:
        """The segment that holds a row, and the document's number in it."""
        i = bisect_right(self.bases, row) - 1
        return self.segments[i], row - self.bases[i]

    def positions(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Positions of the given rows, which are there."""
        live = self.live_rows
        return rows if live is None else np.searchsorted(live, rows)

    def ids_at(self, rows: Iterable[int]) -> list[str]:
        """Ids of rows."""
        if len(self.segments) == 1:
            ids = self.segments[0].ids
            return [ids[row] for row in rows]
        return [segment.ids[doc] for segment, doc in map(self.place, rows)]

    def documents_at(self, rows: Iterable[int]) -> list[Document]:
        """Documents at rows, for a state that keeps documents."""
        found = []
        for segment, doc in map(self.place, rows):
            assert segment.documents is not None
            found.append(segment.documents[doc])
        return found

    def metadata(self) -> list[Mapping[str, Any]]:
        """(n_docs,) of the documents, for a state that keeps them."""
        return list(chain.from_iterable(self.of_live(i, s.metadata) for i, s in enumerate(self.segments)))

    @cached_property
    def documents(self) -> Documents:
        """The documents in order of insertion, for a state that keeps them."""
        return Documents(self)

    def of_live(self, i: int, values: Iterable[Value]) -> Iterable[Value]:
        """Those of the (n_docs of segment ``i``,) values whose document is there."""
        return values if self.deleted[i] is None else compress(values, self.live_mask(i))

    def row_of(self, id: Any) -> int | None:
        """Row of a document that is there."""
        for i in range(len(self.segments) - 1, -1, -1):
            doc = self.segments[i].find(id)
            gone = self.deleted[i]
            if doc >= 0 and (gone is None or not gone[doc]):
                return self.bases[i] + doc
        return None

    def __contains__(self, id: object) -> bool:
        return self.row_of(id) is not None

    def rows_of(self, ids: Iterable[str]) -> list[int]:
        """Rows of distinct ids.

        Raises:
            UnknownIdError: an id is not among the documents.
        """
        rows = []
        for key in dict.fromkeys(ids):
            row = self.row_of(key)
            if row is None:
                raise UnknownIdError(f"id {key!r} is not among the {self.n_docs} documents of the index")
            rows.append(row)
        return rows

    def ids(self) -> Iterator[str]:
        """Ids in order of insertion."""
        for i, segment in enumerate(self.segments):
            yield from self.of_live(i, segment.ids)

    def followed_by(self, segment: Segment) -> State:
        """These documents, then those of a segment."""
        return replace(self, segments=(*self.segments, segment), deleted=(*self.deleted, None))

    def keeping(self, documents: Sequence[Document]) -> State:
        """The same with the (n_docs,) documents, in order of insertion."""
        given, segments = iter(documents), []
        for i, segment in enumerate(self.segments):
            live = self.live_mask(i).tolist()
            kept = [
                next(given) if there else Document(id, "")
                for there, id in zip(live, segment.ids, strict=True)
            ]
            segments.append(replace(segment, documents=kept))
        return replace(self, segments=tuple(segments), keeps_documents=True)

    def with_merged(self, start: int, stop: int, merged: Segment | None) -> State:
        """The same documents, with one segment (or none) in the place of those from ``start`` to ``stop``."""
        new = () if merged is None else (merged,)
        return replace(
            self,
            segments=(*self.segments[:start], *new, *self.segments[stop:]),
            deleted=(*self.deleted[:start], *(None for _ in new), *self.deleted[stop:]),
        )

    def without(self, rows: Iterable[int]) -> State:
        """These documents but for the given rows."""
        deleted = list(self.deleted)
        fresh: dict[int, NDArray[np.bool_]] = {}
        for row in rows:
            i = bisect_right(self.bases, row) - 1
            if i not in fresh:
                gone = deleted[i]
                fresh[i] = np.zeros(self.segments[i].n_docs, np.bool_) if gone is None else gone.copy()
            fresh[i][row - self.bases[i]] = True
        for i, gone in fresh.items():
            deleted[i] = read_only(gone)
        return replace(self, deleted=tuple(deleted))


class _Positions(Sequence[Value]):
    """What segments hold of their documents, in order of insertion."""

    def __init__(self, state: State) -> None:
        self._state = state

    def __len__(self) -> int:
        return self._state.n_docs

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Value]: ...
    def __getitem__(self, index: int | slice) -> Value | Sequence[Value]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"document {index} of {len(self)}")
        live, at = self._state.live_rows, index % len(self)
        segment, doc = self._state.place(at if live is None else int(live[at]))
        return self._values(segment)[doc]

    def __iter__(self) -> Iterator[Value]:
        for i, segment in enumerate(self._state.segments):
            yield from self._state.of_live(i, self._values(segment))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return repr(list(self))

    def _values(self, segment: Segment) -> Sequence[Value]:
        raise NotImplementedError


class Ids(_Positions[str]):
    """The ids of a state's documents."""

    def _values(self, segment: Segment) -> Sequence[str]:
        return segment.ids

    def __contains__(self, id: object) -> bool:
        return id in self._state


class Documents(_Positions[Document]):
    """The documents of a state that keeps them."""

    def _values(self, segment: Segment) -> Sequence[Document]:
        assert segment.documents is not None
        return segment.documents
