"""Single plain queries take a way of their own; nobody may notice but by the clock."""

import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import BM25, BMX, ConfigError, LexicalIndex
from prorank_plugins.lexical import plain
from prorank_plugins.lexical.compilation import compiled_search
from tests.strategies import corpora

SCORERS = st.sampled_from(
    [BMX(), BMX(variant="paper"), BMX(alpha=0.7, beta=0.3), BM25(), BM25(k1=0.9, b=0.4)]
)
TERMS = st.sampled_from([*"abcdefg", "unknown", "never seen"])


@pytest.fixture(autouse=True, scope="module")
def _compiled():
    compiled_search(wait=True)


def found(hits):
    return hits.ids, hits.scores.tolist(), hits.rows.tolist()


@given(corpora(max_docs=12), st.lists(TERMS, max_size=6), SCORERS, st.integers(1, 20))
def test_one_query_finds_what_it_finds_among_many(corpus, query, scorer, k):
    index = LexicalIndex.build(corpus, analyzer=None)
    expected = found(index.search_many([query], k, scorer)[0])
    assert found(index.search(query, k, scorer)) == expected
    assert found(index.search(tuple(query), k, scorer)) == expected
    assert found(index.search(query, np.int64(k), scorer)) == expected


@pytest.fixture
def planned(monkeypatch):
    """The queries that took the way of their own."""
    seen = []
    original = plain.PlainSearch.plan

    def plan(self, tokens):
        room = original(self, tokens)
        if room is not None:
            seen.append(list(tokens))
        return room

    monkeypatch.setattr(plain.PlainSearch, "plan", plan)
    return seen


def test_plain_queries_of_known_and_unknown_terms_take_it(planned):
    index = LexicalIndex.build(["red apples", "green pears"])
    for query in ("apples", "apples apples pears", "plums", "plums and apples"):
        assert found(index.search(query)) == found(index.search_many([query])[0])
    assert planned == [["appl"], ["appl", "appl", "pear"], ["plum"], ["plum", "appl"]]


@pytest.mark.parametrize("query", ["", "the of", " ".join(f"word{i}" for i in range(65))])
def test_queries_without_a_term_or_with_many_do_not(planned, query):
    index = LexicalIndex.build(["red apples word3", "green pears word64"])
    assert found(index.search(query)) == found(index.search_many([query])[0])
    assert planned == []


@pytest.mark.parametrize("scorer", [BMX(normalize="bound"), BMX(repeats="merge"), BM25(normalize="bound")])
def test_scorers_that_do_more_do_not(planned, scorer):
    index = LexicalIndex.build(["red apples apples", "green pears"])
    assert found(index.search("apples apples", scorer=scorer)) == found(
        index.search_many(["apples apples"], scorer=scorer)[0]
    )
    assert planned == []


@pytest.mark.parametrize("query", [["a", 1], ["a", None], ["a", ["b"]], [b"a"], 7, "text", None])
def test_queries_of_the_wrong_type_are_refused_as_ever(query):
    with pytest.raises(ConfigError):
        LexicalIndex.build([["a", "b"]], analyzer=None).search(query)


@pytest.mark.parametrize("k", [-1, 1.5, "3", True, None])
def test_other_k_are_treated_as_ever(k):
    index = LexicalIndex.build([["a", "b"], ["a"]], analyzer=None)
    try:
        expected = found(index.search_many([["a"]], k)[0])
    except ConfigError as error:
        with pytest.raises(ConfigError, match=str(error)[:20]):
            index.search(["a"], k)
    else:
        assert found(index.search(["a"], k)) == expected


def test_an_edit_is_seen_by_the_next_search():
    index = LexicalIndex.build([["a", "b"], ["b"]], analyzer=None)
    for edit in (
        lambda: index.add([["a", "c"]]),
        lambda: index.delete(["0"]),
        lambda: index.update(["1"], [["a", "a"]]),
        lambda: index.compact(),
        lambda: index.delete(list(index.ids)),
        lambda: index.add([["a"]]),
    ):
        index.search(["a"])
        edit()
        assert found(index.search(["a"])) == found(index.search_many([["a"]])[0])


def test_scorers_may_change_from_call_to_call():
    index = LexicalIndex.build([["a", "b", "c"], ["a", "a"], ["b"]], analyzer=None)
    for scorer in (BMX(), BM25(), BMX(alpha=0.1), BMX(), BM25(b=0.0)):
        assert found(index.search(["a", "b"], scorer=scorer)) == found(
            index.search_many([["a", "b"]], scorer=scorer)[0]
        )


def test_hits_stay_as_they_are_while_the_thread_searches_on():
    index = LexicalIndex.build([["a", "b"], ["b", "b"], ["c"]], analyzer=None)
    first = index.search(["a"])
    for _ in range(3):
        index.search(["c", "b"])
    assert found(first) == found(index.search_many([["a"]])[0])


def test_threads_do_not_write_to_each_other():
    rng = np.random.default_rng(0)
    corpus = [[f"t{n}" for n in rng.integers(0, 50, 20)] for _ in range(400)]
    index = LexicalIndex.build(corpus, analyzer=None)
    queries = [[f"t{n}" for n in rng.integers(0, 60, 5)] for _ in range(200)]
    expected = [found(hits) for hits in index.search_many(queries, 7)]
    wrong = []

    def search(shift):
        for i in range(len(queries)):
            at = (i * 7 + shift) % len(queries)
            if found(index.search(queries[at], 7)) != expected[at]:
                wrong.append(at)

    threads = [threading.Thread(target=search, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_edit_that_is_put_in_place_while_a_query_is_planned_is_seen_whole(monkeypatch):
    index = LexicalIndex.build([["a", "b"], ["b"]], analyzer=None)
    index.search(["a"])
    original, planned = plain.PlainSearch.plan, []

    def plan(self, tokens):
        room = original(self, tokens)
        if not planned:
            index.add([["a"], ["a", "c"]])
        planned.append(len(self.content.state.segments))
        return room

    monkeypatch.setattr(plain.PlainSearch, "plan", plan)
    assert found(index.search(["a"])) == found(index.search_many([["a"]])[0])
    assert planned == [1, 2]


def test_nobody_reads_numbers_while_they_are_being_put_in_place():
    index = LexicalIndex.build([["a", "b"], ["b"]], analyzer=None)
    expected = found(index.search(["a"]))
    searched = []
    thread = threading.Thread(target=lambda: searched.append(found(index.search(["a"]))))
    with index._swapping:
        index._n_swaps += 1
        thread.start()
        thread.join(0.2)
        assert searched == []
        index._n_swaps += 1
    thread.join()
    assert searched == [expected]


def lets_others_run(search):
    """Whether another thread runs Python during a search."""
    before, ran, go = sys.getswitchinterval(), [], threading.Event()
    thread = threading.Thread(target=lambda: (go.wait(), ran.append(True)))
    thread.start()
    sys.setswitchinterval(1000)  # nobody has to give the interpreter's lock away
    try:
        go.set()
        search()
        return bool(ran)
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_only_searches_that_take_long_give_the_interpreters_lock_away():
    rng = np.random.default_rng(0)
    small = LexicalIndex.build([["a", "b"], ["b"]], analyzer=None)
    large = LexicalIndex.build([list("abcdefgh")] * 60_000, analyzer=None)
    queries = [list(rng.permutation(list("abcdefgh"))) for _ in range(40)]
    small.search(["a"])
    large.search(["a"])
    assert not lets_others_run(lambda: small.search(["a", "b"]))
    assert lets_others_run(lambda: large.search_many(queries, n_threads=1))
