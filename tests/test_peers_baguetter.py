"""BMX next to baguetter, the authors' own code: the same scores to float32."""

from __future__ import annotations

import random
from importlib.util import find_spec

import numpy as np
import pytest

from prorank_plugins import BMX, LexicalIndex, WeightedQuery
from prorank_plugins.cli.bench.engines import Baguetter

MISSING = [module for module in Baguetter.modules if find_spec(module) is None]
pytestmark = [
    pytest.mark.peers,
    pytest.mark.filterwarnings("ignore::numba.core.errors.NumbaPendingDeprecationWarning"),
    pytest.mark.skipif(bool(MISSING), reason=f"{', '.join(MISSING)} not installed; run: {Baguetter.install}"),
]

# baguetter rounds idf to float32 and sums in float32.
TOLERANCE = 2e-6
SEEDS = range(12)


def random_corpus(seed):
    """2 to 200 documents over a few dozen words, some of them common, and queries with repeats and strangers.

    Frequencies stay far below 37, from where baguetter's entropies are 0 and its scores 0 / 0, and there
    are two documents at least, since it fails on one.
    """
    chance = random.Random(seed)
    words = [f"w{i}" for i in range(chance.randint(5, 60))]
    commonness = [1 / (1 + i) for i in range(len(words))]
    documents = [
        chance.choices(words, commonness, k=chance.choice([1, 5, 20, 60, 120]))
        for _ in range(chance.randint(2, 200))
    ]
    documents = [
        [word for word in dict.fromkeys(doc) for _ in range(min(doc.count(word), 30))] for doc in documents
    ]
    queries = [chance.choices([*words, "stranger"], k=chance.randint(1, 12)) for _ in range(20)]
    queries += [[words[0], words[0], "stranger", words[1]], ["stranger", words[0]]]
    return documents, [query for query in queries if set(query) & {word for doc in documents for word in doc}]


def authors_index(documents, **options):
    from prorank_plugins.cli.bench.baguetter import load_sparse

    sparse = load_sparse()
    # Stop words are given, or it would download some.
    settings = sparse.TextPreprocessorConfig(stopwords={"the"})
    index = sparse.BMXSparseIndex(preprocessor_or_config=settings, n_workers=1, **options)
    return index.add_many(list(range(len(documents))), documents)


def by_row(answer, n_docs):
    """(n_docs,) scores of an answer that holds all documents."""
    scores = np.zeros(n_docs)
    scores[list(answer.keys)] = answer.scores
    assert len(answer.keys) == n_docs
    return scores


def assert_same(found, expected):
    scale = np.maximum(np.abs(expected), 1.0)
    assert np.max(np.abs(found - expected) / scale, initial=0.0) <= TOLERANCE


@pytest.mark.parametrize("parameters", [{}, {"alpha": 0.9, "beta": 0.4}, {"alpha": 1.2}, {"beta": 0.0}])
@pytest.mark.parametrize("seed", SEEDS)
def test_scores_are_those_of_the_authors_code(seed, parameters):
    documents, queries = random_corpus(seed)
    index, theirs = LexicalIndex.build(documents, analyzer=None), authors_index(documents, **parameters)
    scorer = BMX(variant="reference", **parameters)
    for query in queries:
        expected = by_row(theirs.search(query, top_k=len(documents)), len(documents))
        assert_same(index.scores(query, scorer), expected)
        hits = index.search(query, len(documents), scorer)
        assert_same(hits.scores, expected[hits.rows])
        assert sorted(hits.rows) == np.flatnonzero(expected).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_normalised_scores_are_those_of_the_authors_code(seed):
    documents, queries = random_corpus(seed)
    index, theirs = (
        LexicalIndex.build(documents, analyzer=None),
        authors_index(documents, normalize_scores=True),
    )
    for query in queries:
        expected = by_row(theirs.search(query, top_k=len(documents)), len(documents))
        assert_same(index.scores(query, BMX(normalize="reference")), expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_joint_weighted_query_scores_as_search_weighted(seed):
    documents, queries = random_corpus(seed)
    index, theirs = LexicalIndex.build(documents, analyzer=None), authors_index(documents)
    for first, second, third in zip(queries, queries[1:], queries[2:], strict=False):
        weighted = WeightedQuery([(first, 1.0), (second, 0.3), (third, 0.3)], joint=True)
        answer = theirs.search_weighted([first, second, third], [1.0, 0.3, 0.3], top_k=len(documents))
        assert_same(index.scores(weighted), by_row(answer, len(documents)))


def test_known_words_and_unknown_ones_count_as_in_the_authors_code():
    documents = [["a", "b", "b"], ["a"], ["c", "a", "a", "a"]]
    index, theirs = LexicalIndex.build(documents, analyzer=None), authors_index(documents)
    for query in (["a", "stranger"], ["b", "b", "a"], ["c", "c", "c"], ["stranger", "b"]):
        assert_same(index.scores(query), by_row(theirs.search(query, top_k=3), 3))
