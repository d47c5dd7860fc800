"""An index together with its documents: text in, documents with scores out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError, IndexFormatError
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerLike
from prorank_plugins.lexical.filters import IdFilter, MetadataFilter, metadata_mask
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.queries import WeightedQuery
from prorank_plugins.lexical.scorers import BM25, BMX
from prorank_plugins.lexical.scorers.plan import Scorer

DocumentFilter: TypeAlias = "IdFilter | MetadataFilter"

_SCORERS: dict[str, type[BMX] | type[BM25]] = {"BMX": BMX, "BM25": BM25}


class LexicalRetriever:
    """Documents searched by BMX, BM25 or another scorer. A `prorank_plugins.Retriever`.

    Made by `from_documents` or `load`. Safe to search from many threads while one edits.

    Attributes:
        scorer: used by every search.
    """

    def __init__(self, index: LexicalIndex, documents: Sequence[Document], scorer: Scorer) -> None:
        if len(index) != len(documents):
            raise ConfigError(f"{len(documents)} documents for an index of {len(index)}; they must match")
        self.scorer = scorer
        # Replaced as one by every edit, so that a search never pairs new rows with old documents.
        self._state = (index, documents)
        self._editing = threading.Lock()

    @classmethod
    def from_documents(
        cls,
        documents: Iterable[Document],
        analyzer: AnalyzerLike | None = None,
        scorer: Scorer | None = None,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> LexicalRetriever:
        """Index documents by their text.

        Args:
            documents: with unique ids; a generator is fine.
            analyzer: an `Analyzer` or what makes one; None is English.
            scorer: None is ``BMX()``.
            n_threads: as for `LexicalIndex.build`.
            progress: show a progress bar.

        Raises:
            ConfigError: ids that repeat, or an item that is no `Document`.
        """
        kept = _checked(documents)
        index = LexicalIndex.build(
            [document.text for document in kept],
            [document.id for document in kept],
            analyzer=Analyzer("en") if analyzer is None else analyzer,
            n_threads=n_threads,
            progress=progress,
        )
        return cls(index, kept, BMX() if scorer is None else scorer)

    @property
    def index(self) -> LexicalIndex:
        """The index behind it. Edit through the retriever, which keeps documents and index in step."""
        return self._state[0]

    @property
    def documents(self) -> Sequence[Document]:
        """The documents in order of insertion."""
        return self._state[1]

    def __len__(self) -> int:
        return len(self._state[1])

    def __contains__(self, id: object) -> bool:
        return id in self._state[0]

    def retrieve(
        self, query: str | WeightedQuery, k: int = 10, filter: DocumentFilter = None
    ) -> list[ScoredDocument]:
        """The ``k`` best documents that share a term with the query, or fewer, best first.

        Documents come back as copies.

        Args:
            query: text or a `WeightedQuery`.
            k: at least 0.
            filter: the only documents that may come back: ids, a boolean mask (n_docs,), a predicate on the
                metadata, or a mapping of metadata keys to values (a list of values allows any of them).
        """
        return self.retrieve_many([query], k, filter)[0]

    def retrieve_many(
        self,
        queries: Iterable[str | WeightedQuery],
        k: int = 10,
        filter: DocumentFilter = None,
        n_threads: int | None = None,
    ) -> list[list[ScoredDocument]]:
        """`retrieve` for many queries at once; same results, less work for each."""
        index, documents = self._state
        found = index.search_many(
            queries, k, self.scorer, n_threads=n_threads, filter=_row_filter(filter, documents)
        )
        return [
            [
                ScoredDocument(documents[row].copy(), score)
                for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
            ]
            for hits in found
        ]

    def add(self, documents: Iterable[Document]) -> list[str]:
        """Add documents after the present ones; returns their ids.

        Raises:
            ConfigError: an id that is taken; nothing is added then.
        """
        with self._editing:
            index, present = self._state
            new = _checked(documents)
            changed = index.copy()
            ids = changed.add([document.text for document in new], [document.id for document in new])
            self._state = (changed, [*present, *new])
            return ids

    def delete(self, ids: Iterable[str], missing_ok: bool = False) -> list[str]:
        """Remove documents; returns the ids of those removed.

        Args:
            ids: the documents.
            missing_ok: pass over ids that are not there.

        Raises:
            UnknownIdError: an id is not there; nothing is removed then.
        """
        with self._editing:
            index, present = self._state
            changed = index.copy()
            removed = changed.delete(ids, missing_ok)
            self._state = (changed, _without(present, removed))
            return removed

    def update(self, documents: Iterable[Document]) -> None:
        """Replace documents by others with the same ids; they move to the end.

        Raises:
            UnknownIdError: an id is not there; nothing is changed then.
        """
        self._put(documents, LexicalIndex.update)

    def upsert(self, documents: Iterable[Document]) -> list[str]:
        """`update` the documents whose ids are there and `add` the others, as one edit; returns all ids."""
        return self._put(documents, LexicalIndex.upsert)

    def _put(
        self, documents: Iterable[Document], edit: Callable[[LexicalIndex, list[str], list[str]], None]
    ) -> list[str]:
        with self._editing:
            index, present = self._state
            new = _checked(documents)
            ids = [document.id for document in new]
            changed = index.copy()
            edit(changed, ids, [document.text for document in new])
            self._state = (changed, [*_without(present, ids), *new])
            return ids

    def save(self, path: str | Path, options: Mapping[str, Any] | None = None) -> None:
        """Write index, documents and scorer to a folder, as a whole or not at all.

        Args:
            path: the folder.
            options: JSON data of the caller's, given back by `load_with_options`.

        Raises:
            ConfigError: metadata that is not JSON, a scorer of the caller's own, or a folder that
                holds something else.
        """
        from prorank_plugins.lexical.persistence import save_index

        index, documents = self._state
        kind = type(self.scorer)
        if _SCORERS.get(kind.__name__) is not kind:
            raise ConfigError(
                f"a scorer of type {kind.__name__} cannot be saved; save with BMX or BM25 and set "
                ".scorer after loading"
            )
        scorer = {"name": kind.__name__, **asdict(self.scorer)}  # type: ignore[call-overload]
        save_index(Path(path), index, documents, {"scorer": scorer, "caller": dict(options or {})})

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalRetriever:
        """Read a retriever that `save` wrote; the arguments and errors are those of `LexicalIndex.load`."""
        return cls.load_with_options(path, mmap, analyzer)[0]

    @classmethod
    def load_with_options(
        cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None
    ) -> tuple[LexicalRetriever, dict[str, Any]]:
        """`load`, with the options given to `save`."""
        from prorank_plugins.lexical.persistence import load_index

        index, documents, options = load_index(Path(path), mmap, analyzer)
        if documents is None:
            raise IndexFormatError(f"{path} holds an index without documents; load it with LexicalIndex.load")
        caller = options.get("caller")
        return cls(index, documents, _restore_scorer(options.get("scorer"), path)), dict(caller or {})

    def copy(self) -> LexicalRetriever:
        """A retriever of its own with the same content; what is not edited is shared."""
        return LexicalRetriever(*self._state, self.scorer)

    __copy__ = copy

    def __getstate__(self) -> dict[str, Any]:
        return {"state": self._state, "scorer": self.scorer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(*state["state"], state["scorer"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"LexicalRetriever({len(self)} documents, scorer={self.scorer!r})"


def _without(documents: Sequence[Document], ids: Iterable[str]) -> list[Document]:
    gone = set(ids)
    return [document for document in documents if document.id not in gone]


def _checked(documents: Iterable[Document]) -> list[Document]:
    """Copies of the documents: what the caller does to metadata afterwards stays the caller's."""
    kept = []
    for position, document in enumerate(documents):
        if not isinstance(document, Document):
            raise ConfigError(
                f"documents[{position}] must be a prorank_plugins.Document, found {type(document).__name__}"
            )
        kept.append(document.copy())
    return kept


def _row_filter(wanted: DocumentFilter, documents: Sequence[Document]) -> IdFilter | NDArray[np.bool_]:
    """Filters on metadata as a mask; the others as they are."""
    if callable(wanted) or isinstance(wanted, Mapping):
        return metadata_mask(wanted, [document.metadata for document in documents])
    return wanted


def _restore_scorer(saved: Any, path: str | Path) -> Scorer:
    fields = dict(saved) if isinstance(saved, dict) else {}
    kind = _SCORERS.get(fields.pop("name", ""))
    if kind is None:
        raise IndexFormatError(f"{path} names an unknown scorer {saved!r}; upgrade prorank-plugins")
    try:
        return kind(**fields)
    except (TypeError, ConfigError) as error:
        raise IndexFormatError(f"{path} names a scorer that cannot be restored ({error})") from error
