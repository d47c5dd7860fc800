"""`evaluate`, the report it returns, and the comparison of two reports."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.evaluation import Report, compare, evaluate
from prorank_plugins.evaluation.resampling import bootstrap_means, sign_flip_p_value

QRELS = {"q1": {"a": 1, "b": 0}, "q2": {"c": 2}, "q3": {"d": 1}}
RUN = {"q1": {"a": 2.0, "b": 1.0}, "q2": {"x": 2.0, "c": 1.0}, "unjudged": {"a": 1.0}}
MEASURES = ["mrr", "recall@1", "P@5"]


def report_of(values, measure="m"):
    """A report with the given value per query, without a run."""
    per_query = {f"q{n:03d}": {measure: float(value)} for n, value in enumerate(values)}
    return Report({measure: float(np.mean(values))}, per_query, "made by hand")


def test_the_report_by_hand():
    report = evaluate(RUN, QRELS, MEASURES)
    assert report.per_query == {
        "q1": {"mrr": 1.0, "recall@1": 1.0, "P@5": 0.2},
        "q2": {"mrr": 0.5, "recall@1": 0.0, "P@5": 0.2},
        "q3": {"mrr": 0.0, "recall@1": 0.0, "P@5": 0.0},
    }
    assert report.mean == pytest.approx({"mrr": 0.5, "recall@1": 1 / 3, "P@5": 0.4 / 3})


def test_measures_come_in_the_order_and_spelling_asked_for():
    assert list(evaluate(RUN, QRELS, MEASURES).mean) == MEASURES
    assert list(evaluate(RUN, QRELS, MEASURES[::-1]).mean) == MEASURES[::-1]


def test_one_measure_may_be_given_as_a_string():
    assert evaluate(RUN, QRELS, "mrr") == evaluate(RUN, QRELS, ["mrr"])


def test_a_run_may_hold_ids_in_order_instead_of_scores():
    ordered = {"q1": ["a", "b"], "q2": ["x", "c"]}
    assert evaluate(ordered, QRELS, MEASURES).per_query == evaluate(RUN, QRELS, MEASURES).per_query


def test_an_empty_run_counts_every_query_as_zero():
    assert evaluate({}, QRELS, ["ndcg@10"]).mean == {"ndcg@10": 0.0}


def test_inputs_stay_as_they_were():
    run, qrels = json.dumps(RUN), json.dumps(QRELS)
    evaluate(RUN, QRELS, MEASURES)
    assert (json.dumps(RUN), json.dumps(QRELS)) == (run, qrels)


def test_the_mean_and_interval_do_not_depend_on_the_order_of_the_judgements():
    rng = random.Random(0)
    qrels = {f"q{n}": {"a": 1} for n in range(30)}
    run = {query: {"a": rng.random(), "b": 0.5, "c": 0.8} for query in qrels}
    report, reversed_report = (
        evaluate(run, order, ["ndcg"]) for order in (qrels, dict(reversed(qrels.items())))
    )
    assert report.mean == reversed_report.mean
    assert report.signature == reversed_report.signature
    assert report.interval("ndcg") == reversed_report.interval("ndcg")


def test_a_nan_score_is_refused_with_query_and_document_named():
    with pytest.raises(ConfigError, match=r"query 'q2'.*document 'c'.*nan"):
        evaluate({"q2": {"c": float("nan")}}, QRELS, ["mrr"])


@pytest.mark.parametrize(
    ("run", "qrels", "measures", "message"),
    [
        (RUN, QRELS, ["f1"], "unknown measure 'f1'"),
        (RUN, QRELS, [], "measures is empty"),
        (RUN, {}, ["mrr"], "holds no query"),
        (RUN, {"q1": {"a": 0.5}}, ["mrr"], "grade 0.5"),
        (RUN, {1: {"a": 1}}, ["mrr"], "expected str"),
        (RUN, {"q1": {1: 1}}, ["mrr"], "expected str"),
        ({"1": {"a": 1.0}}, QRELS, ["mrr"], "share no query"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(run, qrels, measures, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(run, qrels, measures)


def test_the_signature_names_measures_judgements_recipe_and_versions():
    signature = evaluate(RUN, QRELS, MEASURES, recipe={"scorer": "bmx"}).signature
    assert signature.startswith("scorer:bmx|measures:mrr,recall@1,precision@5|gain:linear|")
    assert "|queries:3|judgements:4|qrels:" in signature
    assert "|numpy:" in signature


def test_the_signature_changes_with_the_judgements_and_not_with_the_run():
    signature = evaluate(RUN, QRELS, MEASURES).signature
    assert evaluate({}, QRELS, MEASURES).signature == signature
    assert evaluate(RUN, {**QRELS, "q3": {"d": 2}}, MEASURES).signature != signature


def test_a_report_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        evaluate(RUN, QRELS, MEASURES).mean = {}


def test_a_report_survives_json():
    report = evaluate(RUN, QRELS, MEASURES)
    assert Report.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["interval_95"]["mrr"] == list(report.interval("mrr"))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"mean": 1, "per_query": {}, "signature": ""}'])
def test_json_that_is_no_report_is_refused(text):
    with pytest.raises(DataFormatError, match="not a report"):
        Report.from_json(text)


def test_the_printed_report_is_a_table():
    lines = str(report_of([0.5, 0.5])).splitlines()
    assert lines == [
        "measure    mean  95 % interval",
        "m        0.5000  0.5000 to 0.5000",
        "over 2 queries",
        "made by hand",
    ]


def test_the_interval_of_two_queries_by_hand():
    # Two draws from {0, 1}: the mean is 0 or 1 with probability 1/4 each, beyond the 2.5 % on either side.
    assert report_of([0, 1]).interval("m") == (0.0, 1.0)
    assert report_of([0, 1]).interval("m", confidence=0.4) == (0.5, 0.5)


def test_the_interval_approaches_the_normal_one_for_many_queries():
    values = np.random.default_rng(1).random(2000)
    low, high = report_of(values).interval("m")
    half_width = 1.96 * values.std() / np.sqrt(values.size)
    assert low == pytest.approx(values.mean() - half_width, abs=half_width / 10)
    assert high == pytest.approx(values.mean() + half_width, abs=half_width / 10)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(deadline=None, max_examples=30)
def test_the_interval_lies_within_the_values_and_widens_with_confidence(values):
    report = report_of(values)
    low, high = report.interval("m", n_resamples=200)
    wide_low, wide_high = report.interval("m", confidence=0.99, n_resamples=200)
    assert min(values) - 1e-12 <= wide_low <= low <= high <= wide_high <= max(values) + 1e-12


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    report = report_of(np.random.default_rng(2).random(50))
    assert report.interval("m") == report.interval("m")
    assert report.interval("m") != report.interval("m", seed=1)


def test_resamples_in_chunks_equal_resamples_at_once(monkeypatch):
    values = np.random.default_rng(3).random((2, 7))
    at_once = bootstrap_means(values, 100, seed=0)
    monkeypatch.setattr("prorank_plugins.evaluation.resampling._MAX_DRAWS", 30)
    np.testing.assert_array_equal(bootstrap_means(values, 100, seed=0), at_once)
    np.testing.assert_array_equal(bootstrap_means(values[1:], 100, seed=0), at_once[1:])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"confidence": 0}, "confidence"),
        ({"confidence": 95}, "confidence"),
        ({"n_resamples": 0}, "n_resamples"),
    ],
)
def test_impossible_interval_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        report_of([0, 1]).interval("m", **options)
    with pytest.raises(ConfigError, match=message):
        compare(report_of([0, 1]), report_of([1, 1]), **options)


def test_a_measure_that_the_report_lacks_is_refused():
    with pytest.raises(ConfigError, match="no measure 'map'; it has m"):
        report_of([1]).interval("map")


def test_a_comparison_by_hand():
    comparison = compare(report_of([0, 0.5, 1, 0.2]), report_of([1, 0.5, 0.5, 0.4]))["m"]
    assert comparison.difference == pytest.approx((1 + 0 - 0.5 + 0.2) / 4)
    assert (comparison.wins, comparison.ties, comparison.losses) == (2, 1, 1)
    assert comparison.n_queries == 4
    assert comparison.low <= comparison.difference <= comparison.high
    assert "2 won, 1 tied, 1 lost of 4 queries" in str(comparison)


def test_the_p_value_approaches_the_share_of_all_sign_patterns():
    differences = np.random.default_rng(4).normal(0.3, 1, size=10)
    sums = [abs(np.dot(signs, differences)) for signs in itertools.product([1, -1], repeat=10)]
    exact = np.mean([total >= abs(differences.sum()) - 1e-12 for total in sums])
    assert sign_flip_p_value(differences, 20_000, seed=0) == pytest.approx(exact, abs=0.015)


def test_a_run_compared_with_itself_does_not_differ():
    comparison = compare(report_of([0.1, 0.9]), report_of([0.1, 0.9]))["m"]
    assert (comparison.difference, comparison.low, comparison.high, comparison.p_value) == (0, 0, 0, 1)
    assert comparison.ties == 2


def test_winning_each_of_forty_queries_by_the_same_margin_has_the_smallest_p_value():
    comparison = compare(report_of([0.5] * 40), report_of([0.6] * 40), n_resamples=999)["m"]
    assert comparison.p_value == 1 / 1000
    assert comparison.low == pytest.approx(0.1)


def test_the_p_value_is_roughly_uniform_when_nothing_differs():
    rng = np.random.default_rng(5)
    p_values = [sign_flip_p_value(rng.normal(size=20), 200, seed) for seed in range(400)]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=0.05)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=15))
@settings(deadline=None, max_examples=30)
def test_exchanging_the_runs_changes_the_sign_and_nothing_else(pairs):
    first, second = (report_of(values) for values in zip(*pairs, strict=True))
    there, back = compare(first, second, n_resamples=200)["m"], compare(second, first, n_resamples=200)["m"]
    assert there.difference == -back.difference
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert there.p_value == back.p_value
    assert (there.wins, there.ties, there.losses) == (back.losses, back.ties, back.wins)


def test_measures_that_both_reports_hold_are_compared_unless_named():
    first = evaluate(RUN, QRELS, ["mrr", "map", "ndcg"])
    second = evaluate(RUN, QRELS, ["ndcg", "mrr"])
    assert list(compare(first, second)) == ["mrr", "ndcg"]
    assert list(compare(first, second, ["ndcg"])) == list(compare(first, second, "ndcg")) == ["ndcg"]


def test_comparing_several_measures_gives_the_numbers_of_each_alone():
    rng = random.Random(6)
    first, second = (
        evaluate({f"q{n}": {"a": rng.random(), "b": 0.5, "c": 0.3} for n in range(9)}, qrels, ["ndcg", "p@1"])
        for qrels in [{f"q{n}": {"a": 1} for n in range(9)}] * 2
    )
    both = compare(first, second)
    assert both["p@1"] == compare(first, second, ["p@1"])["p@1"]


def test_reports_over_different_queries_are_refused():
    with pytest.raises(ConfigError, match=r"different queries: 2 and 3.*'q002'"):
        compare(report_of([0, 1]), report_of([0, 1, 1]))


def test_reports_without_a_common_measure_are_refused():
    with pytest.raises(ConfigError, match="no measure to compare"):
        compare(report_of([0], "mrr"), report_of([0], "map"))
    with pytest.raises(ConfigError, match="no measure 'map'"):
        compare(report_of([0], "mrr"), report_of([0], "mrr"), ["map"])
