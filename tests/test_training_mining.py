"""Hard negatives: compared with a plain loop over all scores; no relevant text is ever a negative."""

import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation import BeirDataset
from prorank_plugins.lexical.index import LexicalIndex
from prorank_plugins.lexical.scorers import BM25, BMX
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.mining import mine_negatives
from prorank_plugins.training.sources import groups_from_documents
from prorank_plugins.training.texts import normalized
from tests.strategies import TERMS

# A rank each for the query "fox": the more often, the higher.
FOXES = {f"d{n}": " ".join(["fox"] * n + ["dog"] * (12 - n)) for n in range(9, 0, -1)}
FOXES["none"] = "cat"


def foxes(*numbers):
    return tuple(FOXES[f"d{number}"] for number in numbers)


def mine(positives, **options):
    """Groups of the query "fox" whose relevant documents are d<n>."""
    qrels = {"q": {f"d{number}": 1 for number in positives}}
    return mine_negatives({"q": "fox"}, FOXES, qrels, **{"strategy": "top", **options})


def oracle(query, relevant, texts, index, ranks, margin, scorer):
    """Every text that may be a negative, by rank: plain loops over the exact scores of all documents."""
    scores = index.scores(query, scorer)
    ranking = sorted((row for row in range(len(scores)) if scores[row] > 0), key=lambda row: -scores[row])
    ids = list(texts)
    best = max((np.float32(scores[ids.index(id)]) for id in relevant), default=None)
    eligible, seen = [], {normalized(texts[id]) for id in relevant}
    for rank, row in enumerate(ranking, start=1):
        if not ranks[0] <= rank <= ranks[1]:
            continue
        if margin is not None and best is not None and float(np.float32(scores[row])) > margin * float(best):
            continue
        if normalized(texts[ids[row]]) not in seen:
            seen.add(normalized(texts[ids[row]]))
            eligible.append(texts[ids[row]])
    return eligible


@st.composite
def collections(draw):
    word = st.sampled_from([*TERMS, *(term.upper() for term in TERMS[:2])])
    written = st.lists(word, min_size=1, max_size=8).map(" ".join)
    texts = {f"d{i}": text for i, text in enumerate(draw(st.lists(written, min_size=2, max_size=14)))}
    queries = {f"q{i}": text for i, text in enumerate(draw(st.lists(written, min_size=1, max_size=5)))}
    grades = st.dictionaries(st.sampled_from([*texts, "absent"]), st.integers(-1, 2), max_size=4)
    return queries, texts, {query: draw(grades) for query in queries}


OPTIONS = st.fixed_dictionaries(
    {
        "n_negatives": st.integers(1, 5),
        "ranks": st.sampled_from([(1, 100), (1, 3), (2, 4), (3, 50)]),
        "margin": st.sampled_from([None, 0.5, 0.95, 1.0, 2.0]),
        "scorer": st.sampled_from([BMX(), BM25()]),
    }
)


def letters(texts):
    return LexicalIndex.build(texts.values(), texts.keys(), analyzer=lambda text: text.lower().split())


@given(collections(), OPTIONS)
def test_the_top_negatives_are_those_of_a_plain_loop(collection, options):
    queries, texts, qrels = collection
    index = letters(texts)
    mined = mine_negatives(queries, texts, qrels, strategy="top", index=index, **options)
    expected = []
    for query, text in queries.items():
        relevant = {id: grade for id, grade in qrels[query].items() if grade > 0 and id in texts}
        rest = {name: options[name] for name in ("ranks", "margin", "scorer")}
        negatives = oracle(text, relevant, texts, index, **rest)[: options["n_negatives"]]
        if relevant and negatives:
            expected.append((text, {texts[id] for id in relevant}, tuple(negatives)))
    found = [(group.query, set(group.positives), group.negatives) for group in mined]
    assert found == expected
    assert mined.counts.questions == len(queries)
    assert mined.counts.groups == len(expected)
    assert mined.counts.dropped == len(queries) - len(expected)
    assert mined.counts.short == sum(len(item[2]) < options["n_negatives"] for item in expected)


@given(collections(), OPTIONS, st.integers(0, 3))
def test_random_negatives_are_as_many_of_the_eligible_as_wanted(collection, options, seed):
    queries, texts, qrels = collection
    index = letters(texts)
    mined = mine_negatives(queries, texts, qrels, index=index, seed=seed, **options)
    for group in mined:
        query = next(
            name for name, text in queries.items() if text == group.query and set(group.positives) ==
            {texts[id] for id, grade in qrels[name].items() if grade > 0 and id in texts}
        )  # fmt: skip
        relevant = [id for id, grade in qrels[query].items() if grade > 0 and id in texts]
        rest = {name: options[name] for name in ("ranks", "margin", "scorer")}
        eligible = oracle(group.query, relevant, texts, index, **rest)
        plain = [normalized(text) for text in eligible]
        assert len(group.negatives) == min(options["n_negatives"], len(eligible))
        assert {normalized(text) for text in group.negatives} <= set(plain)


@given(collections(), OPTIONS, st.booleans(), st.integers(0, 3))
def test_no_negative_is_relevant_or_comes_twice(collection, options, fill, seed):
    queries, texts, qrels = collection
    for group in mine_negatives(queries, texts, qrels, index=letters(texts), seed=seed, fill=fill, **options):
        plain = [normalized(text) for text in group.negatives]
        assert len(set(plain)) == len(plain) <= options["n_negatives"]
        assert not set(plain) & {normalized(text) for text in group.positives}


@given(collections(), st.integers(0, 3), st.booleans(), st.sampled_from([1, 2, 3]))
def test_the_groups_do_not_depend_on_the_block_size(collection, seed, fill, block_size):
    queries, texts, qrels = collection
    options = {"seed": seed, "fill": fill, "index": letters(texts), "ranks": (1, 4), "margin": 0.9}
    whole = list(mine_negatives(queries, texts, qrels, **options))
    assert list(mine_negatives(queries, texts, qrels, block_size=block_size, **options)) == whole


def test_a_worked_example():
    assert list(mine([7], n_negatives=3)) == [RankingGroup("fox", [*foxes(7), *foxes(9, 8, 6)], [1, 0, 0, 0])]


def test_ranks_count_relevant_documents():
    (group,) = mine([7, 5], n_negatives=9, ranks=(2, 6))
    assert group.negatives == foxes(8, 6, 4)


def test_candidates_above_the_margin_are_passed_over():
    scores = LexicalIndex.build(FOXES.values(), FOXES.keys()).scores("fox")
    ratio = {int(id[1:]): scores[row] / scores[3] for row, id in enumerate(FOXES) if id != "none"}
    assert ratio[6] == 1 > ratio[5] > ratio[4]
    between = float(ratio[5] + ratio[4]) / 2
    (group,) = mine([6], n_negatives=9, margin=between)
    assert group.negatives == foxes(4, 3, 2, 1)
    (group,) = mine([6], n_negatives=9, margin=1.0)
    assert group.negatives == foxes(5, 4, 3, 2, 1)


def test_the_margin_is_measured_at_the_best_relevant_document_even_below_the_ranks():
    (group,) = mine([1, 8], n_negatives=9, margin=1.0)
    assert group.negatives == foxes(7, 6, 5, 4, 3, 2)
    mined = mine([2], ranks=(1, 3), margin=1.0)
    assert list(mined) == []
    (group,) = mine([2], ranks=(1, 3), margin=1e9)
    assert group.negatives == foxes(9, 8, 7)


def test_without_a_relevant_document_in_the_corpus_there_is_no_margin_and_that_is_counted():
    mined = mine_negatives([("fox", "elsewhere")], FOXES.values(), margin=0.01, n_negatives=2, strategy="top")
    assert [group.negatives for group in mined] == [foxes(9, 8)]
    assert mined.counts.unguarded == 1
    index = LexicalIndex.build(list(FOXES.values())[1:], list(FOXES)[1:])
    mined = mine([9], margin=0.01, index=index, n_negatives=2)
    assert [group.negatives for group in mined] == [foxes(8, 7)]
    assert mined.counts.unguarded == 1


def test_a_judged_document_of_grade_0_may_be_a_negative_and_grades_are_kept():
    qrels = {"q": {"d9": 0, "d8": 3, "d7": -1, "d1": 2}}
    (group,) = mine_negatives({"q": "fox"}, FOXES, qrels, strategy="top", n_negatives=2)
    assert group == RankingGroup("fox", foxes(8, 1, 9, 7), [3, 2, 0, 0])


def test_near_duplicates_of_a_relevant_text_are_never_negatives():
    texts = {"a": "A fox  ran", "b": "a FOX ran\n", "c": "a fox ran away", "d": "A fox ran away"}
    (group,) = mine_negatives({"q": "fox"}, texts, {"q": {"a": 1}}, strategy="top")
    assert group.negatives == ("a fox ran away",)


def test_copies_of_a_relevant_document_count_once_with_their_best_grade():
    texts = {"a": "a fox", "b": "a fox", "c": "the fox"}
    (group,) = mine_negatives({"q": "fox"}, texts, {"q": {"a": 1, "b": 2}})
    assert group == RankingGroup("fox", ["a fox", "the fox"], [2, 0])


def test_the_callers_own_test_is_asked_for_each_relevant_text_until_one_says_yes():
    asked = []

    def is_false_negative(query, positive, candidate):
        asked.append((query, positive, candidate))
        return (positive, candidate) in {(FOXES["d7"], FOXES["d9"]), (FOXES["d1"], FOXES["d6"])}

    (group,) = mine([7, 1], n_negatives=2, is_false_negative=is_false_negative)
    assert group.negatives == foxes(8, 5)
    assert asked == [
        ("fox", FOXES[f"d{positive}"], FOXES[f"d{candidate}"])
        for positive, candidate in [(7, 9), (7, 8), (1, 8), (7, 6), (1, 6), (7, 5), (1, 5)]
    ]


def test_a_random_draw_tests_no_more_candidates_than_it_needs():
    asked = []
    list(mine([1], strategy="random", n_negatives=2, is_false_negative=lambda *texts: asked.append(texts)))
    assert len(asked) == 2


def test_a_random_draw_covers_the_ranks_evenly():
    seen = Counter()
    for seed in range(300):
        (group,) = mine([1], strategy="random", ranks=(2, 7), n_negatives=2, seed=seed)
        ranks = [list(FOXES.values()).index(text) for text in group.negatives]
        assert ranks == sorted(ranks), "by rank"
        seen.update(ranks)
    assert sorted(seen) == [1, 2, 3, 4, 5, 6]
    assert min(seen.values()) > 70


def test_questions_without_relevant_texts_or_negatives_are_left_out_and_counted():
    queries = {
        "none": "fox",
        "absent": "fox",
        "unjudged": "fox",
        "alone": "cat",
        "good": "fox",
        "nothing": "x",
    }
    qrels = {
        "none": {"d1": 0},
        "absent": {"gone": 1},
        "alone": {"none": 1},
        "good": {"d9": 1},
        "nothing": {"d1": 1},
    }
    mined = mine_negatives(queries, FOXES, qrels, n_negatives=20)
    (group,) = mined
    assert len(group.negatives) == 8
    counts = mined.counts
    assert (counts.questions, counts.groups, counts.short, counts.filled) == (6, 1, 1, 0)
    assert (counts.without_positives, counts.without_negatives, counts.dropped) == (3, 2, 5)


def test_random_documents_fill_what_is_missing():
    texts = {"a": "fox one", "b": "fox two", **{str(i): f"word{i}" for i in range(30)}}
    mined = mine_negatives({"q": "fox"}, texts, {"q": {"a": 1}}, n_negatives=5, fill=True)
    (group,) = mined
    assert group.negatives[0] == "fox two"
    assert len(set(group.negatives)) == 5
    assert (mined.counts.filled, mined.counts.short) == (1, 0)
    others = {
        mine_negatives({"q": "fox"}, texts, {"q": {"a": 1}}, n_negatives=5, fill=True, seed=seed)
        .__next__()
        .negatives
        for seed in range(5)
    }
    assert len(others) == 5


def test_filling_takes_nothing_that_a_rank_or_the_margin_ruled_out():
    (group,) = mine([9], ranks=(3, 4), n_negatives=99, fill=True)
    assert group.negatives[:2] == foxes(7, 6)
    assert set(group.negatives[2:]) == {*foxes(5, 4, 3, 2, 1), "cat"}, "d8 ranks before the window"
    (group,) = mine([2], ranks=(1, 3), n_negatives=99, margin=1.0, fill=True)
    assert set(group.negatives) == {*foxes(1), "cat"}, "d6 to d3 score above d2, though beyond the ranks"


def test_pairs_of_one_query_become_one_group():
    pairs = [("fox", FOXES["d9"]), ("cat", "cat"), ["fox", FOXES["d8"]], ("fox", FOXES["d9"])]
    mined = mine_negatives(iter(pairs), FOXES.values(), n_negatives=1, strategy="top")
    assert list(mined) == [RankingGroup("fox", foxes(9, 8, 7), [1, 1, 0])]
    assert mined.counts.without_negatives == 1


def test_without_documents_the_other_relevant_texts_are_the_corpus():
    pairs = [("fox", "red fox"), ("grey fox", "grey fox"), ("dog", "dog")]
    groups = {group.query: group.negatives for group in mine_negatives(pairs)}
    assert groups == {"fox": ("grey fox",), "grey fox": ("red fox",)}


def test_groups_of_generated_questions_are_mined_as_they_are():
    documents = [Document("x", "red fox"), Document("y", "grey fox")]
    asked = groups_from_documents(documents, lambda text: [f"which {text}?"])
    assert list(mine_negatives(asked, documents)) == [
        RankingGroup("which red fox?", ["red fox", "grey fox"], [1, 0]),
        RankingGroup("which grey fox?", ["grey fox", "red fox"], [1, 0]),
    ]
    graded = RankingGroup("fox", ["red fox", "grey fox", "a dog"], [2, 0, 1])
    assert list(mine_negatives([graded], documents)) == [
        RankingGroup("fox", ["red fox", "a dog", "grey fox"], [2, 1, 0])
    ]


def test_a_collection_brings_everything():
    documents = [Document(id, text) for id, text in FOXES.items()]
    data = BeirDataset("tiny", documents, {"q": "fox"}, {"q": {"d7": 1}})
    assert list(mine_negatives(data, n_negatives=3, strategy="top")) == list(mine([7], n_negatives=3))
    with pytest.raises(ConfigError, match="a BeirDataset brings its own documents and positives"):
        mine_negatives(data, documents)


def test_an_index_is_used_as_it_is_when_mining_begins():
    index = LexicalIndex.build(FOXES.values(), FOXES.keys())
    mined = mine([7], index=index, n_negatives=3)
    index.delete(["d9"])
    index.add(["fox fox"], ["stranger"])
    assert list(mined) == list(mine([7], n_negatives=3))


def test_groups_are_mined_when_they_are_wanted():
    asked = []
    queries = {str(number): "fox" for number in range(100)}
    mined = mine_negatives(
        queries,
        FOXES,
        {query: {"d1": 1} for query in queries},
        n_negatives=1,
        is_false_negative=lambda *texts: asked.append(texts),
        block_size=10,
    )
    assert asked == []
    assert len(list(islice(mined, 15))) == 15
    assert len(asked) == mined.counts.questions == 15


def test_progress_is_shown_on_request(capsys):
    list(mine([7], progress=True))
    assert "mining" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_negatives": 0}, "n_negatives is 0; expected a whole number of at least 1"),
        ({"ranks": (0, 5)}, "a rank of ranks is 0; expected a whole number of at least 1"),
        ({"ranks": (5, 4)}, "ranks is (5, 4); expected the first rank not to come after the last"),
        ({"ranks": 100}, "ranks is 100; expected (first, last), counted from 1"),
        ({"margin": 0}, "margin is 0; expected None or a factor above 0"),
        ({"margin": float("nan")}, "margin is nan"),
        ({"margin": True}, "margin is True"),
        ({"strategy": "best"}, 'strategy is \'best\'; expected "random" or "top"'),
        ({"seed": -1}, "seed is -1"),
        ({"block_size": 0}, "block_size is 0"),
        ({"index": 3}, "index is int; expected a LexicalIndex of the documents"),
        ({"index": LexicalIndex.build([["fox"]], analyzer=None)}, "index holds token lists"),
        ({"index": LexicalIndex.build(["fox"])}, "index holds the id '0', which is not among the documents"),
        ({"documents": []}, "found no documents; expected the texts to draw negatives from"),
        ({"documents": "fox"}, "documents is str; expected a collection of texts"),
        ({"documents": [3]}, "found int without a text"),
        (
            {"documents": [Document("a", "x"), Document("a", "y")]},
            "documents[1] has the id 'a' a second time",
        ),
        ({"documents": None}, "queries with ids need documents and positives="),
        ({"positives": None}, "queries with ids need documents and positives="),
        ({"positives": {"q": ["d1"]}}, "positives must be {query: {document: grade}}"),
        ({"positives": [("q", "d1")]}, "positives must be {query: {document: grade}}"),
        ({"queries": {"q": 3}}, "queries['q'] is int; expected the text of the query"),
        ({"queries": [("fox", "red fox")]}, "pairs bring their own positives"),
        ({"queries": "fox", "positives": None}, "queries is str; expected a BeirDataset"),
        (
            {"queries": [("fox",)], "positives": None},
            "queries[0] is ('fox',); expected (query, relevant text)",
        ),
        ({"queries": [("fox", 3)], "positives": None}, "queries[0] is ('fox', 3)"),
    ],
)
def test_wrong_arguments_are_refused_at_once(options, message):
    arguments = {"queries": {"q": "fox"}, "documents": FOXES, "positives": {"q": {"d1": 1}}, **options}
    with pytest.raises(ConfigError, match=re.escape(message)):
        mine_negatives(**arguments)
