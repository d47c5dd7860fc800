"""Probabilities from raw scores, how good they are, and mixing with the first stage."""

import json
import logging
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.calibration import (
    Calibration,
    Isotonic,
    Platt,
    ReferenceNormalization,
    Sigmoid,
    Temperature,
    brier_score,
    calibration_from_json,
    expected_calibration_error,
    fit_calibration,
)
from prorank_plugins.rerank.fusion import fuse

METHODS = ["temperature", "platt", "isotonic"]
FUSIONS = ["minmax", "zscore", "rrf"]


def numbers(low=-1e6, high=1e6):
    return st.floats(low, high, allow_nan=False, allow_subnormal=False)


@st.composite
def isotonics(draw):
    x = sorted(draw(st.lists(numbers(-100, 100), min_size=1, max_size=8, unique=True)))
    y = sorted(draw(st.lists(st.floats(0, 1), min_size=len(x), max_size=len(x))))
    return Isotonic(tuple(x), tuple(y))


def calibrations():
    return st.one_of(
        st.just(Sigmoid()),
        numbers(-50, 50).map(ReferenceNormalization),
        numbers(1e-3, 1e3).map(Temperature),
        st.builds(Platt, numbers(1e-3, 1e3), numbers(-100, 100)),
        isotonics(),
    )


def noisy_pairs(n=4000, a=0.5, b=-1.0, seed=0):
    """Scores with labels drawn from ``sigmoid(a · s + b)``."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(1.0, 4.0, n)
    return scores, (rng.random(n) < 1 / (1 + np.exp(-(a * scores + b)))).astype(int)


def log_loss(probabilities, labels):
    return -np.mean(np.log(np.where(np.asarray(labels) == 1, probabilities, 1 - probabilities)))


# What each calibration computes


def test_the_sigmoid_of_log_three_is_three_quarters():
    np.testing.assert_allclose(Sigmoid()(np.array([0.0, np.log(3), -np.log(3)])), [0.5, 0.75, 0.25])


def test_the_sigmoid_keeps_float64_digits_of_very_low_scores_and_is_stable_at_the_ends():
    ends = Sigmoid()(np.array([-np.inf, -1e300, -700.0, 40.0, 1e300, np.inf], np.float64))
    np.testing.assert_allclose(ends, [0, 0, np.exp(-700), 1, 1, 1], rtol=1e-14)


def test_float32_scores_are_calibrated_in_float64_and_keep_their_shape():
    probabilities = Sigmoid()(np.array([[-20.0, 20.0]], np.float32))
    assert probabilities.dtype == np.float64
    assert probabilities.shape == (1, 2)
    assert probabilities[0, 1] < 1


def test_the_reference_normalization_is_one_half_at_half_the_estimated_maximum():
    np.testing.assert_allclose(ReferenceNormalization(9.0)(np.array([4.5, 4.5 + np.log(3)])), [0.5, 0.75])


def test_a_temperature_of_two_halves_the_log_odds():
    np.testing.assert_allclose(Temperature(2.0)(np.array([2 * np.log(3)])), [0.75])


def test_platt_scales_and_shifts_the_log_odds():
    np.testing.assert_allclose(Platt(2.0, -np.log(3))(np.array([0.0, np.log(3)])), [0.25, 0.75])


def test_isotonic_draws_lines_between_its_points_and_is_level_outside():
    calibration = Isotonic((0.0, 2.0, 4.0), (0.1, 0.5, 0.5))
    scores = np.array([-9.0, 0.0, 1.0, 2.0, 3.0, 9.0])
    np.testing.assert_allclose(calibration(scores), [0.1, 0.1, 0.3, 0.5, 0.5, 0.5])


def test_isotonic_with_one_point_is_a_constant():
    np.testing.assert_array_equal(Isotonic((1.0,), (0.3,))(np.array([-5.0, 1.0, 5.0])), [0.3, 0.3, 0.3])


@given(calibrations(), arrays(np.float64, st.integers(0, 40), elements=numbers()))
def test_a_calibration_never_descends_and_stays_between_zero_and_one(calibration, scores):
    probabilities = calibration(np.sort(scores))
    assert isinstance(calibration, Calibration)
    assert probabilities.shape == scores.shape
    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@given(calibrations(), numbers(-100, 100))
def test_neighbouring_floats_do_not_descend(calibration, score):
    scores = [score]
    for _ in range(20):
        scores.append(np.nextafter(scores[-1], np.inf))
    assert (np.diff(calibration(np.array(scores))) >= 0).all()


@given(calibrations())
def test_a_calibration_survives_json(calibration):
    assert calibration_from_json(json.loads(json.dumps(calibration.to_json()))) == calibration


def test_a_missing_number_stays_missing():
    for calibration in (Sigmoid(), Platt(1.0, 0.0), Isotonic((0.0, 1.0), (0.0, 1.0))):
        assert np.isnan(calibration(np.array([np.nan]))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Temperature(0.0), "t of a calibration must be a positive finite number, found 0.0"),
        (lambda: Temperature(float("nan")), "positive finite"),
        (lambda: Temperature(True), "positive finite"),
        (lambda: Platt(-1.0, 0.0), "a of a calibration"),
        (lambda: Platt(1.0, float("inf")), "b of a calibration"),
        (lambda: ReferenceNormalization("9"), "estimated_max"),
        (lambda: Isotonic((), ()), "at least one"),
        (lambda: Isotonic((0.0,), (0.0, 1.0)), "found 1 and 2"),
        (lambda: Isotonic((1.0, 1.0), (0.0, 1.0)), "ascend strictly"),
        (lambda: Isotonic((0.0, 1.0), (1.0, 0.0)), "must not descend"),
        (lambda: Isotonic((0.0, 1.0), (0.0, 1.5)), r"\[0, 1\], found 0.0 to 1.5"),
        (lambda: Isotonic((0.0, float("nan")), (0.0, 1.0)), "finite"),
    ],
)
def test_parameters_that_cannot_work_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "must be a JSON object, found NoneType"),
        ({}, "unknown calibration method None"),
        ({"method": ["platt"]}, "unknown calibration method"),
        ({"method": "magic"}, "expected one of sigmoid, reference, temperature, platt, isotonic"),
        ({"method": "platt", "a": 1.0}, r"expected \['a', 'b', 'method'\]"),
        ({"method": "sigmoid", "t": 1.0}, "has the keys"),
        ({"method": "temperature", "t": "hot"}, "positive finite number, found 'hot'"),
        ({"method": "isotonic", "x": 0.0, "y": [1.0]}, "x of an isotonic calibration must be a list"),
        ({"method": "isotonic", "x": ["a"], "y": [1.0]}, "finite number, found 'a'"),
    ],
)
def test_json_of_no_calibration_is_refused(data, message):
    with pytest.raises(ConfigError, match=message):
        calibration_from_json(data)


# Fitting


def test_the_best_temperature_of_one_error_in_four_at_plus_and_minus_one_is_one_over_log_three():
    calibration = fit_calibration([1, 1, 1, 1, -1, -1, -1, -1], [1, 1, 1, 0, 0, 0, 0, 1])
    assert calibration.t == pytest.approx(1 / np.log(3), rel=1e-12)


@settings(max_examples=30)
@given(st.integers(0, 1000))
def test_no_temperature_nearby_has_a_smaller_log_loss(seed):
    scores, labels = noisy_pairs(n=60, a=0.4, b=0.0, seed=seed)
    best = fit_calibration(scores, labels).t
    least = log_loss(Temperature(best)(scores), labels)
    assert all(
        log_loss(Temperature(best * step)(scores), labels) >= least for step in (0.9, 0.999, 1.001, 1.1)
    )


def test_labels_that_the_scores_separate_give_the_coolest_temperature_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        assert fit_calibration([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1]) == Temperature(0.01)
    assert "separate the 4 labels perfectly" in caplog.text


def test_a_temperature_is_refused_where_an_offset_is_needed():
    scores, labels = [10.0, 10.1, 10.2, 10.3], [0, 0, 0, 1]
    with pytest.raises(ConfigError, match='use method="platt"'):
        fit_calibration(scores, labels, "temperature")


def test_platt_solves_the_equations_of_its_smoothed_targets():
    pytest.importorskip("sklearn")
    scores, labels = noisy_pairs(n=300)
    fit = fit_calibration(scores, labels, "platt")
    n_relevant = labels.sum()
    targets = np.where(labels == 1, (n_relevant + 1) / (n_relevant + 2), 1 / (300 - n_relevant + 2))
    errors = fit(scores) - targets
    assert errors.sum() == pytest.approx(0, abs=1e-6)
    assert (errors * scores).sum() == pytest.approx(0, abs=1e-6)


def test_platt_recovers_the_curve_that_drew_the_labels():
    pytest.importorskip("sklearn")
    fit = fit_calibration(*noisy_pairs(n=20_000, a=0.5, b=-1.0), "platt")
    assert fit.a == pytest.approx(0.5, abs=0.03)
    assert fit.b == pytest.approx(-1.0, abs=0.1)


def test_platt_is_finite_where_scores_separate_the_labels():
    pytest.importorskip("sklearn")
    fit = fit_calibration([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1], "platt")
    assert 0.5 < fit(np.array([1.0]))[0] < 0.95


def test_isotonic_pools_the_pair_that_is_out_of_order():
    pytest.importorskip("sklearn")
    fit = fit_calibration([1.0, 2.0, 3.0, 4.0], [0, 1, 0, 1], "isotonic")
    np.testing.assert_allclose(fit(np.array([1.0, 2.0, 2.5, 3.0, 3.5, 4.0])), [0, 0.5, 0.5, 0.5, 0.75, 1])


@pytest.mark.parametrize("method", METHODS)
def test_fitting_lowers_the_calibration_error_and_survives_json(method):
    pytest.importorskip("sklearn")
    scores, labels = noisy_pairs(b=0.0)
    fit = fit_calibration(scores, labels, method)
    assert calibration_from_json(json.loads(json.dumps(fit.to_json()))) == fit
    unseen, truth = noisy_pairs(b=0.0, seed=1)
    before, after = (expected_calibration_error(c(unseen), truth) for c in (Sigmoid(), fit))
    assert after < 0.04 < before
    assert brier_score(fit(unseen), truth) < brier_score(Sigmoid()(unseen), truth)


@given(
    st.lists(st.tuples(numbers(-30, 30), st.integers(0, 1)), min_size=2, max_size=30),
    st.sampled_from(METHODS),
)
def test_every_fit_is_a_calibration_or_a_clear_error(pairs, method):
    pytest.importorskip("sklearn")
    scores, labels = zip(*pairs, strict=True)
    try:
        fit = fit_calibration(scores, labels, method)
    except ConfigError:
        return
    probabilities = fit(np.sort(scores))
    assert (np.diff(probabilities) >= 0).all()
    assert ((probabilities >= 0) & (probabilities <= 1)).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [0, 2], r"labels\[1\] is 2; expected 1 for relevant or 0"),
        ([1.0, 2.0], [1, 1], "all 2 labels are 1"),
        ([1.0, 2.0], [0, 0], "all 2 labels are 0"),
        ([1.0, float("nan")], [0, 1], r"scores\[1\] is nan \(1 such"),
        ([float("inf"), 1.0], [1, 0], r"scores\[0\] is inf"),
        ([1.0], [0, 1], r"shape \(1,\) and labels \(2,\)"),
        ([], [], "scores are empty"),
        (["a", "b"], [0, 1], "must be numbers"),
        ([[1.0], [2.0]], [[0], [1]], "shape"),
        ([2.0, 1.0], [0, 1], "check that label 1 means relevant"),
        ([1.0, 1.0], [0, 1], "score 0 higher on average"),
    ],
)
def test_pairs_that_cannot_be_fitted_are_refused(scores, labels, message, method):
    with pytest.raises(ConfigError, match=message):
        fit_calibration(scores, labels, method)


def test_an_unknown_method_is_refused():
    with pytest.raises(ConfigError, match="expected one of temperature, platt, isotonic"):
        fit_calibration([0.0, 1.0], [0, 1], "magic")


def test_boolean_labels_are_labels():
    assert brier_score([0.0, 1.0], np.array([False, True])) == 0


def test_importing_and_applying_calibrations_loads_no_scikit_learn():
    code = (
        "import sys, numpy; from prorank_plugins.rerank.calibration import Platt, fit_calibration\n"
        "Platt(1.0, 0.0)(numpy.zeros(1)); fit_calibration([1, 1, 1, -1], [1, 1, 0, 0])\n"
        "print([m for m in ('sklearn', 'scipy') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


# How good probabilities are


def test_the_calibration_error_of_two_bins_by_hand():
    # Up to 0.5: mean 0.3, labels mean 0.5, two pairs. Above: mean 0.8, labels mean 1, two pairs.
    error = expected_calibration_error([0.1, 0.5, 0.7, 0.9], [0, 1, 1, 1], n_bins=2)
    assert error == pytest.approx(0.5 * 0.2 + 0.5 * 0.2)


def test_a_bin_of_equal_width_holds_its_upper_end():
    # 0.2 belongs to the first of five bins, with 0.1: (0.3 - 1) / 2; 0.3 alone would be another one.
    assert expected_calibration_error([0.1, 0.2], [0, 1], n_bins=5) == pytest.approx(0.35)
    assert expected_calibration_error([0.1, 0.3], [0, 1], n_bins=5) == pytest.approx((0.1 + 0.7) / 2)


def test_bins_of_equal_mass_split_pairs_that_one_wide_bin_would_hold():
    # Halves {0.1, 0.2} and {0.3, 0.4}: |0.15 - 0| and |0.35 - 1|; one bin: |0.25 - 0.5|.
    probabilities, labels = [0.1, 0.2, 0.3, 0.4], [0, 0, 1, 1]
    assert expected_calibration_error(probabilities, labels, 2, "mass") == pytest.approx(0.4)
    assert expected_calibration_error(probabilities, labels, 2, "width") == pytest.approx(0.25)


def test_the_brier_score_by_hand():
    assert brier_score([0.9, 0.2, 0.5], [1, 0, 1]) == pytest.approx((0.01 + 0.04 + 0.25) / 3)


def dense_calibration_error(probabilities, labels, n_bins):
    """Equal widths in plain loops."""
    total = 0.0
    for bin_ in range(n_bins):
        low, high = bin_ / n_bins, (bin_ + 1) / n_bins
        held = [
            (p, y) for p, y in zip(probabilities, labels, strict=True) if low < p <= high or p == bin_ == 0
        ]
        if held:
            mean_p, mean_y = (sum(column) / len(held) for column in zip(*held, strict=True))
            total += len(held) / len(labels) * abs(mean_y - mean_p)
    return total


judged = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=40)


@given(judged, st.integers(1, 20))
def test_the_calibration_error_agrees_with_plain_loops(pairs, n_bins):
    probabilities, labels = zip(*pairs, strict=True)
    error = expected_calibration_error(probabilities, labels, n_bins)
    assert error == pytest.approx(dense_calibration_error(probabilities, labels, n_bins), abs=1e-9)


@given(judged, st.integers(1, 20), st.sampled_from(["width", "mass"]), st.randoms(use_true_random=False))
def test_the_calibration_error_does_not_depend_on_order_and_lies_in_the_unit_interval(
    pairs, n_bins, bins, random
):
    probabilities, labels = zip(*pairs, strict=True)
    error = expected_calibration_error(probabilities, labels, n_bins, bins)
    assert 0 <= error <= 1 + 1e-12
    random.shuffle(pairs)
    assert expected_calibration_error(*zip(*pairs, strict=True), n_bins, bins) == pytest.approx(
        error, abs=1e-12
    )


@given(st.lists(st.integers(0, 1), min_size=1), st.sampled_from(["width", "mass"]))
def test_certain_and_right_is_perfectly_calibrated(labels, bins):
    assert expected_calibration_error(labels, labels, bins=bins) == 0
    assert brier_score(labels, labels) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.5], [1]), "apply a calibration to raw scores first"),
        (([0.5], [1], 0), "n_bins must be a whole number of at least 1"),
        (([0.5], [1], 2, "height"), "expected 'width' or 'mass'"),
        (([], []), "empty"),
    ],
)
def test_what_is_no_sample_of_probabilities_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        expected_calibration_error(*arguments)


# Mixing with the first stage


def test_minmax_fusion_by_hand():
    fused = fuse([0.0, 5.0, 10.0], [3.0, 1.0, 2.0], weight=0.75)
    np.testing.assert_allclose(fused, [0.25, 0.375, 0.75 + 0.125])


def test_zscore_fusion_by_hand():
    # Both lists standardise to ±1.
    np.testing.assert_allclose(fuse([1.0, 3.0], [10.0, -10.0], 0.75, "zscore"), [-0.5, 0.5])


def test_rrf_by_hand_with_a_shared_rank():
    fused = fuse([9.0, 7.0, 7.0, 1.0], [1.0, 2.0, 3.0, 4.0], 0.5, "rrf")
    expected = [1 / 61 + 1 / 64, 1 / 62 + 1 / 63, 1 / 62 + 1 / 62, 1 / 64 + 1 / 61]
    np.testing.assert_allclose(fused, np.array(expected) / 2)


def test_equal_scores_count_as_the_middle():
    np.testing.assert_array_equal(fuse([0.1] * 3, [0.1] * 3, 0.5, "minmax"), [0.5] * 3)
    np.testing.assert_array_equal(fuse([0.1] * 3, [0.1] * 3, 0.5, "zscore"), [0.0] * 3)


@pytest.mark.parametrize("method", FUSIONS)
def test_no_documents_fuse_to_no_scores(method):
    assert fuse([], [], method=method).shape == (0,)


EIGHTHS = st.integers(-800, 800).map(lambda i: i / 8)
"""Scores of which no two different ones are nearly equal."""


@st.composite
def two_lists(draw, elements=EIGHTHS):
    n = draw(st.integers(1, 12))
    return tuple(np.array(draw(st.lists(elements, min_size=n, max_size=n))) for _ in range(2))


@given(two_lists(), st.sampled_from(FUSIONS))
def test_a_weight_of_one_or_zero_keeps_one_order_with_its_ties(lists, method):
    for weight, kept in ((1.0, lists[0]), (0.0, lists[1])):
        fused = fuse(*lists, weight, method)
        before = np.sign(kept[:, None] - kept)
        np.testing.assert_array_equal(np.sign(fused[:, None] - fused), before)


@given(two_lists(), st.sampled_from(FUSIONS), st.floats(0, 1))
def test_a_document_better_in_both_lists_is_never_below(lists, method, weight):
    fused = fuse(*lists, weight, method)
    better = (lists[0][:, None] >= lists[0]) & (lists[1][:, None] >= lists[1])
    assert (fused[:, None] - fused >= -1e-12)[better].all()


@given(two_lists(), st.sampled_from(FUSIONS), st.floats(0, 1), st.integers(-6, 6), st.integers(-100, 100))
def test_fusion_does_not_see_scale_or_offset_of_a_list(lists, method, weight, power, offset):
    moved = lists[0] * 2.0**power + offset
    np.testing.assert_allclose(fuse(moved, lists[1], weight, method), fuse(*lists, weight, method), atol=1e-9)


@given(two_lists(st.floats(-1e30, 1e30)), st.sampled_from(FUSIONS), st.floats(0, 1))
def test_fused_scores_are_finite(lists, method, weight):
    assert np.isfinite(fuse(*lists, weight, method)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 2.0]), "found 1 rerank and 2 retrieval scores"),
        (([float("nan")], [1.0]), "rerank scores hold NaN"),
        (([1.0], [float("inf")]), "retrieval scores hold NaN or infinity"),
        (([1.0], [None]), "retrieval scores"),
        (([1.0], ["high"]), "retrieval scores must be numbers"),
        (([[1.0]], [[1.0]]), "shape"),
        (([1.0], [1.0], 1.5), r"weight must lie in \[0, 1\], found 1.5"),
        (([1.0], [1.0], float("nan")), "weight"),
        (([1.0], [1.0], 0.5, "borda"), "expected one of minmax, zscore, rrf"),
    ],
)
def test_lists_that_cannot_be_fused_are_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        fuse(*arguments)
