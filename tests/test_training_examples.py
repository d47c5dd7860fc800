"""Judged pairs and ranking groups: what they keep, and what they refuse."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.examples import RankingGroup, RelevanceExample


@pytest.mark.parametrize("label", [1, True, np.int64(1), np.uint8(1), np.bool_(True)])
def test_a_label_is_kept_as_a_plain_int(label):
    example = RelevanceExample("q", "d", label)
    assert type(example.label) is int
    assert example == RelevanceExample("q", "d", 1)


@pytest.mark.parametrize("label", [2, -1, 0.0, 1.0, "1", None, np.float32(1), [1], float("nan")])
def test_any_other_label_is_refused(label):
    with pytest.raises(ConfigError, match=r"label is .*; expected 0 or 1"):
        RelevanceExample("q", "d", label)


def test_a_text_that_is_no_string_is_refused():
    with pytest.raises(ConfigError, match=r"RelevanceExample\.query is bytes b'q'; expected a str"):
        RelevanceExample(b"q", "d", 0)
    with pytest.raises(ConfigError, match=r"RelevanceExample\.document is NoneType None"):
        RelevanceExample("q", None, 0)


def test_a_group_splits_into_positives_negatives_and_pairs():
    group = RankingGroup("q", ["a", "b", "c"], [0, 2, 0.5])
    assert group.positives == ("b", "c")
    assert group.negatives == ("a",)
    assert group.examples() == [
        RelevanceExample("q", "a", 0),
        RelevanceExample("q", "b", 1),
        RelevanceExample("q", "c", 1),
    ]


def test_a_group_is_a_value_whatever_sequences_made_it():
    made = RankingGroup("q", ["a", "b"], np.array([1, 0], np.int8), np.array([3.5, -2], np.float32))
    assert made == RankingGroup("q", ("a", "b"), (1.0, 0.0), (3.5, -2.0))
    assert hash(made) == hash(RankingGroup("q", iter("ab"), [True, False], [3.5, -2]))
    assert all(type(number) is float for number in (*made.grades, *made.teacher_scores))


def test_later_changes_to_the_callers_list_do_not_reach_the_group():
    documents = ["a", "b"]
    group = RankingGroup("q", documents, [1, 0])
    documents.append("c")
    assert group.documents == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("q", [], []), "RankingGroup of 'q' has no documents; expected at least one"),
        (("q", ["a"], [1, 0]), "has 2 grades for 1 documents; expected one a document"),
        (("q", ["a"], []), "has 0 grades for 1 documents"),
        (("q", ["a", "b"], [1, 0], [0.5]), "has 1 teacher_scores for 2 documents"),
        (("q", ["a"], [-1]), "grades[0] is -1; expected at least 0"),
        (("q", ["a"], [float("nan")]), "grades[0] is nan; expected a finite number"),
        (("q", ["a"], [float("inf")]), "grades[0] is inf; expected a finite number"),
        (("q", ["a"], ["1"]), "grades[0] is '1'; expected a finite number"),
        (("q", ["a"], [10**400]), "expected a finite number"),
        (("q", ["a"], [None]), "grades[0] is None; expected a finite number"),
        (("q", ["a"], [1], [float("-inf")]), "teacher_scores[0] is -inf; expected a finite number"),
        (("q", ["a"], 1), "grades is int 1; expected a sequence of numbers"),
        (("q", "abc", [1, 0, 0]), "documents is str 'abc'; expected a sequence of texts"),
        (("q", {"a": 1}, [1]), "documents is dict {'a': 1}; expected a sequence of texts"),
        (("q", ["a"], {1}), "grades is set {1}; expected a sequence of numbers"),
        (("q", ["a", 7], [1, 0]), "documents[1] is int 7; expected a str"),
        ((None, ["a"], [1]), "query is NoneType None; expected a str"),
        (("q", ["a", "b", "a"], [1, 0, 0]), "a positive among the negatives: str 'a'"),
    ],
)
def test_a_malformed_group_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        RankingGroup(*arguments)


def test_a_long_text_is_cut_in_a_message():
    with pytest.raises(ConfigError) as caught:
        RankingGroup("q", ["x" * 500, "x" * 500], [1, 0])
    assert len(str(caught.value)) < 300


def test_one_text_may_occur_twice_on_the_same_side():
    assert RankingGroup("q", ["a", "a", "b", "b"], [1, 2, 0, 0]).positives == ("a", "a")


@given(st.lists(st.tuples(st.text(), st.floats(0, 1e6)), min_size=1, unique_by=lambda pair: pair[0]))
def test_positives_and_negatives_share_out_the_documents(judged):
    group = RankingGroup("q", *zip(*judged, strict=True))
    assert sorted((*group.positives, *group.negatives)) == sorted(group.documents)
    assert [example.document for example in group.examples() if example.label] == list(group.positives)
