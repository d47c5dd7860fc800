"""Corpora, queries and scorers that are hard on pruning, and the ranking that every search is held to."""

from collections import Counter
from dataclasses import dataclass
from itertools import chain, pairwise

import numpy as np

from prorank_plugins import BM25, BMX, LexicalIndex, WeightedQuery
from prorank_plugins.lexical.content import Edit
from prorank_plugins.lexical.scorers.plan import ScorePlan
from prorank_plugins.lexical.segment import MOST_DOCS, Segment, named
from prorank_plugins.lexical.term_counts import TermCounts

# What is expected


def ranking(scores, mask=None):
    """Rows of all matching documents: by score, descending, then by insertion."""
    allowed = scores if mask is None else np.where(mask, scores, 0.0)
    found = np.flatnonzero(allowed > 0)
    return found[np.argsort(-allowed[found], kind="stable")]


def assert_hits(hits, scores, expected, k, context=""):
    """The first ``k`` of the ranking, bit for bit."""
    expected = expected[:k]
    assert hits.rows.tolist() == expected.tolist(), context
    assert hits.scores.tobytes() == scores[expected].astype(np.float32).tobytes(), context


def assert_exact(index, query, ks, scorer=None, filter=None, mask=None):
    """Every ``k`` gives the best of all scores; ``mask`` says what ``filter`` lets through."""
    scorer = BMX() if scorer is None else scorer
    mask = filter if mask is None else mask
    scores = index.scores(query, scorer)
    expected = ranking(scores, mask)
    for k in ks:
        hits = index.search(query, k, scorer, filter=filter)
        assert_hits(hits, scores, expected, k, f"k={k} {scorer!r}")
    if ks and len(expected):
        ids = index.ids
        assert hits.ids[:5] == [ids[row] for row in expected[: min(5, ks[-1])].tolist()]


# Scorers


@dataclass(frozen=True)
class Patchwork:
    """A plan that no formula makes: every number of a row differs from those of other terms.

    Attributes:
        weight, floor, bonus, offset, slope: how large each part is.
    """

    weight: float = 1.0
    floor: float = 1.0
    bonus: float = 1.0
    offset: float = 1.0
    slope: float = 1.0

    def plan(self, query, stats):
        query = query.known()
        idfs = stats.idfs[query.ids]
        waves = [np.sin(1000 * idfs * step) ** 2 for step in (1.3, 2.1, 2.9, 3.7)]
        return ScorePlan(
            terms=query.ids,
            groups=query.groups,
            counts=query.counts,
            weights=self.weight * waves[0] * query.weights * idfs,
            offsets=self.offset * waves[1],
            floors=self.floor * waves[2] * query.weights,
            bonuses=self.bonus * waves[3] * query.weights,
            idfs=idfs,
            entropies=np.zeros(len(query.ids)),
            query_lengths=query.totals(query.counts),
            slope=self.slope,
        )

    def score_max(self, query, stats):
        return None


@dataclass(frozen=True)
class Valued:
    """A term adds what it is worth, so that a score is a subset's sum.

    Attributes:
        values: (term, value) pairs.
        share: how much of it depends on the document's term frequency and length.
    """

    values: tuple[tuple[str, float], ...]
    share: float = 0.0

    def plan(self, query, stats):
        query = query.known()
        worth = dict(self.values)
        values = np.array([worth[term] for term in query.terms], np.float64)
        zeros = np.zeros(len(values))
        return ScorePlan(
            terms=query.ids,
            groups=query.groups,
            counts=query.counts,
            weights=self.share * values,
            offsets=zeros + 0.1,
            floors=(1 - self.share) * values,
            bonuses=zeros,
            idfs=zeros,
            entropies=zeros,
            query_lengths=query.totals(query.counts),
            slope=0.3,
        )

    def score_max(self, query, stats):
        return None


SCORERS = {
    "reference": BMX(),
    "paper": BMX(variant="paper"),
    "merge": BMX(repeats="merge"),
    "normalised": BMX(normalize="bound"),
    "normalised-paper": BMX(variant="paper", normalize="paper", repeats="merge"),
    "plain": BMX(alpha=0, beta=0),
    "coverage": BMX(beta=10),
    "bm25": BM25(),
    "bm25-k0": BM25(k1=0),
    "bm25-b0": BM25(b=0),
    "bm25-b1": BM25(b=1),
    "patchwork": Patchwork(),
    "floors": Patchwork(weight=0, bonus=0),
    "bonuses": Patchwork(weight=0, floor=0),
}


# Corpora


def terms(numbers):
    """Names of term numbers."""
    return [f"t{number}" for number in np.asarray(numbers).tolist()]


def zipf_corpus(rng, n_docs, n_terms, mean_length, exponent=1.0):
    """Token lists with Zipf's frequencies, Poisson lengths; some documents may be empty."""
    shares = 1.0 / np.arange(1, n_terms + 1) ** exponent
    return corpus_of(rng, rng.poisson(mean_length, n_docs), shares)


def corpus_of(rng, lengths, shares):
    """Token lists of the given lengths with the given (n_terms,) frequencies of terms."""
    lengths = np.asarray(lengths)
    names = np.array(terms(np.arange(len(shares))), object)
    tokens = names[rng.choice(len(shares), int(lengths.sum()), p=shares / shares.sum())].tolist()
    ends = np.cumsum(lengths).tolist()
    return [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def index_of(corpus, ids=None):
    return LexicalIndex.build(corpus, ids, analyzer=None)


class Counted(Counter):
    """A document as {term: tf}, for tfs too large to write out; enough of a list for the oracles."""

    def count(self, term):
        return self[term]

    def __len__(self):
        return self.total()


def index_of_counts(documents):
    """The index that `LexicalIndex.build` would make of the `Counted` documents, were they written out."""
    index = index_of([])
    content = index._now
    for start in range(0, len(documents), MOST_DOCS):
        part = documents[start : start + MOST_DOCS]
        numbers = [content.vocabulary.add(term) for term in chain.from_iterable(part)]
        freqs = [freq for document in part for freq in document.values()]
        counts = TermCounts(
            np.array(numbers, np.int32),
            np.array(freqs, np.int32),
            np.array([len(list(document)) for document in part], np.int32),
            np.array([document.total() for document in part], np.int32),
        )
        ids = [str(row) for row in range(start, start + len(part))]
        index._apply(Edit((), named([Segment.build((), counts)], ids, None)))
    return index


# Random cases


def random_corpus(rng, most_docs=4000):
    """Token lists of a shape drawn at random: lengths, repetitions, copies and empty documents vary."""
    n_docs = int(rng.choice([1, 3, 50, 300, 1500, most_docs]))
    n_terms = int(rng.choice([1, 2, 5, 20, 300]))
    shares = 1.0 / np.arange(1, n_terms + 1) ** rng.choice([0.0, 0.5, 1.0, 2.0])
    mean = float(rng.choice([1, 3, 8, 20]))
    lengths = {
        0: lambda: np.full(n_docs, int(mean)),
        1: lambda: rng.geometric(1 / (mean + 1), n_docs) - 1,
        2: lambda: np.minimum(rng.lognormal(np.log(mean), 1.5, n_docs).astype(int), 3000),
    }[int(rng.integers(3))]()
    corpus = corpus_of(rng, lengths, shares)
    if rng.random() < 0.4:  # few documents, many times
        shapes = corpus[: int(rng.integers(1, 8))]
        corpus = [shapes[i] for i in rng.integers(len(shapes), size=n_docs).tolist()]
    if rng.random() < 0.3:  # a run of one term, which makes for large frequencies
        for row in rng.integers(n_docs, size=3).tolist():
            corpus[row] = corpus[row] + ["t0"] * int(rng.choice([12, 13, 14, 15, 300, 5000]))
    return corpus


def random_query(rng, n_terms=320):
    """A query, plain, repeated or weighted, with terms that no document holds."""

    def plain(size):
        numbers = np.minimum(rng.geometric(0.05, size) - 1, n_terms) if rng.random() < 0.7 else None
        return terms(rng.integers(n_terms, size=size) if numbers is None else numbers)

    size = int(rng.choice([1, 2, 3, 6, 20]))
    kind = rng.random()
    if kind < 0.6:
        return plain(size) * int(rng.choice([1, 1, 1, 7]))
    weights = 10.0 ** rng.uniform(*((-12, 12) if kind > 0.85 else (-1, 1)), 3)
    return WeightedQuery([(plain(size), float(w)) for w in weights], joint=bool(rng.random() < 0.5))


def random_scorer(rng):
    """A scorer with parameters at and beyond their usual ends."""
    kind = rng.random()
    if kind < 0.45:
        return BMX(
            alpha=[None, 0.0, 0.01, 1.0, 50.0][int(rng.integers(5))],
            beta=[None, 0.0, 1.0, 10.0][int(rng.integers(4))],
            variant=["reference", "paper"][int(rng.integers(2))],
            repeats=["keep", "merge"][int(rng.integers(2))],
            normalize=["none", "none", "bound", "paper"][int(rng.integers(4))],
        )
    if kind < 0.75:
        return BM25(k1=float(rng.choice([0, 0.1, 1.5, 1000])), b=float(rng.choice([0, 0.5, 0.75, 1])))
    return Patchwork(*rng.choice([0.0, 1e-6, 1.0, 30.0], 5).tolist())


def random_layout(rng, corpus):
    """The corpus as an index that came about by several edits, and nothing else."""
    cuts = np.sort(rng.integers(0, len(corpus) + 1, int(rng.choice([0, 1, 3, 12]))))
    bounds = [0, *cuts.tolist(), len(corpus)]
    index = index_of([])
    for start, stop in pairwise(bounds):
        index.add(corpus[start:stop], [f"d{row}" for row in range(start, stop)])
    if (share := float(rng.choice([0, 0, 0.02, 0.3, 0.6, 0.97]))) > 0:
        if rng.random() < 0.5:
            gone = np.flatnonzero(rng.random(len(corpus)) < share)
        else:
            gone = np.arange(int(len(corpus) * share))
        index.delete([f"d{row}" for row in gone.tolist()])
    if rng.random() < 0.2:
        index.compact()
    return index


def random_filter(rng, index):
    """(filter, mask): nothing, or a set of ids or a mask of any selectivity."""
    n_docs = len(index)
    if rng.random() < 0.5:
        return None, None
    mask = rng.random(n_docs) < float(rng.choice([0, 1 / max(n_docs, 1), 0.1, 0.9, 1]))
    if rng.random() < 0.5:
        return mask, mask
    ids = index.ids
    return {ids[row] for row in np.flatnonzero(mask).tolist()}, mask


def check_random_case(seed):
    """One corpus and layout, several queries, scorers, filters and ks."""
    rng = np.random.default_rng(seed)
    index = random_layout(rng, random_corpus(rng))
    n_docs = len(index)
    for _ in range(4):
        query, scorer = random_query(rng), random_scorer(rng)
        filter, mask = random_filter(rng, index)
        ks = [1, 2, 9, 10, 11, 64, 65, 100, 101, 1000, 1001, max(1, n_docs), n_docs + 1]
        assert_exact(index, query, rng.choice(ks, 5).tolist(), scorer, filter, mask)
