"""An index together with its documents: text in, documents with scores out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError, IndexFormatError
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerLike
from prorank_plugins.lexical.filters import DocumentFilter
from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.queries import WeightedQuery
from prorank_plugins.lexical.scorers import BM25, BMX
from prorank_plugins.lexical.scorers.plan import Scorer

_SCORERS: dict[str, type[BMX] | type[BM25]] = {"BMX": BMX, "BM25": BM25}


class LexicalRetriever:
    """Documents searched by BMX, BM25 or another scorer. A `prorank_plugins.Retriever`.

    Made by `from_documents` or `load`. Safe to search from many threads while one edits.

    Attributes:
        scorer: used by every search.
    """

    def __init__(self, index: LexicalIndex, documents: Sequence[Document], scorer: Scorer) -> None:
        self._index = index.with_documents(documents)
        self.scorer = scorer

    @classmethod
    def of_index(cls, index: LexicalIndex, scorer: Scorer) -> LexicalRetriever:
        """A retriever on an index that keeps its documents."""
        retriever = cls.__new__(cls)
        retriever._index, retriever.scorer = index, scorer
        return retriever

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
        index = LexicalIndex.build([], analyzer=Analyzer("en") if analyzer is None else analyzer)
        retriever = cls(index, [], BMX() if scorer is None else scorer)
        retriever._index.insert_documents(_checked(documents), n_threads=n_threads, progress=progress)
        return retriever

    @property
    def index(self) -> LexicalIndex:
        """The index behind it. What is added through it, is kept as documents without metadata."""
        return self._index

    @property
    def documents(self) -> Sequence[Document]:
        """The documents in order of insertion, as they are now."""
        return self._index.documents

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, id: object) -> bool:
        return id in self._index

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
        return _scored(self._index.search(query, k, self.scorer, filter))

    def retrieve_many(
        self,
        queries: Iterable[str | WeightedQuery],
        k: int = 10,
        filter: DocumentFilter = None,
        n_threads: int | None = None,
    ) -> list[list[ScoredDocument]]:
        """`retrieve` for many queries at once; same results, less work for each."""
        found = self._index.search_many(queries, k, self.scorer, n_threads=n_threads, filter=filter)
        return [_scored(hits) for hits in found]

    def add(self, documents: Iterable[Document]) -> list[str]:
        """Add documents after the present ones; returns their ids. Takes O(documents) time.

        Raises:
            ConfigError: an id that is taken; nothing is added then.
        """
        return self._index.insert_documents(_checked(documents))

    def delete(self, ids: Iterable[str], missing_ok: bool = False) -> list[str]:
        """Remove documents; returns the ids of those removed. Takes O(documents) time.

        Args:
            ids: the documents.
            missing_ok: pass over ids that are not there.

        Raises:
            UnknownIdError: an id is not there; nothing is removed then.
        """
        return self._index.delete(ids, missing_ok)

    def update(self, documents: Iterable[Document]) -> None:
        """Replace documents by others with the same ids; they move to the end.

        Raises:
            UnknownIdError: an id is not there; nothing is changed then.
        """
        self._index.insert_documents(_checked(documents), replace="all")

    def upsert(self, documents: Iterable[Document]) -> list[str]:
        """`update` the documents whose ids are there and `add` the others, as one edit; returns all ids."""
        return self._index.insert_documents(_checked(documents), replace="any")

    def save(self, path: str | Path, options: Mapping[str, Any] | None = None) -> None:
        """Write index, documents and scorer to a folder, as a whole or not at all.

        Args:
            path: the folder.
            options: JSON data of the caller's, given back by `load_with_options`.

        Raises:
            ConfigError: metadata that is not JSON, a scorer of the caller's own, or a folder that
                holds something else.
        """
        from prorank_plugins.lexical.folders import save_index

        kind = type(self.scorer)
        if _SCORERS.get(kind.__name__) is not kind:
            raise ConfigError(
                f"a scorer of type {kind.__name__} cannot be saved; save with BMX or BM25 and set "
                ".scorer after loading"
            )
        scorer = {"name": kind.__name__, **asdict(self.scorer)}  # type: ignore[call-overload]
        save_index(Path(path), self._index, {"scorer": scorer, "caller": dict(options or {})})

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalRetriever:
        """Read a retriever that `save` wrote; the arguments and errors are those of `LexicalIndex.load`."""
        return cls.load_with_options(path, mmap, analyzer)[0]

    @classmethod
    def load_with_options(
        cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None
    ) -> tuple[LexicalRetriever, dict[str, Any]]:
        """`load`, with the options given to `save`."""
        from prorank_plugins.lexical.folders import load_index

        return cls._of_saved(path, *load_index(Path(path), mmap, analyzer))

    @classmethod
    def open(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalRetriever:
        """`load` a retriever for writing; see `LexicalIndex.open`. Use as a context manager or `close` it."""
        return cls.open_with_options(path, mmap, analyzer)[0]

    @classmethod
    def open_with_options(
        cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None
    ) -> tuple[LexicalRetriever, dict[str, Any]]:
        """`open`, with the options given to `save`."""
        from prorank_plugins.lexical.folders import open_index

        index, options = open_index(Path(path), mmap, analyzer)
        try:
            return cls._of_saved(path, index, options)
        except BaseException:
            index.close()
            raise

    @classmethod
    def _of_saved(
        cls, path: str | Path, index: LexicalIndex, options: Mapping[str, Any]
    ) -> tuple[LexicalRetriever, dict[str, Any]]:
        if not index.keeps_documents:
            raise IndexFormatError(f"{path} holds an index without documents; load it with LexicalIndex.load")
        caller = options.get("caller")
        return cls.of_index(index, _restore_scorer(options.get("scorer"), path)), dict(caller or {})

    def refresh(self) -> bool:
        """Take over what a writer has added to the folder since a `load`; see `LexicalIndex.refresh`."""
        return self._index.refresh()

    def compact(self) -> None:
        """Merge segments and forget unused terms; see `LexicalIndex.compact`."""
        self._index.compact()

    def close(self) -> None:
        """Let others write to the folder; see `LexicalIndex.close`."""
        self._index.close()

    def __enter__(self) -> LexicalRetriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def copy(self) -> LexicalRetriever:
        """A retriever of its own with the same content; what is not edited is shared."""
        return LexicalRetriever.of_index(self._index.copy(), self.scorer)

    __copy__ = copy

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self._index, "scorer": self.scorer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._index, self.scorer = state["index"], state["scorer"]

    def __repr__(self) -> str:
        return f"LexicalRetriever({len(self)} documents, scorer={self.scorer!r})"


def _scored(hits: Hits) -> list[ScoredDocument]:
    """Copies of the documents with their scores."""
    return [
        ScoredDocument(document.copy(), score)
        for document, score in zip(hits.documents(), hits.scores.tolist(), strict=True)
    ]


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


def _restore_scorer(saved: Any, path: str | Path) -> Scorer:
    fields = dict(saved) if isinstance(saved, dict) else {}
    kind = _SCORERS.get(fields.pop("name", ""))
    if kind is None:
        raise IndexFormatError(f"{path} names an unknown scorer {saved!r}; upgrade prorank-plugins")
    try:
        return kind(**fields)
    except (TypeError, ConfigError) as error:
        raise IndexFormatError(f"{path} names a scorer that cannot be restored ({error})") from error
