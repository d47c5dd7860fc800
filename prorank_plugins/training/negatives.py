"""Which documents of a lexical ranking become the negatives of a question."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prorank_plugins.lexical.hits import Hits
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.scorers.plan import Scorer
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.questions import Question
from prorank_plugins.training.texts import normalized

FalseNegativeTest = Callable[[str, str, str], bool]

# Random documents looked at for each that is missing, when groups are filled.
_TRIES = 50


@dataclass(frozen=True)
class MiningOptions:
    """The checked arguments of `mine_negatives` that decide about negatives.

    Attributes:
        n_negatives: negatives a question, at least 1.
        ranks: first and last rank to draw from, from 1.
        margin: share of the best relevant document's score that candidates may reach; None for any.
        is_false_negative: (query, relevant text, candidate) to whether the candidate is passed over.
        top: take the best instead of drawing.
        seed: of the draws.
        fill: add random documents where negatives are missing.
        scorer: ranks the candidates.
    """

    n_negatives: int
    ranks: tuple[int, int]
    margin: float | None
    is_false_negative: FalseNegativeTest | None
    top: bool
    seed: int
    fill: bool
    scorer: Scorer


@dataclass
class MiningCounts:
    """What became of the questions that were mined so far.

    Attributes:
        questions: looked at.
        groups: given out.
        short: groups with fewer negatives than wanted.
        filled: groups to which random documents were added.
        unguarded: questions without a relevant document in the corpus, whose score ``margin`` needs.
        without_positives: questions left out since no relevant text is known.
        without_negatives: questions left out since no negative was found.
    """

    questions: int = 0
    groups: int = 0
    short: int = 0
    filled: int = 0
    unguarded: int = 0
    without_positives: int = 0
    without_negatives: int = 0

    @property
    def dropped(self) -> int:
        """Questions left out."""
        return self.without_positives + self.without_negatives


class Miner:
    """Chooses the negatives of one question after the other and keeps count."""

    def __init__(self, texts: Mapping[str, str], index: LexicalIndex, options: MiningOptions) -> None:
        self._texts, self._index, self._options = texts, index, options
        self.counts = MiningCounts()

    def search(self, questions: Sequence[Question], n_threads: int | None) -> list[Hits]:
        """The ranking of each question down to the last rank drawn from."""
        texts = [question.text for question in questions]
        last = self._options.ranks[1]
        return self._index.search_many(texts, last, self._options.scorer, n_threads=n_threads)

    def group(self, question: Question, hits: Hits, position: int) -> RankingGroup | None:
        """The question's group, None if it has no relevant text or no negative."""
        counts = self.counts
        counts.questions += 1
        if not question.relevant:
            counts.without_positives += 1
            return None
        negatives = self._negatives(question, hits, position)
        if not negatives:
            counts.without_negatives += 1
            return None
        counts.groups += 1
        counts.short += len(negatives) < self._options.n_negatives
        grades = [*question.relevant.values(), *([0.0] * len(negatives))]
        return RankingGroup(question.text, [*question.relevant, *negatives], grades)

    def _negatives(self, question: Question, hits: Hits, position: int) -> list[str]:
        options = self._options
        rng = np.random.default_rng([options.seed, position])
        ceiling = self._ceiling(question, hits)
        first, last = options.ranks
        window = list(hits)[first - 1 : last]
        order = range(len(window)) if options.top else rng.permutation(len(window)).tolist()
        # Checked in the order of the draw, so that a costly test sees no more candidates than needed.
        places = (place for place in order if window[place][1] <= ceiling)
        barred = {normalized(text) for text in question.relevant}
        chosen = self._accepted(question, ((place, window[place][0]) for place in places), barred, 0)
        negatives = [text for _, text in sorted(chosen)]
        if options.fill and len(negatives) < options.n_negatives:
            rows = self._beyond(question, hits, ceiling, rng, options.n_negatives - len(negatives))
            added = self._accepted(question, rows, barred, len(negatives))
            self.counts.filled += bool(added)
            negatives += [text for _, text in added]
        return negatives

    def _accepted(
        self, question: Question, candidates: Iterable[tuple[int, str]], barred: set[str], n_present: int
    ) -> list[tuple[int, str]]:
        """``(key, text)`` of the first ``(key, id)`` that are no false negatives.

        Their normalized texts are added to ``barred``.
        """
        accepted: list[tuple[int, str]] = []
        for key, id in candidates:
            text = self._texts[id]
            plain = normalized(text)
            if plain in barred or self._is_false_negative(question, text):
                continue
            barred.add(plain)
            accepted.append((key, text))
            if n_present + len(accepted) == self._options.n_negatives:
                break
        return accepted

    def _is_false_negative(self, question: Question, candidate: str) -> bool:
        test = self._options.is_false_negative
        return test is not None and any(
            test(question.text, positive, candidate) for positive in question.relevant
        )

    def _ceiling(self, question: Question, hits: Hits) -> float:
        """The score above which a candidate is too much like a relevant document."""
        if self._options.margin is None:
            return math.inf
        ids = {id for id in question.ids if id in self._index}
        if not ids:
            self.counts.unguarded += 1
            return math.inf
        # Hits descend: if one relevant document is among them, the first is the best of all.
        best = next((score for id, score in hits if id in ids), 0.0)
        if best == 0.0 and len(hits) == self._options.ranks[1]:
            found = self._index.search(question.text, 1, self._options.scorer, filter=ids)
            best = float(found.scores[0]) if len(found) else 0.0
        return self._options.margin * best

    def _beyond(
        self, question: Question, hits: Hits, ceiling: float, rng: np.random.Generator, n_missing: int
    ) -> Iterator[tuple[int, str]]:
        """Random ``(row, id)`` that are not among the hits and score no higher than the ceiling."""
        ids, ranked = self._index.ids, set(hits.rows.tolist())
        # Beyond the hits nothing scores higher than the last of them.
        is_low = not len(hits) or float(hits.scores[-1]) <= ceiling
        is_complete = len(hits) < self._options.ranks[1]
        scores = None if is_low or is_complete else self._index.scores(question.text, self._options.scorer)
        size = min(len(ids), _TRIES * n_missing + len(ranked))
        for row in rng.choice(len(ids), size, replace=False).tolist():
            if row not in ranked and (scores is None or np.float32(scores[row]) <= ceiling):
                yield row, ids[row]
