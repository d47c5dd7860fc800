"""The index: edges, filters, edits, threads."""

import copy
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import BM25, BMX, Analyzer, AnalyzerConfig, ConfigError, LexicalIndex, WeightedQuery
from prorank_plugins.core.errors import UnknownIdError
from prorank_plugins.lexical.state import State
from tests import oracles
from tests.strategies import corpora, queries

TEXTS = ["the cat sat on the mat", "a dog chased the cat", "birds sing", "", "dogs and cats"]


@pytest.fixture
def index():
    return LexicalIndex.build(TEXTS, ids=["mat", "chase", "birds", "empty", "both"])


def test_hits_are_ids_and_descending_float32_scores(index):
    hits = index.search("cat and dog", k=10)
    assert sorted(hits.ids) == ["both", "chase", "mat"]
    assert hits.scores.dtype == np.float32
    assert (np.diff(hits.scores) <= 0).all()
    assert list(hits) == list(zip(hits.ids, hits.scores.tolist(), strict=True))
    assert all(type(score) is float for _, score in hits)
    assert hits.to_dict() == dict(hits)
    assert len(hits) == 3


@pytest.mark.parametrize("k", [0, 1, 2, 3, 4, 5, 100, 10**6, np.int64(2)])
def test_any_k_returns_at_most_the_matching_documents(index, k):
    assert len(index.search("cat dog", k)) == min(int(k), 3)


@pytest.mark.parametrize("k", [-1, 1.5, "3", None, True])
def test_a_k_that_is_no_count_is_refused(index, k):
    with pytest.raises(ConfigError, match="k must be a whole number"):
        index.search("cat", k)


@pytest.mark.parametrize("query", ["", "   ", "the of and", "zebra", "\x00", "!?", "\ud800"])
def test_queries_without_a_known_term_find_nothing(index, query):
    for scorer in (BMX(), BMX(variant="paper"), BM25(), BMX(normalize="paper")):
        assert len(index.search(query, 10, scorer)) == 0
        assert index.scores(query, scorer).tolist() == [0.0] * 5


@pytest.mark.parametrize("texts", [[], iter([]), ["", ""], ["the", "!!"]])
def test_corpora_without_a_term_can_be_searched(texts):
    index = LexicalIndex.build(texts)
    assert len(index.search("cat")) == 0
    assert np.isfinite(index.scores("cat")).all()


def test_one_document_is_found():
    assert LexicalIndex.build(["only one"]).search("one").ids == ["0"]


def test_equal_documents_stay_apart_and_come_in_order_of_insertion():
    index = LexicalIndex.build(["equal text"] * 50)
    assert index.search("equal", 50).ids == [str(i) for i in range(50)]
    assert index.search("equal", 7).ids == [str(i) for i in range(7)]


def test_a_document_of_a_megabyte_is_indexed():
    index = LexicalIndex.build(["word " * 200_000 + "needle", "needle in a haystack"])
    assert index.search("needle").ids == ["1", "0"]
    assert index.search("word").ids == ["0"]


def test_generators_are_read_once():
    index = LexicalIndex.build((text for text in TEXTS), ids=(str(i) for i in range(len(TEXTS))))
    assert len(index) == 5


def test_more_documents_than_a_batch_and_a_window_give_the_scores_of_the_oracle():
    rng = np.random.default_rng(3)
    corpus = [[f"t{t}" for t in rng.zipf(1.4, rng.integers(0, 12)) if t < 60] for _ in range(40_000)]
    index = LexicalIndex.build(corpus, analyzer=None)
    for query in (["t1", "t2", "t3"], ["t40", "t55"], ["t7"], ["t1"] * 3 + ["t50"]):
        for scorer in (BMX(), BMX(variant="paper"), BM25()):
            scores = index.scores(query, scorer)
            for k in (1, 10, 3000):
                hits = index.search(query, k, scorer)
                assert hits.rows.tolist() == oracles.best(scores.tolist(), k)


def test_a_query_of_hundreds_of_terms_is_fine():
    index = LexicalIndex.build([[f"t{i}" for i in range(j, j + 40)] for j in range(300)], analyzer=None)
    query = [f"t{i}" for i in range(320)]
    scores = index.scores(query)
    assert index.search(query, 20).rows.tolist() == oracles.best(scores.tolist(), 20)


def test_many_queries_give_what_single_queries_give(index):
    queries = ["cat", "", "dog cat", WeightedQuery([("birds", 1.0), ("cat", 0.2)])] * 300
    together = index.search_many(queries, k=2, n_threads=2)
    assert len(together) == len(queries)
    for query, hits in zip(queries[:4], together, strict=False):
        alone = index.search(query, 2)
        assert (alone.ids, alone.scores.tolist()) == (hits.ids, hits.scores.tolist())


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, True])
def test_a_number_of_threads_below_1_is_refused(index, n_threads):
    with pytest.raises(ConfigError, match="n_threads"):
        index.search_many(["cat"], n_threads=n_threads)


def test_progress_bars_are_drawn_on_request_only(capsys):
    index = LexicalIndex.build(["a cat"], progress=True)
    index.search_many(["cat"], progress=True)
    assert "indexing" in (shown := capsys.readouterr().err)
    assert "searching" in shown
    LexicalIndex.build(["a cat"]).search_many(["cat"])
    assert capsys.readouterr() == ("", "")


# Filters


@pytest.mark.parametrize(
    "allowed",
    [
        {"mat", "birds", "unknown"},
        ["mat"],
        ("mat",),
        {"mat": 1}.keys(),
        np.array([True, False, True, False, False]),
    ],
)
def test_only_documents_in_the_filter_come_back(index, allowed):
    assert index.search("cat dog", 100, filter=allowed).ids == ["mat"]


@pytest.mark.parametrize("allowed", [set(), ["unknown"], np.zeros(5, bool), {3, 4}])
def test_a_filter_that_lets_nothing_through_finds_nothing(index, allowed):
    assert len(index.search("cat dog", 100, filter=allowed)) == 0


@pytest.mark.parametrize("allowed", ["mat", b"mat", {"lang": "en"}, 3, np.ones(4, bool), lambda m: True])
def test_filters_of_another_kind_are_refused(index, allowed):
    with pytest.raises(ConfigError):
        index.search("cat", filter=allowed)


@given(corpora(), queries(), st.integers(1, 14), st.data())
def test_a_filtered_search_is_the_best_of_the_allowed(corpus, query, k, data):
    index = LexicalIndex.build(corpus, analyzer=None)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(corpus), max_size=len(corpus))), bool)
    scores = np.where(mask, index.scores(query), 0.0)
    assert index.search(query, k, filter=mask).rows.tolist() == oracles.best(scores, k)


# Input that cannot work


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["fine", None], r"texts\[1\] must be a str, found NoneType"),
        (["fine"] * 1500 + [3], r"texts\[1500\] must be a str, found int"),
        ([["a", "list"]], r"texts\[0\] must be a str, found list"),
        ("one string", "iterable of documents, found one str"),
        ([b"bytes"], "found bytes"),
    ],
)
def test_texts_of_another_type_are_named_by_position(texts, message):
    with pytest.raises(ConfigError, match=message):
        LexicalIndex.build(texts)


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["text"], "must be a list of str because analyzer=None"),
        ([["a", 1]], "terms of type str"),
        ([b"x"], "bytes"),
    ],
)
def test_token_lists_are_checked_too(texts, message):
    with pytest.raises(ConfigError, match=message):
        LexicalIndex.build(texts, analyzer=None)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["a"], "1 ids for 2 texts"),
        (["a", "b", "c"], "3 ids for 2 texts"),
        (["a", "a"], "'a' is given twice"),
        (["a", 1], r"ids\[1\] must be a str, found int 1; pass str"),
        ("ab", "found one str"),
    ],
)
def test_ids_that_do_not_fit_are_refused(ids, message):
    with pytest.raises(ConfigError, match=message):
        LexicalIndex.build(["x", "y"], ids=ids)


def test_text_and_token_queries_are_not_mixed_up(index):
    with pytest.raises(ConfigError, match="a query is a str"):
        index.search(["cat"])
    tokens = LexicalIndex.build([["cat"]], analyzer=None)
    with pytest.raises(ConfigError, match="a query is a list of str"):
        tokens.search("cat")
    with pytest.raises(ConfigError, match="str only"):
        tokens.search([1])
    assert tokens.search(("cat",)).ids == ["0"]


@pytest.mark.parametrize("analyzer", ["de", Analyzer("de"), AnalyzerConfig("de"), str.split])
def test_whatever_makes_an_analyzer_will_do(analyzer):
    assert len(LexicalIndex.build(["Häuser"], analyzer=analyzer).search("Häuser")) == 1


def test_an_analyzer_of_another_type_is_refused():
    with pytest.raises(ConfigError, match="Analyzer takes a language"):
        LexicalIndex.build(["x"], analyzer=3)


class Shouting(Analyzer):
    def terms(self, text):
        return [term.upper() for term in super().terms(text)]


def test_a_subclass_of_analyzer_analyses_documents_and_queries():
    index = LexicalIndex.build(["a cat"], analyzer=Shouting("en"))
    assert index.search("cats").ids == ["0"]
    assert list(index.snapshot().vocabulary) == ["CAT"]


# Edits


def same_content(first, second):
    assert list(first.ids) == list(second.ids)
    for query in ("cat", "dog cat birds", "sing mat mat", "new"):
        for scorer in (BMX(), BMX(variant="paper"), BM25()):
            assert first.scores(query, scorer).tolist() == second.scores(query, scorer).tolist()
            a, b = first.search(query, 3, scorer), second.search(query, 3, scorer)
            assert (a.ids, a.scores.tolist()) == (b.ids, b.scores.tolist())


def test_added_documents_are_found_as_if_built_with_them(index):
    assert index.add(["a new cat"], ids=["new"]) == ["new"]
    assert "new" in index
    same_content(
        index, LexicalIndex.build([*TEXTS, "a new cat"], ["mat", "chase", "birds", "empty", "both", "new"])
    )


def test_deleted_documents_leave_no_trace(index):
    index.delete(["chase", "empty"])
    assert "chase" not in index
    assert len(index) == 3
    same_content(index, LexicalIndex.build([TEXTS[0], TEXTS[2], TEXTS[4]], ["mat", "birds", "both"]))


def test_updated_documents_move_to_the_end(index):
    index.update(["mat"], ["new text"])
    same_content(
        index, LexicalIndex.build([*TEXTS[1:], "new text"], ["chase", "birds", "empty", "both", "mat"])
    )


def test_upserted_documents_replace_or_join_the_others(index):
    index.upsert(["mat", "new"], ["new text", "a new cat"])
    expected = LexicalIndex.build(
        [*TEXTS[1:], "new text", "a new cat"], ["chase", "birds", "empty", "both", "mat", "new"]
    )
    same_content(index, expected)


def test_missing_ids_can_be_passed_over(index):
    assert index.delete(["nowhere", "mat"], missing_ok=True) == ["mat"]
    assert len(index) == 4


def test_everything_can_be_deleted_and_added_again(index):
    index.delete(list(index.ids))
    assert len(index) == 0
    assert len(index.search("cat")) == 0
    index.add(TEXTS)
    same_content(index, LexicalIndex.build(TEXTS))


def test_generated_ids_are_found_without_trying_every_number_that_is_taken():
    index, looked_at = LexicalIndex.build(["a b"] * 5_000), []
    index.delete([str(number) for number in range(1_000)])
    original = State.__contains__

    def counting(state, key):
        looked_at.append(key)
        return original(state, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(State, "__contains__", counting)
        assert index.add(["c", "d"]) == ["5000", "5001"]
    assert len(looked_at) < 40


@given(st.sets(st.integers(0, 40)), st.integers(1, 5))
def test_generated_ids_are_new_and_distinct(taken, n):
    index = LexicalIndex.build(["a b"] * len(taken), ids=map(str, sorted(taken)))
    ids = index.add(["c"] * n)
    assert len(set(ids)) == n
    assert taken.isdisjoint(map(int, ids))
    assert all(int(key) >= len(taken) for key in ids)


def test_generated_ids_avoid_those_that_are_taken():
    index = LexicalIndex.build(["a", "b", "c"], ids=["3", "4", "x"])
    assert index.add(["d", "e"]) == ["5", "6"]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), max_size=3)),
        st.tuples(st.just("delete"), st.integers(0, 20)),
        st.tuples(st.just("update"), st.integers(0, 20), st.lists(st.sampled_from("abcdefg"), max_size=6)),
        st.tuples(st.just("compact")),
    ),
    max_size=8,
)


@given(corpora(max_docs=6), OPERATIONS)
def test_any_edits_give_the_scores_of_a_fresh_build_bit_for_bit(corpus, operations):
    index = LexicalIndex.build(corpus, analyzer=None)
    expected = {str(i): tokens for i, tokens in enumerate(corpus)}
    fresh = 1000
    for operation, *arguments in operations:
        keys = list(expected)
        if operation == "add":
            ids = [str(fresh + i) for i in range(len(arguments[0]))]
            fresh += len(ids)
            index.add(arguments[0], ids)
            expected |= dict(zip(ids, arguments[0], strict=True))
        elif operation == "compact":
            index.compact()
        elif keys:
            key = keys[arguments[0] % len(keys)]
            del expected[key]
            if operation == "delete":
                index.delete([key])
            else:
                index.update([key], [arguments[1]])
                expected[key] = arguments[1]
    rebuilt = LexicalIndex.build(list(expected.values()), list(expected), analyzer=None)
    assert list(index.ids) == list(rebuilt.ids)
    for query in (["a", "b"], ["c", "c", "h"], ["g", "x"]):
        for scorer in (BMX(), BMX(variant="paper"), BM25()):
            assert index.scores(query, scorer).tolist() == rebuilt.scores(query, scorer).tolist()
            assert index.search(query, 4, scorer).ids == rebuilt.search(query, 4, scorer).ids


@pytest.mark.parametrize(
    ("edit", "error"),
    [
        (lambda i: i.add(["x"], ["mat"]), ConfigError),
        (lambda i: i.add(["x", None]), ConfigError),
        (lambda i: i.add(["x"], ["p", "q"]), ConfigError),
        (lambda i: i.delete(["mat", "nowhere"]), UnknownIdError),
        (lambda i: i.delete("mat"), ConfigError),
        (lambda i: i.update(["nowhere"], ["x"]), UnknownIdError),
        (lambda i: i.update(["mat", "mat"], ["x", "y"]), ConfigError),
        (lambda i: i.update(["mat"], ["x", "y"]), ConfigError),
        (lambda i: i.upsert(["mat", "n"], ["x", None]), ConfigError),
        (lambda i: i.upsert(["n", "n"], ["x", "y"]), ConfigError),
    ],
)
def test_an_edit_that_fails_changes_nothing(index, edit, error):
    with pytest.raises(error):
        edit(index)
    same_content(index, LexicalIndex.build(TEXTS, ["mat", "chase", "birds", "empty", "both"]))


def test_an_unknown_id_is_named_without_quotes_around_the_sentence(index):
    with pytest.raises(KeyError) as caught:
        index.explain("cat", "nowhere")
    assert str(caught.value) == "id 'nowhere' is not among the 5 documents of the index"


# Copies and threads


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda i: pickle.loads(pickle.dumps(i)), LexicalIndex.copy]
)
def test_copies_are_independent(index, duplicate):
    other = duplicate(index)
    same_content(index, other)
    other.add(["another cat"])
    assert len(index) == 5
    assert len(index.search("another")) == 0


def test_searches_from_many_threads_see_one_state_each_while_another_edits():
    index = LexicalIndex.build(["cat zero"])
    stop = threading.Event()
    failures = []

    def search():
        while not stop.is_set():
            hits = index.search("cat", 1000)
            # Documents are added in pairs and so must come in pairs.
            if len(hits) % 2 != 1 or len(set(hits.ids)) != len(hits):
                failures.append(hits.ids)

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(search) for _ in range(8)]
        for i in range(60):
            index.add([f"cat {i}", f"cat term{i}"], [f"a{i}", f"b{i}"])
            if i % 3 == 0:
                index.delete([f"a{i}", f"b{i}"])
            if i % 7 == 0:
                index.compact()
        stop.set()
        for future in running:
            future.result()
    assert not failures
    assert len(index) == 1 + 2 * 40


def test_concurrent_writers_lose_nothing():
    index = LexicalIndex.build([])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: index.add([f"word{i} cat"], [f"d{i}"]), range(80)))
    assert sorted(index.ids) == sorted(f"d{i}" for i in range(80))
    assert all(index.search(f"word{i}").ids == [f"d{i}"] for i in range(80))


def test_the_representation_shows_sizes_and_no_text(index):
    assert repr(index) == "LexicalIndex(5 documents, 7 terms)"
    assert index.analyzer == Analyzer("en")
