"""Pruned search against exhaustive scores, and these against dense oracles, where pruning is likely to err.

Rows, ids and float32 scores must be equal to the last bit, whatever the corpus, scorer, filter, ``k``, number
of threads or history of the index.
"""

import copy
import gc
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins import BM25, BMX, Analyzer, CorruptIndexError, LexicalIndex, WeightedQuery
from prorank_plugins.evaluation import load_beir
from prorank_plugins.lexical import merging, persistence, persistence_v1, segment
from prorank_plugins.lexical.arrays import read_only
from prorank_plugins.lexical.counting import TermCounter
from prorank_plugins.lexical.ids import NumberedIds
from prorank_plugins.lexical.kernels import searching
from prorank_plugins.lexical.scorers.plan import ScorePlan
from tests import oracles
from tests.corpora_adversarial import (
    SCORERS,
    Counted,
    Patchwork,
    Valued,
    assert_exact,
    assert_hits,
    check_random_case,
    corpus_of,
    index_of,
    index_of_counts,
    ranking,
    terms,
    zipf_corpus,
)

KS = (1, 2, 9, 10, 11, 63, 64, 65, 99, 100, 101, 999, 1000, 1001)
EVERY_SCORER = pytest.mark.parametrize("scorer", SCORERS.values(), ids=SCORERS)

QUERIES = [
    terms([0]),
    terms([0, 1]),
    terms([0, 5, 40, 300]),
    terms([3, 3, 3, 900, 1]),
    terms([1200, 1400]),
    terms(range(0, 40, 3)),
    WeightedQuery([(terms([0, 2]), 1.0), (terms([2, 7, 100]), 0.3), (terms([50]), 0.3)]),
    WeightedQuery([(terms([0, 2]), 1.0), (terms([2, 7, 100]), 0.3)], joint=True),
]


@pytest.fixture(scope="module")
def zipf():
    """5,000 documents in one segment: long lists, so that bounds are used and lists left out."""
    return zipf_corpus(np.random.default_rng(1), 5000, 1500, 12)


@pytest.fixture(scope="module")
def index(zipf):
    return index_of(zipf)


@pytest.fixture(scope="module")
def large():
    """150,000 short documents in three segments."""
    return index_of(zipf_corpus(np.random.default_rng(2), 150_000, 30_000, 8))


@pytest.fixture
def small_segments(monkeypatch):
    """Segments are full with 500 documents; other modules that know the limit are loaded and keep theirs."""
    assert persistence
    assert persistence_v1
    monkeypatch.setattr(segment, "MOST_DOCS", 500)
    monkeypatch.setattr(merging, "MOST_DOCS", 500)
    monkeypatch.setattr(TermCounter.batches, "__defaults__", (False, 500, segment.MOST_POSTINGS))


# Scorers, k and filters


@EVERY_SCORER
def test_every_k_gives_the_best_of_all_scores(index, scorer):
    for query in QUERIES:
        assert_exact(index, query, (*KS, len(index) - 1, len(index), len(index) + 1), scorer)


@EVERY_SCORER
@pytest.mark.parametrize("share", [0, 0.0002, 0.01, 0.5, 0.99, 1])
def test_a_filter_of_any_selectivity_gives_the_best_of_the_allowed(index, scorer, share):
    allowed = np.random.default_rng(3).random(len(index)) < share
    for query in QUERIES[2:4] + QUERIES[6:]:
        assert_exact(index, query, (1, 10, 100, 1000, len(index)), scorer, allowed)
    ids = [str(row) for row in np.flatnonzero(allowed)]
    assert_exact(index, QUERIES[2], (10, 101), scorer, filter=ids, mask=allowed)


def test_a_filter_that_lets_one_document_through_finds_it_whichever_it_is(index):
    scores = index.scores(QUERIES[5])
    for row in [0, 1, 4998, 4999, *np.flatnonzero(scores > 0)[::200].tolist()]:
        allowed = np.zeros(len(index), bool)
        allowed[row] = True
        assert_exact(index, QUERIES[5], (1, 10), filter=allowed)


def test_a_mask_may_be_any_view_and_is_not_needed_after_the_call(index):
    backing = np.random.default_rng(4).random(2 * len(index)) < 0.3
    expected = ranking(index.scores(QUERIES[2]), backing[::2].copy())
    hits = index.search(QUERIES[2], 50, filter=backing[::2])
    backing[:] = False
    gc.collect()
    assert hits.rows.tolist() == expected[:50].tolist()
    reversed_view = (np.arange(len(index)) % 3 == 0)[::-1]
    assert_exact(index, QUERIES[2], (10, 100), filter=reversed_view)


@pytest.mark.parametrize("k", [2**31, 2**62, 10**30, np.int64(5), np.uint8(200)])
def test_k_may_be_any_whole_number(index, k):
    assert_exact(index, QUERIES[1], (k,))


@EVERY_SCORER
def test_batches_and_threads_do_not_change_a_bit(index, scorer):
    queries = [query for query in QUERIES for _ in range(80)]
    for k in (10, 101):
        singles = [index.search(query, k, scorer) for query in QUERIES]
        for n_threads in (1, 3, 8) if k == 10 else (2,):
            found = index.search_many(queries, k, scorer, n_threads=n_threads)
            assert len(found) == len(queries)
            for i, hits in enumerate(found):
                assert hits.rows.tolist() == singles[i // 80].rows.tolist()
                assert hits.scores.tobytes() == singles[i // 80].scores.tobytes()


@pytest.mark.parametrize("n_threads", range(1, 9))
def test_any_number_of_threads_filters_alike(large, n_threads):
    allowed = np.random.default_rng(5).random(len(large)) < 0.2
    queries = [terms(numbers) for numbers in np.random.default_rng(6).integers(0, 300, (300, 4)) ** 2 // 40]
    found = large.search_many(queries, 10, n_threads=n_threads, filter=allowed)
    for i in range(0, 300, 60):
        scores = large.scores(queries[i])
        assert_hits(found[i], scores, ranking(scores, allowed), 10)


# Layouts and histories


def deleted_rows(pattern, n_docs):
    rng = np.random.default_rng(7)
    return {
        "one": np.array([n_docs // 2]),
        "some": np.flatnonzero(rng.random(n_docs) < 0.1),
        "most": np.flatnonzero(rng.random(n_docs) < 0.95),
        "best": None,
        "a whole segment": np.arange(500, 1000),
        "all but one": np.delete(np.arange(n_docs), n_docs // 3),
    }[pattern]


@pytest.mark.parametrize("pattern", ["one", "some", "most", "best", "a whole segment", "all but one"])
@pytest.mark.parametrize("segments", ["one segment", "full segments"])
def test_deleted_documents_do_not_disturb_the_others(zipf, pattern, segments, request):
    if segments == "full segments":
        request.getfixturevalue("small_segments")
    corpus = zipf[:2600]
    index = index_of(corpus)
    gone = deleted_rows(pattern, len(corpus))
    if gone is None:
        gone = ranking(index.scores(QUERIES[2]))[:300]
    index.delete([str(row) for row in gone.tolist()])
    fresh = index_of([tokens for row, tokens in enumerate(corpus) if row not in set(gone.tolist())])
    for scorer in (BMX(), BMX(variant="paper"), BM25(), Patchwork()):
        for query in QUERIES:
            assert index.scores(query, scorer).tobytes() == fresh.scores(query, scorer).tobytes()
            assert_exact(index, query, (1, 10, 11, 100, 1000, 5000), scorer)


def by_many_adds(corpus):
    index = index_of(corpus[:1])
    for start in range(1, len(corpus), 97):
        index.add(corpus[start : start + 97])
    return index


def one_by_one_at_the_end(corpus):
    index = index_of(corpus[:-70])
    for tokens in corpus[-70:]:
        index.add([tokens])
    return index


def after_edits(corpus):
    """Built with strangers in between, which are deleted, so that segments are merged."""
    index = index_of([["stranger", "t0", "t1"]] * 300, [f"s{i}" for i in range(300)])
    for start in range(0, len(corpus), 211):
        stop = min(start + 211, len(corpus))
        index.add(corpus[start:stop], [str(row) for row in range(start, stop)])
        if start < 3000:
            index.delete([f"s{i}" for i in range(start // 11, min(300, (start + 211) // 11))])
    index.delete([f"s{i}" for i in range(300)], missing_ok=True)
    return index


def compacted(corpus):
    index = after_edits(corpus)
    index.compact()
    return index


def searched(index):
    """The index, used, so that what it remembers between searches is there."""
    index.search(QUERIES[2])
    return index


LAYOUTS = {
    "many adds": by_many_adds,
    "single adds": one_by_one_at_the_end,
    "edits": after_edits,
    "compacted": compacted,
    "copied": lambda corpus: searched(after_edits(corpus)).copy(),
    "deep-copied": lambda corpus: copy.deepcopy(searched(after_edits(corpus))),
    "pickled": lambda corpus: pickle.loads(pickle.dumps(after_edits(corpus))),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("segments", ["large segments", "full segments"])
def test_no_history_changes_a_bit(zipf, layout, segments, request):
    corpus = zipf[:2600]
    fresh = index_of(corpus)
    if segments == "full segments":
        request.getfixturevalue("small_segments")
    other = layout(corpus)
    assert list(other.ids) == list(fresh.ids)
    if segments == "full segments":
        assert len(other.snapshot().state.segments) >= 6
    for scorer in (BMX(), BMX(variant="paper", normalize="bound"), BM25(), Patchwork()):
        for query in QUERIES:
            assert other.scores(query, scorer).tobytes() == fresh.scores(query, scorer).tobytes()
            assert_exact(other, query, (1, 10, 65, 100, 1000, 2600), scorer)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_loaded_index_gives_the_same_bits_even_when_its_folder_is_gone(
    zipf, tmp_path, mmap, small_segments
):
    index = after_edits(zipf[:2600])
    index.delete([str(row) for row in range(100, 900, 3)])
    index.save(tmp_path / "index")
    loaded = LexicalIndex.load(tmp_path / "index", mmap=mmap)
    if sys.platform != "win32":
        shutil.rmtree(tmp_path / "index")
    for round_ in range(2):
        for query in QUERIES:
            assert loaded.scores(query).tobytes() == index.scores(query).tobytes()
            assert_exact(loaded, query, (10, 100, 2600))
        if round_ == 0:
            for edited in (index, loaded):
                edited.add(zipf[3000:3100], [f"n{i}" for i in range(100)])
                edited.delete([str(row) for row in range(0, 90, 2)])
    copied = pickle.loads(pickle.dumps(loaded))
    del loaded
    gc.collect()
    assert_exact(copied, QUERIES[2], (10, 100))


def test_150_000_documents_are_searched_exactly(large):
    assert len(large.snapshot().state.segments) == 3
    rng = np.random.default_rng(8)
    for size in (1, 2, 5, 12):
        query = terms(rng.integers(0, 170, size) ** 2)
        for scorer in (BMX(), BMX(variant="paper"), BM25(), BMX(beta=10), Patchwork()):
            assert_exact(large, query, (1, 10, 100, 1000), scorer)
    assert_exact(large, terms([0]), (1001, 150_000))


def test_deletions_in_a_large_index_move_no_other_document(large):
    index = large.copy()
    index.delete([str(row) for row in np.random.default_rng(9).permutation(150_000)[:40_000].tolist()])
    for query in (terms([0, 30, 700]), terms([2, 5])):
        for scorer in (BMX(), BM25()):
            assert_exact(index, query, (10, 1000), scorer)
            assert_exact(index, query, (10, 1000), scorer, np.arange(len(index)) % 7 == 0)
    assert len(large) == 150_000


# Corpora


@EVERY_SCORER
@pytest.mark.parametrize("n_docs", [1, 2, 255, 256, 257, 3000])
def test_equal_documents_come_in_order_of_insertion(scorer, n_docs):
    index = index_of([["a", "b", "b", "c"]] * n_docs)
    for query in (["a"], ["b", "a"], ["c", "zebra", "b"]):
        assert_exact(index, query, KS, scorer)
        positive = index.scores(query, scorer)[0] > 0
        assert index.search(query, 7, scorer).rows.tolist() == list(range(min(7, n_docs) * positive))


@EVERY_SCORER
def test_two_kinds_of_documents_in_turn_do_not_get_mixed_up(scorer):
    index = index_of([["a", "b"], ["b", "a", "a"]] * 1500)
    for query in (["a"], ["b"], ["a", "b"]):
        assert_exact(index, query, KS, scorer)


@EVERY_SCORER
@pytest.mark.parametrize("strong", [[0], [7], [3, 4], [0, 7], range(8)], ids=str)
def test_it_does_not_matter_in_which_segments_the_best_documents_are(small_segments, scorer, strong):
    rng = np.random.default_rng(12)
    corpus = [
        ["cat"] * rng.integers(1, 9 if place // 500 in strong else 3) + tokens
        for place, tokens in enumerate(zipf_corpus(rng, 4000, 50, 9))
    ]
    index = index_of(corpus)
    assert len(index._now.state.segments) == 8
    allowed = rng.random(4000) < 0.3
    for query in (["cat"], ["cat", "t3", "t20"]):
        assert_exact(index, query, (10, 17, 33, 64, 65, 100, 400, 1000, 3000), scorer)
        assert_exact(index, query, (17, 65, 400), scorer, filter=allowed)
    for row in range(200):
        index.delete([str(row)])
    assert_exact(index, ["cat"], (17, 65, 400), scorer)


def sorted_by_the_kernel(scores, rows):
    scores, rows = np.array(scores), np.array(rows, np.int64)
    room = np.empty(2 * len(scores) + 256, np.int64)
    searching._sort_best(scores.ctypes.data, rows.ctypes.data, len(scores), room.ctypes.data)
    return scores.tolist(), rows.tolist()


@pytest.mark.parametrize("n", [0, 1, 2, 63, 64, 65, 66, 1000, 5000])
@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, n: rng.random(n) * 30 + 1e-9,
        lambda rng, n: rng.integers(1, 6, n) / 3,
        lambda rng, n: np.full(n, 2.5),
        lambda rng, n: 10.0 ** rng.uniform(-300, 300, n),
        lambda rng, n: np.nextafter(1.0, 2.0) + rng.integers(0, 2**20, n) * 2.0**-52,
        lambda rng, n: 1.0 + np.sort(rng.integers(0, 2**20, n)) * 2.0**-52,
    ],
    ids=["any", "few values", "equal", "any size", "equal in their leading halves", "these ascending"],
)
def test_the_best_are_sorted_by_score_and_then_by_row(draw, n):
    rng = np.random.default_rng(n)
    scores, rows = draw(rng, n), rng.permutation(n) * (2**40 // 5000) + 3
    order = np.lexsort((rows, -scores))
    assert sorted_by_the_kernel(scores, rows) == (scores[order].tolist(), rows[order].tolist())


@pytest.mark.parametrize("distinct", [3, 200_000])
def test_one_giant_document_among_small_ones(distinct):
    rng = np.random.default_rng(10)
    giant = terms(rng.permutation(np.arange(1_000_000) % distinct))
    index = index_of([*zipf_corpus(rng, 1500, 300, 6), giant, *zipf_corpus(rng, 1500, 300, 6)])
    for scorer in SCORERS.values():
        for query in (terms([0]), terms([1, 2, 50]), terms([1, 1500, 150_000])):
            assert_exact(index, query, (1, 10, 1000, 3001), scorer)


@EVERY_SCORER
def test_terms_in_every_document_are_searched_exactly(scorer):
    rng = np.random.default_rng(11)
    corpus = [["the", "of", *tokens] for tokens in zipf_corpus(rng, 3000, 200, 8)]
    index = index_of(corpus)
    for query in (["the"], ["the", "of"], ["the", "t3"], ["of", "t0", "t190"], ["the"] * 50 + ["t150"]):
        assert_exact(index, query, (1, 10, 100, 1000, 3000), scorer)


@EVERY_SCORER
def test_term_frequencies_that_no_float32_holds_are_searched_exactly(scorer):
    rng = np.random.default_rng(12)
    freqs = [1, 13, 14, 15, 255, 256, 10**5, 2**24 - 1, 2**24, 2**24 + 1, 2**24 + 3, 2**30]
    documents = [
        Counted({"a": freqs[i % len(freqs)], "b": int(rng.integers(1, 20)), "c": 1}) for i in range(1200)
    ]
    documents += [Counted({"a": 2**24 + i, "c": 1}) for i in range(100)]
    index = index_of_counts(documents)
    for query in (["a"], ["b"], ["a", "b", "c"], ["c"] * 3):
        assert_exact(index, query, (1, 10, 100, 1000, 1300), scorer)
        assert_exact(index, query, (1, 10, 100), BM25(k1=1e6, b=0))
        assert_exact(index, query, (1, 10, 100), BMX(alpha=1e6))


def test_term_frequencies_beyond_float32_agree_with_the_dense_formulas():
    for start, scorer, oracle in ((2_000_001, BMX(), oracles.bmx), (2**24 + 1, BM25(), oracles.bm25)):
        documents = [Counted({"a": start + 2 * i, "b": 1 + i}) for i in range(40)]
        for query in (["a"], ["a", "b"]):
            scores = index_of_counts(documents).scores(query, scorer)
            np.testing.assert_allclose(scores, oracle(documents, query), rtol=1e-9)


def test_70_000_distinct_lengths_are_searched_exactly():
    rng = np.random.default_rng(13)
    lengths = rng.permutation(np.arange(1, 70_001)).tolist()
    frequent = rng.random((70_000, 3)) < (0.5, 0.05, 0.005)
    documents = []
    for length, (a, b, c) in zip(lengths, frequent.tolist(), strict=True):
        document = Counted({"filler": max(1, length - a - b * 2 - c * 14)})
        document.update({name: tf for name, tf, there in (("a", 1, a), ("b", 2, b), ("c", 14, c)) if there})
        documents.append(document)
    index = index_of_counts(documents)
    assert len(index.snapshot().state.segments) == 2
    for scorer in (BMX(), BMX(variant="paper"), BM25(), BM25(b=1), Patchwork()):
        for query in (["a"], ["b", "c"], ["filler", "a", "c"]):
            assert_exact(index, query, (1, 10, 100, 1000), scorer)
    lengths = np.array([len(document) for document in documents], np.float64)
    assert len(np.unique(lengths)) > 65_535
    norms, expected = 1.5 * (0.25 + 0.75 * lengths / lengths.mean()), 0.0
    for tf, there in zip((1, 2, 14), frequent.T, strict=True):
        idf = np.log1p((70_000 - there.sum() + 0.5) / (there.sum() + 0.5))
        expected = expected + there * idf * 2.5 * tf / (tf + norms)
    np.testing.assert_allclose(index.scores(["a", "b", "c"], BM25()), expected, rtol=1e-9)


@EVERY_SCORER
def test_empty_documents_are_never_found_and_change_nothing_else(scorer):
    index = index_of([[], ["a"], [], ["a", "b"], []] * 400)
    assert_exact(index, ["a", "b"], KS, scorer)
    assert not set(index.search(["a"], 2000, scorer).rows % 5) - {1, 3}
    assert len(index_of([[]] * 300).search(["a"], 5, scorer)) == 0
    assert len(index_of([]).search(["a"], 5, scorer)) == 0


@EVERY_SCORER
def test_documents_of_one_term_are_searched_exactly(scorer):
    rng = np.random.default_rng(14)
    index = index_of([[f"t{rng.integers(3)}"] * int(rng.integers(1, 40)) for _ in range(2000)])
    for query in (["t0"], ["t0", "t1", "t2"], ["t1"] * 1000):
        assert_exact(index, query, (1, 10, 100, 1000, 2000), scorer)


def test_scores_that_differ_in_the_last_bit_are_told_apart():
    # tf / (tf + k1·|D|/avgdl) is the same number for all of these, but not the same float.
    rng = np.random.default_rng(15)
    corpus = []
    for tf, share in zip(rng.integers(1, 40, 3000).tolist(), rng.integers(2, 5, 3000).tolist(), strict=True):
        corpus.append(["a"] * tf + ["b"] * (tf * 2) + ["c"] * (tf * share))
    index = index_of(corpus)
    for scorer in (BM25(b=1), BM25(b=1, k1=0.7), BMX(), BMX(alpha=0.9, beta=0), Patchwork(offset=0, floor=0)):
        for query in (["a"], ["a", "b"], ["c", "a", "b"]):
            scores = index.scores(query, scorer)
            assert_exact(index, query, (1, 10, 100, 1000, 3000), scorer)
    scores = index.scores(["a"], BM25(b=1))
    assert len(np.unique(scores)) > 3  # three in real numbers


def test_normalised_scores_that_rounding_makes_equal_come_in_order_of_insertion(index):
    for k1 in (0.7, 1.5):
        for query in QUERIES:
            assert_exact(index, query, (1, 10, 1000, 5000), BM25(k1=k1, b=1, normalize="bound"))


@pytest.mark.parametrize("level", [10, 100, 1000])
@pytest.mark.parametrize("missing", [0, 1, 2])
def test_good_postings_one_fewer_than_k_do_not_set_the_threshold(level, missing):
    rng = np.random.default_rng(level)
    corpus = [["a"] * 9] * (level - missing) + [["a", *["b"] * 30]] * 1500 + [["b"]] * 200
    index = index_of([corpus[row] for row in rng.permutation(len(corpus)).tolist()])
    for scorer in (BMX(), BM25(), BM25(b=0), Patchwork(floor=0)):
        assert_exact(index, ["a"], (level - 1, level, level + 1), scorer)
    best = index.search(["a"], 3).ids
    for doc_id in best:
        index.delete([doc_id])
        assert_exact(index, ["a"], (level - 4, level - 3, level - 2, level - 1, level), BM25())


@pytest.mark.parametrize("share", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(40))
def test_long_lists_are_looked_up_for_every_document_that_they_may_lift_into_the_best(seed, share):
    rng = np.random.default_rng(seed)
    names = terms(range(int(rng.integers(3, 7))))
    doc_freqs = rng.choice([12, 40, 300, 1500, 3500], len(names))
    doc_freqs[:2] = 12, 3500  # one that gives a threshold, and one to be left out
    there = np.stack([rng.permutation(4000) < doc_freq for doc_freq in doc_freqs], axis=1)
    corpus = [[name for name, yes in zip(names, row, strict=True) if yes] for row in there.tolist()]
    values = [1.0, *(10.0 ** rng.uniform(-1, 0, len(names) - 1)).tolist()]
    scorer = Valued(tuple(zip(names, values, strict=True)), share)
    assert_exact(index_of(corpus), names, (1, 5, 10, 12, 100, 300), scorer)


def test_a_document_that_only_a_list_left_out_lifts_above_the_threshold_is_found():
    # Twelve documents with "a" make 1.0 the threshold; "c", in most documents, is left out; b + c is more.
    corpus = [["c"]] * 3000 + [["a"]] * 12 + [["b", "c"]] * 5 + [["b"]] * 35 + [["x"]] * 900
    scorer = Valued((("a", 1.0), ("b", 0.7), ("c", 0.35)))
    index = index_of(corpus)
    assert_exact(index, ["a", "b", "c"], (1, 5, 10, 12), scorer)
    assert index.search(["a", "b", "c"], 5, scorer).rows.tolist() == list(range(3012, 3017))


# Queries


@pytest.fixture(scope="module")
def wide():
    """2,000 documents over 12,000 terms, with ten that hold half of them."""
    rng = np.random.default_rng(17)
    corpus = zipf_corpus(rng, 2000, 12_000, 60, exponent=0.7)
    corpus[500:510] = [terms(rng.permutation(12_000)[:6000]) for _ in range(10)]
    return index_of(corpus)


@pytest.mark.parametrize("n_terms", [1, 2, 300, 3999, 4000, 4001, 10_000])
@pytest.mark.parametrize("scorer", [BMX(), BMX(variant="paper"), BM25(), Patchwork()], ids=repr)
def test_queries_of_any_length_are_searched_exactly(wide, n_terms, scorer):
    known = [term for term in terms(range(12_000)) if wide.snapshot().vocabulary.get(term) >= 0]
    query = known[:n_terms]
    assert len(query) == n_terms
    assert_exact(wide, query, (10, 2000), scorer)
    if n_terms <= 4001:
        assert_exact(wide, query, (1, 100), scorer, np.arange(2000) % 2 == 0)


def test_long_and_short_queries_of_one_batch_do_not_disturb_each_other(wide):
    queries = [terms([0, 1]), terms(range(4500)), terms([5]), [], terms(range(3000, 3300))]
    for query, hits in zip(queries, wide.search_many(queries, 20), strict=True):
        scores = wide.scores(query)
        assert_hits(hits, scores, ranking(scores), 20)


def test_bounds_of_4_000_terms_that_all_occur_together_do_not_overflow():
    query = terms(range(4000))
    index = index_of([query * 2, query, query[:3999], *([query[:100]] * 3), *([[term] for term in query])])
    for scorer in SCORERS.values():
        assert_exact(index, query, (1, 2, 3, 10, 5000), scorer)
    weighted = WeightedQuery([(query[:2000], 1.0), (query[2000:], 1e-9)])
    for scorer in (BMX(), BM25(), Patchwork()):
        assert_exact(index, weighted, (1, 3, 10), scorer)


@EVERY_SCORER
def test_terms_repeated_a_thousand_times_are_searched_exactly(index, scorer):
    assert_exact(index, terms([7]) * 1000, (1, 10, 1000), scorer)
    assert_exact(index, terms([0]) * 1000 + terms([7, 400]), (1, 10, 1000), scorer)


@EVERY_SCORER
@pytest.mark.parametrize("joint", [True, False])
def test_weights_of_very_different_size_are_searched_exactly(index, scorer, joint):
    for weights in ([1e-12, 1e12], [1e12, 1e-12, 1.0], [1e-12] * 3, [1e12] * 3, [1.0, 1e-5, 1e-10, 0.0]):
        parts = [(terms([3 * i, 3 * i + 1, 0]), weight) for i, weight in enumerate(weights)]
        assert_exact(index, WeightedQuery(parts, joint=joint), (1, 10, 100, 1000, 5000), scorer)


@pytest.mark.parametrize("size", [1e-300, 1e-30, 1e10, 1e20, 1e30, 1e36, 1e39, 1e100, 1e300])
def test_parameters_of_any_size_that_is_accepted_are_searched_exactly(index, size):
    for scorer in (
        BMX(alpha=size), BMX(beta=size), BM25(k1=size), BM25(k1=size, b=0), BM25(k1=size, b=1),
        Patchwork(weight=size), Patchwork(offset=size), Patchwork(slope=size), Patchwork(bonus=size),
    ):  # fmt: skip
        with np.errstate(over="ignore"):
            assert_exact(index, QUERIES[2], (1, 10, 1000), scorer)


@pytest.mark.parametrize("weight", [1e-320, 1e-310, 1e-305, 1e-300, 1e-40, 1e40, 1e300, 1.7e308])
def test_weights_of_any_size_that_is_accepted_are_searched_exactly(index, weight):
    with np.errstate(over="ignore", invalid="ignore"):
        for joint in (True, False):
            for parts in ([(QUERIES[2], weight)], [(QUERIES[2], weight), (terms([1, 9]), 1.0)]):
                assert_exact(index, WeightedQuery(parts, joint=joint), (1, 10, 1000))


# Dense oracles


@pytest.fixture(scope="module")
def medium():
    """300 documents: enough for bounds, few enough for plain loops."""
    return corpus_of(
        np.random.default_rng(18), np.random.default_rng(19).geometric(0.1, 300) - 1, 1 / np.arange(1, 9)
    )


@pytest.mark.parametrize("variant", ["reference", "paper"])
@pytest.mark.parametrize("repeats", ["keep", "merge"])
@pytest.mark.parametrize(("alpha", "beta"), [(None, None), (0, 0), (1.5, 10), (0, 10), (2, 0)])
def test_bmx_agrees_with_the_dense_formula_on_lists_long_enough_to_be_pruned(
    medium, variant, repeats, alpha, beta
):
    index, options = index_of(medium), {"variant": variant, "repeats": repeats, "alpha": alpha, "beta": beta}
    for query in (terms([0]), terms([0, 1, 1, 7, 99])):
        expected = np.array(oracles.bmx(medium, query, **options))
        np.testing.assert_allclose(index.scores(query, BMX(**options)), expected, rtol=1e-9, atol=1e-300)
        assert_exact(index, query, (1, 10, 300), BMX(**options))
    joint = WeightedQuery([(terms([0, 2]), 1.0), (terms([2, 5]), 0.3)], joint=True)
    expected = oracles.bmx(medium, terms([0, 2, 2, 5]), weights=[1.0, 1.0, 0.3, 0.3], **options)
    np.testing.assert_allclose(index.scores(joint, BMX(**options)), expected, rtol=1e-9, atol=1e-300)
    assert_exact(index, joint, (1, 10, 300), BMX(**options))


@pytest.mark.parametrize("k1", [0, 1.5, 20])
@pytest.mark.parametrize("b", [0, 0.75, 1])
def test_bm25_agrees_with_the_dense_formula_on_lists_long_enough_to_be_pruned(medium, k1, b):
    index = index_of(medium)
    for query in (terms([0]), terms([0, 1, 1, 7, 99])):
        expected = oracles.bm25(medium, query, k1, b)
        np.testing.assert_allclose(index.scores(query, BM25(k1, b)), expected, rtol=1e-9, atol=1e-300)
        assert_exact(index, query, (1, 10, 300), BM25(k1, b))


# Random cases


@pytest.mark.parametrize("seed", [*range(60), 1119, 1388, 1396, 2677])  # the last four once failed
def test_a_random_case_is_searched_exactly(seed):
    check_random_case(seed)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_thousands_of_random_cases_are_searched_exactly(block):
    for seed in range(1000 + 250 * block, 1250 + 250 * block):
        check_random_case(seed)


SHAPES = st.lists(st.lists(st.sampled_from("abcd"), max_size=12), min_size=1, max_size=6)


@settings(max_examples=40)
@given(
    SHAPES,
    st.integers(1, 2500),
    st.integers(0, 2**32),
    st.lists(st.sampled_from("abcdx"), min_size=1, max_size=6),
    st.sampled_from(list(SCORERS.values())),
    st.sampled_from(KS),
)
def test_documents_of_few_shapes_are_searched_exactly(shapes, n_docs, seed, query, scorer, k):
    chosen = np.random.default_rng(seed).integers(len(shapes), size=n_docs)
    assert_exact(index_of([shapes[i] for i in chosen.tolist()]), query, (k,), scorer)


# Threads


def edits(rng):
    """About a hundred edits of an index of 600 documents, as functions of the index."""
    corpus = zipf_corpus(rng, 3000, 60, 6)
    alive, made = [str(row) for row in range(600)], 600
    for step in range(110):
        kind = step % 11
        if kind in (0, 3, 5, 7, 9):
            size = 120 if kind == 9 else int(rng.integers(1, 6))
            ids = [str(made + i) for i in range(size)]
            texts = [corpus[(made + i) % 3000] for i in range(size)]
            made += size
            alive += ids
            yield lambda index, texts=texts, ids=ids: index.add(texts, ids)
        elif kind in (1, 4, 8):
            gone = rng.permutation(len(alive))[: 150 if kind == 8 else 3].tolist()
            ids = [alive[i] for i in gone]
            alive = [id for i, id in enumerate(alive) if i not in set(gone)]
            yield lambda index, ids=ids: index.delete(ids)
        elif kind in (2, 6):
            moved = alive[int(rng.integers(len(alive)))]
            alive = [id for id in alive if id != moved] + [moved]
            yield lambda index, id=moved, text=corpus[step]: index.update([id], [text])
        else:
            yield lambda index: index.compact()


PROBES = [
    (terms([0, 3, 9]), BMX(), 10),
    (terms([1]), BM25(), 100),
    (terms([2, 2, 30]), BMX(variant="paper"), 3000),
    (WeightedQuery([(terms([0, 4]), 1.0), (terms([8]), 0.3)]), BMX(normalize="bound"), 64),
]


def seen(hits):
    return tuple(hits.ids), hits.scores.tobytes()


def test_searches_in_eight_threads_see_states_that_existed_in_their_order_while_one_thread_edits():
    start = zipf_corpus(np.random.default_rng(20), 600, 60, 6)
    rehearsal, generations = index_of(start), [{} for _ in PROBES]
    changes = [None, *edits(np.random.default_rng(21))]
    for generation, change in enumerate(changes):
        if change is not None:
            change(rehearsal)
        for known, (query, scorer, k) in zip(generations, PROBES, strict=True):
            known.setdefault(seen(rehearsal.search(query, k, scorer)), []).append(generation)
    index, applied, failures, counts = index_of(start), [0], [], []

    def search(which):
        known, (query, scorer, k) = generations[which % 4], PROBES[which % 4]
        last = searches = 0
        while True:
            before = applied[0]
            if which < 4:
                results = [index.search(query, k, scorer)]
            else:
                results = index.search_many([query] * 300, k, scorer, n_threads=2)[::100]
            possible = set.intersection(*(set(known.get(seen(hits), ())) for hits in results))
            possible = {g for g in possible if max(before, last) <= g <= applied[0] + 1}
            if not possible:
                failures.append((which, before, last, applied[0]))
                return
            last, searches = min(possible), searches + 1
            if before == len(changes) - 1:
                counts.append(searches)
                return

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(search, which) for which in range(8)]
        for generation, change in enumerate(changes):
            if change is not None:
                change(index)
                applied[0] = generation
        for future in running:
            future.result()
    assert not failures
    assert min(counts) > 1


def test_an_index_saved_while_another_thread_adds_terms_can_be_loaded(tmp_path):
    index = index_of([[f"t{i}", "a"] for i in range(5000)])
    stop = threading.Event()

    def edit():
        made = 0
        while not stop.is_set():
            index.add([[f"new{made}", "a"]], [f"n{made}"])
            made += 1

    writer = threading.Thread(target=edit)
    writer.start()
    try:
        for attempt in range(5):
            index.save(tmp_path / str(attempt))
    finally:
        stop.set()
        writer.join()
    for attempt in range(5):
        loaded = LexicalIndex.load(tmp_path / str(attempt))
        assert loaded.search(["a"], 10**6).ids[:5000] == [str(i) for i in range(5000)]
        assert_exact(loaded, ["a", "t7"], (10, 5000))


# Memory


def test_what_is_kept_between_searches_points_to_arrays_of_its_own(zipf):
    index = searched(index_of(zipf[:1000]))
    for duplicate in (copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i))):
        state = duplicate(index).snapshot().state
        for record, part in zip(state.table, state.segments, strict=True):
            assert part.docs.ctypes.data in record.tolist()
            assert part.codes.ctypes.data in record.tolist()


def test_an_index_pickled_after_a_search_works_in_another_process(zipf, tmp_path):
    index = searched(index_of(zipf[:3000]))
    index.delete(["5"])
    index.search(["t0"])
    (tmp_path / "index.pickle").write_bytes(pickle.dumps(index))
    script = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb')).search(['t0', 't9']).ids)"
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "index.pickle")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.returncode
    assert done.stdout.strip() == str(index.search(["t0", "t9"]).ids)


def test_hits_outlive_their_index(zipf):
    index = index_of(zipf[:1000])
    expected = ranking(index.scores(["t1"]))[:20].tolist()
    hits = index.search(["t1"], 20)
    index.delete([str(row) for row in expected])
    index.compact()
    del index
    gc.collect()
    assert hits.ids == [str(row) for row in expected]
    assert hits.rows.tolist() == expected


def test_a_saved_segment_with_more_documents_than_the_kernels_have_room_for_is_refused(tmp_path):
    index = index_of([terms(range(5))] * 300)
    content, n_docs = index._now, 100_000
    content.statistics.n_docs, content.statistics.total_length = n_docs, 5 * n_docs
    (part,) = content.state.segments
    part = replace(part, ids=NumberedIds(0, n_docs), lengths=read_only(np.full(n_docs, 5, np.int32)))
    index._now = content.with_state(replace(content.state, segments=(part,)))
    index.save(tmp_path / "index")
    with pytest.raises(CorruptIndexError):
        LexicalIndex.load(tmp_path / "index")


def test_threads_that_come_and_go_leave_nothing_behind(index):
    expected = index.search(QUERIES[2], 50).rows.tolist()
    for _ in range(20):
        found = []

        def search(found=found):
            found.append(index.search(QUERIES[2], 50).rows.tolist())

        threads = [threading.Thread(target=search) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [expected] * 4


# Real collections


@pytest.mark.parametrize(
    ("name", "split"), [("scifact", "test"), ("cranfield", "test"), ("squad-rt-train", "train")]
)
def test_real_collections_are_searched_exactly(collections, name, split):
    data = load_beir(collections / name, split)
    index = LexicalIndex.build((d.text for d in data.documents), analyzer=Analyzer("en"))
    queries = list(data.queries.values())[:50]
    allowed = np.arange(len(index)) % 5 == 0
    for scorer in SCORERS.values():
        batches = {k: index.search_many(queries, k, scorer) for k in (1, 10, 100, 1000)}
        filtered = index.search_many(queries, 10, scorer, filter=allowed)
        for i, query in enumerate(queries):
            scores = index.scores(query, scorer)
            expected = ranking(scores)
            for k, found in batches.items():
                assert_hits(found[i], scores, expected, k, f"{query!r} k={k} {scorer!r}")
            assert_hits(filtered[i], scores, ranking(scores, allowed), 10, f"{query!r} {scorer!r}")


@pytest.mark.parametrize("weight", [-1.0, 0.0, np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("column", ["weights", "offsets", "floors", "bonuses"])
def test_a_scorer_that_breaks_the_rules_gets_what_it_asked_for_and_nothing_worse(index, weight, column):
    class Odd(BM25):
        def plan(self, query, stats):
            plan = super().plan(query, stats)
            values = np.array(getattr(plan, column))
            values[::2] = weight
            fields = {name: getattr(plan, name) for name in plan.__dataclass_fields__}
            return ScorePlan(**{**fields, column: values})

    with np.errstate(all="ignore"):
        query = ["t1", "t2", "t3", "t9"]
        scores = index.scores(query, Odd())
        hits = index.search(query, 20, Odd())
    expected = np.flatnonzero(scores > 0)
    expected = expected[np.argsort(-scores[expected], kind="stable")][:20]
    assert hits.rows.tolist() == expected.tolist()
