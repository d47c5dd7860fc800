"""The inverted index as its users see it: build, search, explain, edit, save."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerLike, as_analyzer
from prorank_plugins.lexical.arguments import check_k, check_threads, id_list, new_ids
from prorank_plugins.lexical.asking import Asked, ask
from prorank_plugins.lexical.content import Content, Edit
from prorank_plugins.lexical.counting import TermCounter, Text
from prorank_plugins.lexical.exhaustive import score_all
from prorank_plugins.lexical.explain import Explanation, explain_document
from prorank_plugins.lexical.filters import DocumentFilter, row_mask
from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.lookup import Seen, look_up
from prorank_plugins.lexical.merging import merge_small
from prorank_plugins.lexical.plain import PlainSearch, plain_tokens
from prorank_plugins.lexical.planning import plan_queries
from prorank_plugins.lexical.progress import progress_bar
from prorank_plugins.lexical.queries import Query, WeightedQuery
from prorank_plugins.lexical.quick import can_be_quick, plan_quickly
from prorank_plugins.lexical.ready import Ready
from prorank_plugins.lexical.scorers.bmx import BMX
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.lexical.segment import Segment, named
from prorank_plugins.lexical.state import Ids
from prorank_plugins.lexical.topk import best_documents

if TYPE_CHECKING:
    from prorank_plugins.lexical.durable import Home

Replace: TypeAlias = Literal["none", "any", "all"]

_DEFAULT_SCORER = BMX()
_DEFAULT_ANALYZER = Analyzer("en")

# Queries handed to one kernel call at least, where there are so many, and at most; the most result slots
# (16 bytes each) allocated for one.
_ONE = slice(0, 1)
_FEW_QUERIES = 8
_QUERIES_PER_CALL = 256
_SLOTS_PER_CALL = 1 << 21


class LexicalIndex:
    """Documents indexed by their terms, searched by BMX, BM25 or any other `Scorer`.

    Made by `build`, `load` or `open`. Searches may run in many threads while another edits: each sees the
    index as it was when the search began. Edits wait for one another.
    """

    def __init__(self, content: Content, analyzer: Analyzer | None) -> None:
        self._unchecked: Callable[[], None] | None = None
        self._home: Home | None = None
        self._now = content
        self._plain: PlainSearch | None = None
        self._analyzer = analyzer
        self._editing = threading.RLock()
        # Held for as long as it takes to look up a query's terms or to put an edit in place.
        self._swapping = threading.Lock()
        # Twice the edits that changed statistics in place, odd while one does.
        self._n_swaps = 0

    @classmethod
    def build(
        cls,
        texts: Iterable[Text],
        ids: Iterable[str] | None = None,
        analyzer: AnalyzerLike | None = _DEFAULT_ANALYZER,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> LexicalIndex:
        """Index documents, read once and in order; memory grows with the index, not with the texts.

        Args:
            texts: documents as str, or as token lists for ``analyzer=None``. Generators are fine.
            ids: unique keys, one a document; None numbers them "0", "1", ...
            analyzer: an `Analyzer` or what makes one, or None when ``texts`` are token lists (queries
                are token lists then, too).
            n_threads: accepted for indexing in parallel; analysis runs on one thread in this release.
            progress: show a progress bar.

        Raises:
            ConfigError: a text or id of the wrong type, ids that repeat or are not as many as the texts.
        """
        check_threads(n_threads)
        index = cls(Content.empty(), as_analyzer(analyzer))
        index._insert(texts, ids, progress=progress)
        return index

    @property
    def _content(self) -> Content:
        if (check := self._unchecked) is not None:
            check()
            self._unchecked = None
        return self._now

    @_content.setter
    def _content(self, content: Content) -> None:
        self._now, self._plain = content, None

    def live_in(self, home: Home, check: Callable[[], None] | None) -> None:
        """Tell ``home`` of edits; call ``check``, which raises if content is damaged, before first use."""
        self._home, self._unchecked = home, check

    # Searching

    def search(
        self,
        query: Query | WeightedQuery,
        k: int = 10,
        scorer: Scorer = _DEFAULT_SCORER,
        filter: DocumentFilter = None,
    ) -> Hits:
        """The ``k`` best documents that share a term with the query, or fewer.

        Args:
            query: text (or a token list, for an index built from token lists) or a `WeightedQuery`.
            k: at least 0; more than the index holds is fine.
            scorer: `BMX`, `BM25` or another `Scorer`.
            filter: the only documents that may come back: a collection of ids or a boolean mask (n_docs,).

        Raises:
            ConfigError: an argument of the wrong type or range.
        """
        if filter is None and (found := self._search_plainly(query, k, scorer)) is not None:
            return found
        k = check_k(k)
        ready = self._prepare(ask([query], self._analyzer), scorer)
        allowed = row_mask(filter, ready.state)
        k = min(k, ready.state.n_docs)
        return best_documents(ready, allowed, _ONE, k)[0] if k else Hits.none()

    def _search_plainly(self, query: Any, k: Any, scorer: Scorer) -> Hits | None:
        """`search` without a filter on the shortest way; None for anything out of the ordinary."""
        tokens = plain_tokens(query, self._analyzer)
        if tokens is None or type(k) is not int or k < 1 or self._unchecked is not None:
            return None
        # Threads that take turns with a lock for each search would wake one another all the time. So numbers
        # are read without it, and once more under it where an edit was put in place meanwhile.
        plain, n_swaps = self._plain, self._n_swaps
        if plain is not None and plain.content is self._now and plain.scorer is scorer and n_swaps % 2 == 0:
            room = plain.plan(tokens)
            if self._n_swaps == n_swaps:
                return None if room is None else plain.find(room, k)
        with self._swapping:
            plain = self._plain = PlainSearch.of(self._now, scorer)
            room = None if plain is None else plain.plan(tokens)
        return None if plain is None or room is None else plain.find(room, k)

    def search_many(
        self,
        queries: Iterable[Query | WeightedQuery],
        k: int = 10,
        scorer: Scorer = _DEFAULT_SCORER,
        n_threads: int | None = None,
        progress: bool = False,
        filter: DocumentFilter = None,
    ) -> list[Hits]:
        """`search` for many queries; same results, less work for each.

        Args:
            queries: as for `search`.
            k: as for `search`.
            scorer: as for `search`.
            n_threads: threads to search with; None takes as many as there are cores.
            progress: show a progress bar.
            filter: as for `search`, the same for all queries.
        """
        if isinstance(queries, (str, bytes, WeightedQuery)):
            raise ConfigError(f"queries must be an iterable of queries, found one {type(queries).__name__}")
        k, workers = check_k(k), check_threads(n_threads)
        ready = self._prepare(ask(queries, self._analyzer), scorer)
        state = ready.state
        allowed = row_mask(filter, state)
        n_queries, k = len(ready.ends) - 1, min(k, state.n_docs)
        if k == 0:
            return [Hits.none() for _ in range(n_queries)]
        share = max(_FEW_QUERIES, -(-n_queries // workers))
        step = max(1, min(share, _QUERIES_PER_CALL, _SLOTS_PER_CALL // k))
        if n_queries <= step and not progress:
            return best_documents(ready, allowed, slice(0, n_queries), k)

        def run(start: int) -> list[Hits]:
            span = slice(start, min(start + step, n_queries))
            return best_documents(ready, allowed, span, k)

        starts = range(0, n_queries, step)
        with progress_bar(progress, "searching", "query", n_queries) as bar:
            found: list[Hits] = []
            if min(workers, len(starts)) <= 1:
                for start in starts:
                    found += run(start)
                    bar.update(len(found) - start)
                return found
            with ThreadPoolExecutor(workers) as pool:
                for hits in pool.map(run, starts):
                    found += hits
                    bar.update(len(hits))
            return found

    def scores(self, query: Query | WeightedQuery, scorer: Scorer = _DEFAULT_SCORER) -> NDArray[np.float64]:
        """(n_docs,) exact score of every document in order of insertion, 0.0 where nothing matches."""
        ready = self._prepare(ask([query], self._analyzer), scorer)
        scores, live = score_all(ready, 0), ready.state.live_rows
        return scores if live is None else scores[live]

    def explain(
        self,
        query: Query | WeightedQuery,
        id: str,
        scorer: Scorer = _DEFAULT_SCORER,
    ) -> Explanation:
        """Take the score of one document apart; ``print`` shows it as a tree.

        Raises:
            UnknownIdError: the index holds no such document.
        """
        planned = plan_queries(ask([query], self._analyzer), scorer, self._look_up)
        return explain_document(planned, planned.state.rows_of([id])[0], repr(scorer))

    def _prepare(self, asked: Asked, scorer: Scorer) -> Ready:
        """Plans for the kernel, of one moment."""
        if can_be_quick(asked, scorer):
            with self._swapping:
                return plan_quickly(asked, scorer, self._content)
        return plan_queries(asked, scorer, self._look_up).ready()

    def _look_up(self, asked: Asked) -> Seen:
        """What a plan needs to know of the index, all of one moment."""
        with self._swapping:
            return look_up(asked, self._content)

    # Editing

    def add(self, texts: Iterable[Text], ids: Iterable[str] | None = None) -> list[str]:
        """Add documents after the present ones; returns their ids. Takes O(documents) time.

        Raises:
            ConfigError: as for `build`, or an id that is taken; nothing is added then.
        """
        return list(self._insert(texts, ids))

    def delete(self, ids: Iterable[str], missing_ok: bool = False) -> list[str]:
        """Remove documents; returns the ids of those removed. Takes O(documents) time.

        Args:
            ids: the documents.
            missing_ok: pass over ids that are not in the index.

        Raises:
            UnknownIdError: an id is not in the index; nothing is removed then.
        """
        with self._editing:
            state, keys = self._content.state, id_list(ids)
            if missing_ok:
                keys = [key for key in keys if state.row_of(key) is not None]
            if rows := state.rows_of(keys):
                self._apply(Edit(rows))
            return keys

    def update(self, ids: Iterable[str], texts: Iterable[Text]) -> None:
        """Replace the texts of documents. They move to the end, as if deleted and added.

        Raises:
            UnknownIdError: an id is not in the index; nothing is changed then.
            ConfigError: as for `build`; nothing is changed then.
        """
        self._insert(texts, id_list(ids), replace="all")

    def upsert(self, ids: Iterable[str], texts: Iterable[Text]) -> None:
        """`update` the documents that are in the index and `add` the others, as one edit.

        Raises:
            ConfigError: as for `build`; nothing is changed then.
        """
        self._insert(texts, id_list(ids), replace="any")

    def insert_documents(
        self,
        documents: Sequence[Document],
        replace: Replace = "none",
        n_threads: int | None = None,
        progress: bool = False,
    ) -> list[str]:
        """Add documents and keep them, for an index that does; returns their ids.

        Args:
            documents: with unique ids.
            replace: documents with the same ids: ``"none"`` may be there, ``"any"`` that are there are
                replaced, ``"all"`` must be there.
            n_threads: as for `build`.
            progress: show a progress bar.

        Raises:
            ConfigError: as for `build`, or an id that is taken.
            UnknownIdError: an id that should be there.
        """
        check_threads(n_threads)
        ids = [document.id for document in documents]
        texts = [document.text for document in documents]
        return list(self._insert(texts, ids, documents, replace, progress))

    def _insert(
        self,
        texts: Iterable[Text],
        ids: Iterable[str] | None,
        documents: Sequence[Document] | None = None,
        replace: Replace = "none",
        progress: bool = False,
    ) -> Sequence[str]:
        with self._editing:
            content, state = self._content, self._content.state
            if replace == "all":
                state.rows_of(ids := list(ids or ()))
            if state.keeps_documents and documents is None:
                texts = list(texts)
            counter = TermCounter(self._analyzer, content.vocabulary)
            unnamed = [Segment.build((), counts) for counts in counter.batches(texts, progress)]
            n_docs = sum(segment.n_docs for segment in unnamed)
            keys = new_ids(ids, n_docs, state.n_docs, lambda key: replace == "none" and key in state)
            if state.keeps_documents and documents is None:
                documents = [Document(key, str(text)) for key, text in zip(keys, texts, strict=True)]
            rows = [] if replace == "none" else [state.row_of(key) for key in keys]
            replaced = [row for row in rows if row is not None]
            self._apply(Edit(replaced, named(unnamed, keys, documents)))
            return keys

    def _apply(self, edit: Edit) -> None:
        """Write an edit down where the index was opened, then put it in place."""
        content = self._content
        if self._home is not None:
            self._home.keep(edit, content)
        self._put(edit)
        if self._home is not None:
            self._home.settle(self._content)

    def _put(self, edit: Edit) -> None:
        """Put an edit in place, and merge segments where there are many."""
        content = self._content
        change = content.small_change(edit)
        if change is None:
            self._content = content.edited(edit)
        else:
            after = content.with_state(content.state_after(edit))
            with self._swapping:
                self._n_swaps += 1
                content.statistics.put(change)
                self._content = after
                self._n_swaps += 1
        state = self._content.state
        if (merged := merge_small(state)) is not state:
            self._content = self._content.with_state(merged)

    def compact(self) -> None:
        """Merge all segments into full ones and forget the terms that no document contains any more.

        Scores do not change.
        """
        with self._editing:
            compacted = self._content.compacted()
            if self._home is not None:
                self._home.keep_all(compacted)
            self._content = compacted

    # Looking at it

    def __len__(self) -> int:
        return self._now.state.n_docs

    def __contains__(self, id: object) -> bool:
        return self._content.state.row_of(id) is not None

    def __repr__(self) -> str:
        return f"LexicalIndex({len(self)} documents, {self.n_terms} terms)"

    @property
    def n_terms(self) -> int:
        """Distinct terms of the documents."""
        return int(np.count_nonzero(self._content.statistics.doc_freqs))

    @property
    def ids(self) -> Sequence[str]:
        """The documents' ids in order of insertion."""
        return Ids(self._content.state)

    @property
    def keeps_documents(self) -> bool:
        """Whether the documents are kept with the index, as a `LexicalRetriever` has it."""
        return self._now.state.keeps_documents

    @property
    def documents(self) -> Sequence[Document]:
        """The documents in order of insertion, as they are now, for an index that keeps them."""
        return self._content.state.documents

    def with_documents(self, documents: Sequence[Document]) -> LexicalIndex:
        """A copy that keeps documents.

        Args:
            documents: those of the index, in order of insertion.

        Raises:
            ConfigError: not as many as the index holds.
        """
        if len(self) != len(documents):
            raise ConfigError(f"{len(documents)} documents for an index of {len(self)}; they must match")
        content = self._content.copy()
        return LexicalIndex(content.with_state(content.state.keeping(documents)), self._analyzer)

    @property
    def analyzer(self) -> Analyzer | None:
        """What analyses documents and queries; None for an index of token lists."""
        return self._analyzer

    # Saving and copying

    def copy(self) -> LexicalIndex:
        """An index of its own with the same content; the arrays are shared until either is edited."""
        with self._swapping:
            return LexicalIndex(self._content.copy(), self._analyzer)

    def snapshot(self) -> Content:
        """The present content, which later edits do not change, for writing."""
        return self.copy()._content

    def save(self, path: str | Path) -> None:
        """Write the index to a folder; see `prorank_plugins.lexical.persistence`.

        The folder appears or changes as a whole: a crash leaves the old index or the new one. An index that
        is open at this very folder has its journal worked into the files.

        Raises:
            ConfigError: the folder holds something else, or a document's metadata is not JSON.
            IndexLockedError: another index, here or in another process, is open for writing there.
        """
        from prorank_plugins.lexical.folders import save_index

        save_index(Path(path), self)

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalIndex:
        """Read an index that `save` wrote, as it is now. Edits to it stay in memory.

        Args:
            path: the folder.
            mmap: map the arrays instead of reading them: several processes share one copy in memory.
            analyzer: needed only if the index was built with a callable, which is not saved.

        Raises:
            IndexNotFoundError: no folder there.
            CorruptIndexError: incomplete or damaged.
            IndexFormatError: another kind, a newer format or another analyzer.
        """
        from prorank_plugins.lexical.folders import load_index

        return load_index(Path(path), mmap, analyzer)[0]

    @classmethod
    def open(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalIndex:
        """`load` an index for writing: each edit is on the disk when the call returns.

        A crash at any point leaves the edits that have returned, and all or nothing of the one that has not.
        Others may load the index meanwhile and `refresh` it. Use as a context manager or `close` it.

        Raises:
            IndexLockedError: another index, here or in another process, is open for writing there.
            ConfigError: the folder cannot be written to.
        """
        from prorank_plugins.lexical.folders import open_index

        return open_index(Path(path), mmap, analyzer)[0]

    def refresh(self) -> bool:
        """Take over what a writer has added to the folder since a `load`; returns whether there was anything.

        An index that is open for writing is up to date by itself.

        Raises:
            ConfigError: the index was not loaded, or has been edited in memory.
            CorruptIndexError: as for `load`.
            IndexFormatError: the folder now holds an index with another analyzer, or has or lacks documents.
        """
        from prorank_plugins.lexical.durable import LoadedFrom

        with self._editing:
            if self._home is None:
                raise ConfigError("only an index that was loaded from a folder can be refreshed; see load")
            if not isinstance(self._home, LoadedFrom):
                return False
            news = self._home.news(self._now)
            if isinstance(news, Edit):
                self._put(news)
            elif news is not None:
                self._unchecked = None
                self._content = news
            return news is not None

    def checkpoint(self, path: Path, options: Mapping[str, Any] | None = None) -> bool:
        """Work the journal into the files, if the index is open for writing at ``path``; else return False.

        Args:
            path: a folder.
            options: JSON data of the caller's, returned when the index is loaded; None for what they were.
        """
        with self._editing:
            if self._home is None or not self._home.writes_to(path):
                return False
            self._home.keep_all(self._content, options)
            return True

    def close(self) -> None:
        """Let others write to the folder. Searches go on; an edit of an index that was opened is an error."""
        with self._editing:
            if self._home is not None:
                self._home.close()

    def __enter__(self) -> LexicalIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"content": self.snapshot(), "analyzer": self._analyzer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["content"], state["analyzer"])  # type: ignore[misc]
