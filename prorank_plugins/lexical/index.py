"""The inverted index as its users see it: build, search, explain, edit, save."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.analysis import Analyzer, AnalyzerLike, as_analyzer
from prorank_plugins.lexical.arguments import check_k, check_threads, id_list, new_ids
from prorank_plugins.lexical.counting import TermCounter, Text
from prorank_plugins.lexical.exhaustive import length_norms, score_all
from prorank_plugins.lexical.explain import Explanation, explain_document
from prorank_plugins.lexical.filters import IdFilter, id_mask
from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.planning import plan_queries
from prorank_plugins.lexical.progress import progress_bar
from prorank_plugins.lexical.queries import Query, WeightedQuery
from prorank_plugins.lexical.scorers.bmx import BMX
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.lexical.segment import Segment
from prorank_plugins.lexical.topk import best_documents
from prorank_plugins.lexical.vocabulary import Vocabulary

_DEFAULT_SCORER = BMX()
_DEFAULT_ANALYZER = Analyzer("en")

# Queries handed to one kernel call, and the most result slots (16 bytes each) allocated for one.
_QUERIES_PER_CALL = 256
_SLOTS_PER_CALL = 1 << 21


class LexicalIndex:
    """Documents indexed by their terms, searched by BMX, BM25 or any other `Scorer`.

    Made by `build` or `load`. Searches may run in many threads while another edits: each sees the index
    as it was when the search began. Edits wait for one another.
    """

    def __init__(self, segment: Segment, analyzer: Analyzer | None) -> None:
        self._segment = segment
        self._analyzer = analyzer
        self._editing = threading.Lock()
        self._norms: tuple[Segment, dict[float, NDArray[np.float64]]] = (segment, {})

    @classmethod
    def build(
        cls,
        texts: Iterable[Text],
        ids: Iterable[str] | None = None,
        analyzer: AnalyzerLike | None = _DEFAULT_ANALYZER,
        n_threads: int | None = None,
        progress: bool = False,
    ) -> LexicalIndex:
        """Index documents, read once and in order.

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
        analyzer = as_analyzer(analyzer)
        vocabulary = Vocabulary()
        counts = TermCounter(analyzer, vocabulary).count(texts, progress)
        keys = new_ids(ids, len(counts.lengths), taken={})
        return cls(Segment.from_counts(keys, counts, vocabulary), analyzer)

    # Searching

    def search(
        self,
        query: Query | WeightedQuery,
        k: int = 10,
        scorer: Scorer = _DEFAULT_SCORER,
        filter: IdFilter = None,
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
        return self.search_many([query], k, scorer, n_threads=1, filter=filter)[0]

    def search_many(
        self,
        queries: Iterable[Query | WeightedQuery],
        k: int = 10,
        scorer: Scorer = _DEFAULT_SCORER,
        n_threads: int | None = None,
        progress: bool = False,
        filter: IdFilter = None,
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
        segment = self._segment
        allowed = id_mask(filter, len(segment.ids), lambda doc_id: segment.row_of.get(doc_id))
        planned = plan_queries(queries, scorer, segment, self._analyzer)
        n_queries, k = len(planned.scales), min(k, len(segment.ids))
        if k == 0:
            return [Hits.none() for _ in range(n_queries)]
        norms = self._norms_of(segment, planned.plan.slope)
        step = max(1, min(_QUERIES_PER_CALL, _SLOTS_PER_CALL // k))

        def run(start: int) -> list[Hits]:
            span = slice(start, min(start + step, n_queries))
            return best_documents(segment, norms, allowed, planned, span, k)

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
        segment = self._segment
        planned = plan_queries([query], scorer, segment, self._analyzer)
        norms = self._norms_of(segment, planned.plan.slope)
        return score_all(planned.plan, segment.postings, norms) * float(planned.scales[0])

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
        segment = self._segment
        row = segment.rows_of([id])[0]
        planned = plan_queries([query], scorer, segment, self._analyzer)
        norm = self._norms_of(segment, planned.plan.slope)[row]
        return explain_document(planned, segment, row, float(norm), repr(scorer))

    def _norms_of(self, segment: Segment, slope: float) -> NDArray[np.float64]:
        """``slope · |D| / avgdl`` of each document, remembered for the current segment."""
        of_segment, known = self._norms
        if of_segment is not segment:
            known = {}
            self._norms = (segment, known)
        if slope not in known:
            if len(known) >= 8:
                known.clear()
            norms = length_norms(slope, segment.lengths, segment.stats.average_length)
            norms.flags.writeable = False
            known[slope] = norms
        return known[slope]

    # Editing

    def add(self, texts: Iterable[Text], ids: Iterable[str] | None = None) -> list[str]:
        """Add documents after the present ones; returns their ids.

        In this release the postings are merged anew: O(index) time.

        Raises:
            ConfigError: as for `build`, or an id that is taken; nothing is added then.
        """
        with self._editing:
            counts = TermCounter(self._analyzer, self._segment.vocabulary).count(texts)
            keys = new_ids(ids, len(counts.lengths), self._segment.row_of)
            if keys:
                self._segment = self._segment.followed_by(keys, counts)
            return keys

    def delete(self, ids: Iterable[str], missing_ok: bool = False) -> list[str]:
        """Remove documents; returns the ids of those removed.

        Args:
            ids: the documents.
            missing_ok: pass over ids that are not in the index.

        Raises:
            UnknownIdError: an id is not in the index; nothing is removed then.
        """
        with self._editing:
            keys = id_list(ids)
            if missing_ok:
                keys = [key for key in keys if key in self._segment.row_of]
            if rows := self._segment.rows_of(keys):
                self._segment = self._segment.without(rows)
            return keys

    def update(self, ids: Iterable[str], texts: Iterable[Text]) -> None:
        """Replace the texts of documents. They move to the end, as if deleted and added.

        Raises:
            UnknownIdError: an id is not in the index; nothing is changed then.
            ConfigError: as for `build`; nothing is changed then.
        """
        keys = id_list(ids)
        with self._editing:
            self._segment.rows_of(keys)
            self._put(keys, texts)

    def upsert(self, ids: Iterable[str], texts: Iterable[Text]) -> None:
        """`update` the documents that are in the index and `add` the others, as one edit.

        Raises:
            ConfigError: as for `build`; nothing is changed then.
        """
        keys = id_list(ids)
        with self._editing:
            self._put(keys, texts)

    def _put(self, keys: list[str], texts: Iterable[Text]) -> None:
        segment = self._segment
        counts = TermCounter(self._analyzer, segment.vocabulary).count(texts)
        new_ids(keys, len(counts.lengths), taken={})
        replaced = [segment.row_of[key] for key in keys if key in segment.row_of]
        if keys:
            rest = segment.without(replaced) if replaced else segment
            self._segment = rest.followed_by(keys, counts)

    def compact(self) -> None:
        """Forget the terms that no document contains any more. Scores do not change."""
        with self._editing:
            self._segment = self._segment.compacted()

    # Looking at it

    def __len__(self) -> int:
        return len(self._segment.ids)

    def __contains__(self, id: object) -> bool:
        return id in self._segment.row_of

    def __repr__(self) -> str:
        segment = self._segment
        return f"LexicalIndex({len(self)} documents, {int(np.count_nonzero(segment.stats.doc_freqs))} terms)"

    @property
    def ids(self) -> Sequence[str]:
        """The documents' ids in order of insertion."""
        return self._segment.ids

    @property
    def analyzer(self) -> Analyzer | None:
        """What analyses documents and queries; None for an index of token lists."""
        return self._analyzer

    # Saving and copying

    def copy(self) -> LexicalIndex:
        """An index of its own with the same content; the arrays are shared until either is edited."""
        return LexicalIndex(self._segment, self._analyzer)

    def snapshot(self) -> tuple[Segment, Analyzer | None]:
        """The present state, which later edits do not change, for writing and for adapters."""
        return self._segment, self._analyzer

    def save(self, path: str | Path) -> None:
        """Write the index to a folder; see `prorank_plugins.lexical.persistence`.

        The folder appears or changes as a whole: a crash leaves the old index or the new one.
        """
        from prorank_plugins.lexical.persistence import save_index

        save_index(Path(path), self)

    @classmethod
    def load(cls, path: str | Path, mmap: bool = True, analyzer: Analyzer | None = None) -> LexicalIndex:
        """Read an index that `save` wrote.

        Args:
            path: the folder.
            mmap: map the arrays instead of reading them: several processes share one copy in memory.
            analyzer: needed only if the index was built with a callable, which is not saved.

        Raises:
            IndexNotFoundError: no folder there.
            CorruptIndexError: incomplete or damaged.
            IndexFormatError: another kind, a newer format or another analyzer.
        """
        from prorank_plugins.lexical.persistence import load_index

        return load_index(Path(path), mmap, analyzer)[0]

    def __getstate__(self) -> dict[str, Any]:
        return {"segment": self._segment, "analyzer": self._analyzer}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["segment"], state["analyzer"])  # type: ignore[misc]
