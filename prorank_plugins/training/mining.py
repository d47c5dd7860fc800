"""Hard negatives: documents that the lexical ranking puts high and that nobody judged relevant.

::

    for group in mine_negatives(load_beir("scifact", split="train"), n_negatives=7, ranks=(10, 100)):
        ...                                                   # RankingGroup: the positives, then negatives
    mine_negatives([("what lifts a wing", "Lift comes from ...")], texts, margin=0.95)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.progress import progress_bar
from prorank_plugins.lexical.scorers.bmx import BMX
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.training.cursors import whole_number
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.negatives import FalseNegativeTest, Miner, MiningOptions
from prorank_plugins.training.questions import (
    Pairs,
    Question,
    corpus_of,
    judged_questions,
    merged_pairs,
    paired_questions,
)

_DEFAULT_SCORER = BMX()


def mine_negatives(
    queries: BeirDataset | Mapping[str, str] | Pairs,
    documents: Iterable[Any] | Mapping[str, Any] | None = None,
    positives: Mapping[str, Mapping[str, float]] | None = None,
    *,
    n_negatives: int = 4,
    ranks: tuple[int, int] = (1, 100),
    margin: float | None = None,
    is_false_negative: FalseNegativeTest | None = None,
    strategy: str = "random",
    seed: int = 0,
    fill: bool = False,
    index: LexicalIndex | None = None,
    scorer: Scorer = _DEFAULT_SCORER,
    block_size: int = 256,
    n_threads: int | None = None,
    progress: bool = False,
) -> MinedGroups:
    """One `RankingGroup` a question: its relevant documents, then negatives of grade 0 by rank.

    A relevant document is never a negative, nor is a text that differs from a relevant one in case and
    white space only; judged documents of grade 0 or below may be. Negatives of a group differ from each
    other likewise. The same arguments give the same groups, whatever ``block_size`` and ``n_threads`` are.

    Args:
        queries: a `BeirDataset` and nothing more; or {query: text} with ``documents`` and ``positives``; or
            ``(query, relevant text)`` pairs (or ranking groups, for their relevant documents) with
            ``documents``. Pairs of the same query become one group.
        documents: the corpus: {id: text}, or an iterable of texts or of documents (`Document`, LangChain,
            LlamaIndex). None draws from the relevant texts of all pairs.
        positives: {query: {document: grade}}, with {query: text} only.
        n_negatives: negatives a question; fewer where fewer are found.
        ranks: first and last rank of the lexical ranking to draw from, from 1, relevant documents counted.
        margin: a candidate that scores above ``margin`` times the best relevant document is passed over,
            0.95 for example; None for no such limit. (``relative_margin=0.05`` in sentence-transformers.)
        is_false_negative: called with query, relevant text and candidate, for each relevant text until one
            answers True: the candidate is then passed over.
        strategy: "random" draws evenly from the ranks, "top" takes the best.
        seed: of the draws; at least 0. Each question draws from (seed, its position).
        fill: add random documents from beyond the ranking where negatives are missing.
        index: of ``documents`` with the same ids (texts without ids are numbered "0", "1", ...); None
            builds one with the English analyzer.
        scorer: ranks the candidates.
        block_size: questions searched at a time; the hits of one block are in memory.
        n_threads: threads to search with; None takes as many as there are cores.
        progress: show a progress bar.

    Raises:
        ConfigError: an argument of the wrong type or range, or ones that do not go together.
    """
    texts, questions = _asked(queries, documents, positives)
    options = MiningOptions(
        n_negatives=whole_number("n_negatives", n_negatives, 1),
        ranks=_rank_window(ranks),
        margin=_margin(margin),
        is_false_negative=is_false_negative,
        top=_is_top(strategy),
        seed=whole_number("seed", seed, 0),
        fill=bool(fill),
        scorer=scorer,
    )
    searched = _index_of(texts, index, progress)
    block_size = whole_number("block_size", block_size, 1)
    return MinedGroups(questions, Miner(texts, searched, options), block_size, n_threads, progress)


class MinedGroups(Iterator[RankingGroup]):
    """The groups of `mine_negatives`, each mined when it is wanted; for one loop.

    Attributes:
        counts: what became of the questions so far.
    """

    def __init__(
        self,
        questions: Sequence[Question],
        miner: Miner,
        block_size: int,
        n_threads: int | None,
        progress: bool,
    ) -> None:
        self.counts = miner.counts
        self._groups = _mined(questions, miner, block_size, n_threads, progress)

    def __next__(self) -> RankingGroup:
        return next(self._groups)


def _mined(
    questions: Sequence[Question], miner: Miner, block_size: int, n_threads: int | None, progress: bool
) -> Iterator[RankingGroup]:
    with progress_bar(progress, "mining", "query", len(questions)) as bar:
        for start in range(0, len(questions), block_size):
            block = questions[start : start + block_size]
            for place, hits in enumerate(miner.search(block, n_threads)):
                group = miner.group(block[place], hits, start + place)
                bar.update(1)
                if group is not None:
                    yield group


def _asked(
    queries: BeirDataset | Mapping[str, str] | Pairs,
    documents: Iterable[Any] | Mapping[str, Any] | None,
    positives: Mapping[str, Mapping[str, float]] | None,
) -> tuple[dict[str, str], list[Question]]:
    """The corpus, {id: text}, and the questions."""
    if isinstance(queries, BeirDataset):
        if documents is not None or positives is not None:
            raise ConfigError(
                "a BeirDataset brings its own documents and positives; leave both arguments out"
            )
        texts = corpus_of(queries.documents)
        return texts, judged_questions(queries.queries, queries.qrels, texts)
    if isinstance(queries, Mapping):
        if documents is None or positives is None:
            raise ConfigError(
                "queries with ids need documents and positives={query: {document: grade}}; "
                "pass (query, relevant text) pairs if there are no judgements"
            )
        texts = corpus_of(documents)
        return texts, judged_questions(queries, positives, texts)
    if positives is not None:
        raise ConfigError("pairs bring their own positives; leave positives out or pass {query: text}")
    merged = merged_pairs(queries)
    own = {text: text for found in merged.values() for text in found}
    texts = corpus_of(list(own) if documents is None else documents)
    return texts, paired_questions(merged, texts)


def _index_of(texts: Mapping[str, str], index: LexicalIndex | None, progress: bool) -> LexicalIndex:
    """The index to search, unaffected by edits of the caller's."""
    if index is None:
        return LexicalIndex.build(texts.values(), texts.keys(), progress=progress)
    if not isinstance(index, LexicalIndex):
        raise ConfigError(f"index is {type(index).__name__}; expected a LexicalIndex of the documents")
    if index.analyzer is None:
        raise ConfigError("index holds token lists; expected one built from texts, with an analyzer")
    for id in index.ids:
        if id not in texts:
            raise ConfigError(
                f"index holds the id {id!r}, which is not among the documents; pass the documents it was "
                "built from, under the same ids"
            )
    return index.copy()


def _rank_window(ranks: Any) -> tuple[int, int]:
    if not isinstance(ranks, (tuple, list)) or len(ranks) != 2:
        raise ConfigError(f"ranks is {ranks!r}; expected (first, last), counted from 1")
    first, last = (whole_number("a rank of ranks", rank, 1) for rank in ranks)
    if first > last:
        raise ConfigError(f"ranks is {ranks!r}; expected the first rank not to come after the last")
    return first, last


def _margin(margin: Any) -> float | None:
    if margin is None:
        return None
    if isinstance(margin, bool) or not isinstance(margin, (int, float)) or not 0 < margin < math.inf:
        raise ConfigError(
            f"margin is {margin!r}; expected None or a factor above 0 on the score of the relevant "
            "document, such as 0.95"
        )
    return float(margin)


def _is_top(strategy: Any) -> bool:
    if strategy not in ("random", "top"):
        raise ConfigError(f'strategy is {strategy!r}; expected "random" or "top"')
    return bool(strategy == "top")
