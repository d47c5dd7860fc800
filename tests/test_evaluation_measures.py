"""Worked examples and laws of the five measures; the agreement with trec_eval has its own file."""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation import average_precision, ndcg, precision, recall, reciprocal_rank
from prorank_plugins.evaluation.measure_names import MEASURES, parse_measure
from prorank_plugins.evaluation.ranking import ranked

RANKING = ["a", "b", "c", "d"]
GRADES = {"b": 2, "d": 1, "x": 3, "a": 0, "c": -1}
"""Relevant: b at rank 2, d at rank 4, and x, which was not retrieved."""

ALL = [ndcg, recall, precision, reciprocal_rank, average_precision]

judgements = st.dictionaries(st.sampled_from("abcdefgh"), st.integers(-2, 4))
rankings = st.permutations("abcdefgh").flatmap(lambda ids: st.integers(0, 8).map(lambda n: ids[:n]))


def test_ndcg_by_hand():
    gained = 2 / log2(3) + 1 / log2(5)
    ideal = 3 / log2(2) + 2 / log2(3) + 1 / log2(4)
    assert ndcg(RANKING, GRADES) == pytest.approx(gained / ideal)
    assert ndcg(RANKING, GRADES, 2) == pytest.approx((2 / log2(3)) / (3 + 2 / log2(3)))


def test_recall_by_hand():
    assert recall(RANKING, GRADES) == pytest.approx(2 / 3)
    assert recall(RANKING, GRADES, 3) == pytest.approx(1 / 3)


def test_precision_divides_by_k_even_when_fewer_are_retrieved():
    assert precision(RANKING, GRADES, 2) == 1 / 2
    assert precision(RANKING, GRADES, 10) == 2 / 10


def test_reciprocal_rank_by_hand():
    assert reciprocal_rank(RANKING, GRADES) == 1 / 2
    assert reciprocal_rank(RANKING, GRADES, 1) == 0


def test_average_precision_by_hand():
    assert average_precision(RANKING, GRADES) == pytest.approx((1 / 2 + 2 / 4) / 3)
    assert average_precision(RANKING, GRADES, 2) == pytest.approx((1 / 2) / 3)


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("grades", [{}, {"a": 0}, {"a": -1, "b": -3}])
def test_a_query_without_relevant_documents_measures_zero(measure, grades):
    assert measure(RANKING, grades, 3) == 0.0


@pytest.mark.parametrize("measure", ALL)
def test_an_empty_ranking_measures_zero(measure):
    assert measure([], GRADES, 3) == 0.0
    assert measure({}, GRADES, 3) == 0.0


@pytest.mark.parametrize("measure", ALL)
@pytest.mark.parametrize("k", [0, -1])
def test_a_cutoff_below_one_is_refused(measure, k):
    with pytest.raises(ConfigError, match="at least 1"):
        measure(RANKING, GRADES, k)


@pytest.mark.parametrize("measure", ALL)
@given(ranking=rankings, grades=judgements, k=st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_every_measure_is_a_float_between_zero_and_one(measure, ranking, grades, k):
    value = measure(ranking, grades, k)
    assert type(value) is float
    assert 0 <= value <= 1 + 1e-12


@given(ranking=rankings, grades=judgements, k=st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_putting_better_grades_first_never_lowers_a_measure(ranking, grades, k):
    improved = sorted(ranking, key=lambda id: -grades.get(id, 0))
    for measure in ALL:
        assert measure(improved, grades, k) >= measure(ranking, grades, k) - 1e-12


@given(grades=judgements.filter(lambda grades: max(grades.values(), default=0) > 0))
@settings(deadline=None, max_examples=50)
def test_the_ideal_ranking_has_ndcg_recall_mrr_and_map_of_one(grades):
    ideal = sorted(grades, key=lambda id: -grades[id])
    for measure in (ndcg, recall, reciprocal_rank, average_precision):
        assert measure(ideal, grades) == pytest.approx(1)


@given(ranking=rankings, grades=judgements)
@settings(deadline=None, max_examples=50)
def test_a_cutoff_beyond_the_ranking_and_the_judgements_changes_nothing(ranking, grades):
    for measure in (ndcg, recall, reciprocal_rank, average_precision):
        assert measure(ranking, grades, 100) == measure(ranking, grades)


@given(ranking=rankings, grades=judgements, k=st.integers(1, 10))
@settings(deadline=None, max_examples=50)
def test_scores_and_the_ids_in_their_order_measure_the_same(ranking, grades, k):
    scores = {id: 10.0 - rank for rank, id in enumerate(ranking)}
    for measure in ALL:
        assert measure(scores, grades, k) == measure(ranking, grades, k)


def test_scores_equal_as_float32_are_ordered_by_id_descending():
    assert ranked({"10": 1.0, "9": 1.0 + 1e-9, "é": 1.0, "z": 1.0 - 1e-9}) == ["é", "z", "9", "10"]
    assert ranked({"a": 1.0 + 1e-6, "b": 1.0}) == ["a", "b"]
    assert ranked({"a": 0.0, "b": -0.0}) == ["b", "a"]


def test_scores_beyond_float32_tie_instead_of_failing():
    assert ranked({"a": 1e300, "b": 1e39, "c": 1.0}) == ["b", "a", "c"]


def test_numpy_scalars_are_scores_and_grades():
    scores = {"a": np.float32(0.5), "b": np.int64(2), "c": np.float64(1)}
    assert ranked(scores) == ["b", "c", "a"]
    assert type(ndcg(scores, {"a": np.int64(1)})) is float


@pytest.mark.parametrize(
    "bad", [float("nan"), float("inf"), -float("inf"), np.float32("nan"), "1.5", None, 1j, 10**400]
)
def test_a_score_that_is_not_a_finite_number_is_refused(bad):
    with pytest.raises(ConfigError, match="finite"):
        ranked({"a": 1.0, "culprit": bad})


@pytest.mark.parametrize("ranking", [{1: 0.5}, [1, 2], {b"a": 1.0}])
def test_ids_that_are_not_strings_are_refused(ranking):
    with pytest.raises(ConfigError, match="expected str"):
        ranked(ranking)


def test_a_document_ranked_twice_is_refused():
    with pytest.raises(ConfigError, match="'b' is ranked twice"):
        ranked(["a", "b", "c", "b"])


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("ndcg", "ndcg"),
        ("NDCG@10", "ndcg@10"),
        ("ndcg_cut_10", "ndcg@10"),
        ("ndcg_cut.10", "ndcg@10"),
        ("p@5", "precision@5"),
        ("P_5", "precision@5"),
        ("precision@5", "precision@5"),
        ("recall_20", "recall@20"),
        ("recall", "recall"),
        ("set_recall", "recall"),
        ("mrr", "mrr"),
        ("recip_rank", "mrr"),
        ("MRR@10", "mrr@10"),
        ("map_cut_100", "map@100"),
    ],
)
def test_a_measure_has_one_canonical_name_among_its_spellings(name, canonical):
    assert parse_measure(name).name == canonical
    assert parse_measure(canonical) == parse_measure(name)


@pytest.mark.parametrize("name", ["", "nDCG@", "f1", "ndcg@0", "ndcg@-1", "ndcg@x", "precision", "p", "@10"])
def test_an_unknown_measure_is_refused_with_the_valid_ones(name):
    with pytest.raises(ConfigError) as caught:
        parse_measure(name)
    assert all(base in str(caught.value) for base in MEASURES)
