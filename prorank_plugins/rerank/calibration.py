"""From raw scores to probabilities: what to show, threshold and compare; never what to sort by.

A raw score is the log-odds ``s = logit("1") - logit("0")`` of the two answers. Every calibration here is
a non-decreasing function of it, so it cannot change an order, but it can turn different scores into equal
numbers (a sigmoid is 1.0 from about 37 on, an isotonic fit has steps). Sorting therefore always uses the
raw score.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require

logger = logging.getLogger(__name__)

Method: TypeAlias = Literal["temperature", "platt", "isotonic"]
Floats: TypeAlias = NDArray[np.float64]

_COOLEST, _HOTTEST = 0.01, 100.0
_HALVINGS = 60


@runtime_checkable
class Calibration(Protocol):
    """A non-decreasing function from raw scores to [0, 1]; NaN stays NaN."""

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """Calibrated values in float64, of the shape of ``scores``."""
        ...

    def to_json(self) -> dict[str, Any]:
        """What `calibration_from_json` makes an equal calibration of."""
        ...


@dataclass(frozen=True)
class Sigmoid:
    """``1 / (1 + e^-s)``: the probability of "1" against "0" that the model itself states."""

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """See `Calibration`."""
        return _sigmoid(np.asarray(scores, np.float64))

    def to_json(self) -> dict[str, Any]:
        """See `Calibration`."""
        return {"method": "sigmoid"}


@dataclass(frozen=True)
class ReferenceNormalization:
    """``sigmoid(s - estimated_max / 2)``, what mxbai-rerank 0.1.6 returns with ``normalize=True``.

    A constant, not a fit: it centres the middle of the scores that its authors saw.

    Attributes:
        estimated_max: 9.0 for mxbai-rerank-base-v2, 12.0 for mxbai-rerank-large-v2.

    Raises:
        ConfigError: not a finite number.
    """

    estimated_max: float

    def __post_init__(self) -> None:
        _check_number("estimated_max", self.estimated_max)

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """See `Calibration`."""
        return _sigmoid(np.asarray(scores, np.float64) - self.estimated_max / 2)

    def to_json(self) -> dict[str, Any]:
        """See `Calibration`."""
        return {"method": "reference", **asdict(self)}


@dataclass(frozen=True)
class Temperature:
    """``sigmoid(s / t)`` (Guo, Pleiss, Sun and Weinberger, ICML 2017).

    Attributes:
        t: above 1 for a model that is too sure of itself; positive.

    Raises:
        ConfigError: not a positive finite number.
    """

    t: float

    def __post_init__(self) -> None:
        _check_number("t", self.t, positive=True)

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """See `Calibration`."""
        return _sigmoid(np.asarray(scores, np.float64) / self.t)

    def to_json(self) -> dict[str, Any]:
        """See `Calibration`."""
        return {"method": "temperature", **asdict(self)}


@dataclass(frozen=True)
class Platt:
    """``sigmoid(a · s + b)`` (Platt, "Probabilistic outputs for support vector machines", 1999).

    Attributes:
        a: slope, positive: a higher score never means a lower probability.
        b: offset; it absorbs labels that are rarer than the model thinks.

    Raises:
        ConfigError: not finite numbers, or ``a`` is not positive.
    """

    a: float
    b: float

    def __post_init__(self) -> None:
        _check_number("a", self.a, positive=True)
        _check_number("b", self.b)

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """See `Calibration`."""
        return _sigmoid(self.a * np.asarray(scores, np.float64) + self.b)

    def to_json(self) -> dict[str, Any]:
        """See `Calibration`."""
        return {"method": "platt", **asdict(self)}


@dataclass(frozen=True)
class Isotonic:
    """Straight lines between points, level outside them (Zadrozny and Elkan, KDD 2002).

    Attributes:
        x: raw scores, strictly ascending, at least one.
        y: as many probabilities, not descending.

    Raises:
        ConfigError: the points do not have that form.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not self.x:
            raise ConfigError(
                f"an isotonic calibration needs as many x as y and at least one, "
                f"found {len(self.x)} and {len(self.y)}"
            )
        for name, values in (("x", self.x), ("y", self.y)):
            for value in values:
                _check_number(name, value)
        if any(right <= left for left, right in pairwise(self.x)):
            raise ConfigError("x of an isotonic calibration must ascend strictly; sort and merge its points")
        if any(right < left for left, right in pairwise(self.y)):
            raise ConfigError("y of an isotonic calibration must not descend; fit it again")
        if self.y[0] < 0 or self.y[-1] > 1:
            raise ConfigError(
                f"y of an isotonic calibration must lie in [0, 1], found {self.y[0]} to {self.y[-1]}"
            )

    def __call__(self, scores: NDArray[np.floating[Any]]) -> Floats:
        """See `Calibration`."""
        x, y = np.asarray(self.x, np.float64), np.asarray(self.y, np.float64)
        scores = np.asarray(scores, np.float64)
        # Rounding may lift a line's end above the next line's start: each stays between its own points.
        above = np.clip(np.searchsorted(x, scores, side="right"), 0, len(x) - 1)
        below = np.maximum(above - 1, 0)
        values: Floats = np.asarray(np.clip(np.interp(scores, x, y), y[below], y[above]))
        return values

    def to_json(self) -> dict[str, Any]:
        """See `Calibration`."""
        return {"method": "isotonic", "x": list(self.x), "y": list(self.y)}


_KINDS: dict[str, tuple[type[Any], tuple[str, ...]]] = {
    "sigmoid": (Sigmoid, ()),
    "reference": (ReferenceNormalization, ("estimated_max",)),
    "temperature": (Temperature, ("t",)),
    "platt": (Platt, ("a", "b")),
    "isotonic": (Isotonic, ("x", "y")),
}


def calibration_from_json(data: Mapping[str, Any]) -> Calibration:
    """The calibration that `Calibration.to_json` described.

    Raises:
        ConfigError: an unknown method, other keys than the method's, or values out of range.
    """
    if not isinstance(data, Mapping):
        raise ConfigError(f"a calibration must be a JSON object, found {type(data).__name__}")
    method = data.get("method")
    if not isinstance(method, str) or method not in _KINDS:
        raise ConfigError(f"unknown calibration method {method!r}; expected one of {', '.join(_KINDS)}")
    kind, names = _KINDS[method]
    if set(data) != {"method", *names}:
        raise ConfigError(
            f"calibration {method!r} has the keys {sorted(map(str, data))}, "
            f"expected {sorted(('method', *names))}"
        )
    values = {name: data[name] for name in names}
    if kind is Isotonic:
        for name, value in values.items():
            if not isinstance(value, (list, tuple)):
                raise ConfigError(f"{name} of an isotonic calibration must be a list of numbers")
        values = {name: tuple(value) for name, value in values.items()}
    calibration: Calibration = kind(**values)
    return calibration


def fit_calibration(scores: ArrayLike, labels: ArrayLike, method: Method = "temperature") -> Calibration:
    """Fit a calibration to judged pairs that the model was not trained on.

    ``"temperature"`` has one parameter and suits tens of pairs; ``"platt"`` also moves the middle, for
    hundreds of pairs or labels of another base rate; ``"isotonic"`` is free in shape and wants a thousand.

    Args:
        scores: (n,) raw scores, finite.
        labels: (n,) 1 for relevant and 0 for not, both present.
        method: which kind to fit.

    Raises:
        ConfigError: lengths differ, a score is not finite, a label is neither 0 nor 1, one of them is
            absent, or relevant pairs do not score higher on average.
        MissingExtraError: scikit-learn, which fits ``"platt"`` and ``"isotonic"``, is not installed.
    """
    fits = {"temperature": _fit_temperature, "platt": _fit_platt, "isotonic": _fit_isotonic}
    if method not in fits:
        raise ConfigError(f"unknown calibration method {method!r}; expected one of {', '.join(fits)}")
    values, truth = _checked("scores", scores, labels)
    relevant = truth == 1
    if relevant.all() or not relevant.any():
        raise ConfigError(
            f"all {len(truth)} labels are {int(truth[0])}; a calibration needs pairs of both kinds"
        )
    # With this the optimum of each method rises somewhere: the slope of a logistic fit has the sign of
    # the covariance of scores and labels, and an isotonic fit is level only if that is not positive.
    gap = values[relevant].mean() - values[~relevant].mean()
    if not gap > 0:
        raise ConfigError(
            f"relevant pairs score {gap:.3g} higher on average than the others, expected more than 0; "
            "check that label 1 means relevant and that the scores belong to these labels"
        )
    return fits[method](values, truth)


def _fit_temperature(scores: Floats, labels: Floats) -> Calibration:
    """The temperature of least log loss in [0.01, 100].

    The loss is convex in ``1 / t``; its derivative ``Σ (sigmoid(s / t) - y) · s`` is bisected.
    """

    def too_cool(t: float) -> bool:
        return float(((_sigmoid(scores / t) - labels) * scores).sum()) > 0

    if too_cool(_HOTTEST):
        raise ConfigError(
            f"the best temperature lies above {_HOTTEST:g}, which calls every pair as likely as not: the "
            'scores lack an offset, which a temperature cannot give; use method="platt"'
        )
    if not too_cool(_COOLEST):
        logger.warning(
            "Scores separate the %d labels perfectly, so any small temperature fits; took %g. "
            'Give more pairs, or use method="platt".',
            len(labels),
            _COOLEST,
        )
        return Temperature(_COOLEST)
    cool, hot = math.log(_COOLEST), math.log(_HOTTEST)
    for _ in range(_HALVINGS):
        middle = (cool + hot) / 2
        cool, hot = (middle, hot) if too_cool(math.exp(middle)) else (cool, middle)
    return Temperature(math.exp(hot))


def _fit_platt(scores: Floats, labels: Floats) -> Calibration:
    """Logistic regression without penalty on Platt's targets.

    The targets ``(N₁ + 1) / (N₁ + 2)`` and ``1 / (N₀ + 2)`` in place of 1 and 0 (Platt 1999, section 2.2)
    keep the fit finite for labels that the scores separate. A target between 0 and 1 is a pair of
    weighted rows.
    """
    linear_model = require("sklearn.linear_model", "rerank", "Fitting a Platt calibration")
    n_relevant = labels.sum()
    target = np.where(labels == 1, (n_relevant + 1) / (n_relevant + 2), 1 / (len(labels) - n_relevant + 2))
    mean, spread = scores.mean(), scores.std()
    rows = np.tile((scores - mean) / spread, 2)[:, None]
    answers = np.repeat([1, 0], len(labels))
    fit = linear_model.LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=1000)
    fit.fit(rows, answers, sample_weight=np.concatenate([target, 1 - target]))
    slope = float(fit.coef_[0, 0] / spread)
    if slope <= 0:
        raise ConfigError(
            "the scores of relevant pairs and the others differ too little to fit a slope; "
            "give more pairs, or check the model"
        )
    return Platt(slope, float(fit.intercept_[0] - slope * mean))


def _fit_isotonic(scores: Floats, labels: Floats) -> Calibration:
    """The non-decreasing step-and-line function of least squared error (pool adjacent violators)."""
    isotonic = require("sklearn.isotonic", "rerank", "Fitting an isotonic calibration")
    fit = isotonic.IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, labels)
    return Isotonic(tuple(fit.X_thresholds_.tolist()), tuple(fit.y_thresholds_.tolist()))


def expected_calibration_error(
    probabilities: ArrayLike,
    labels: ArrayLike,
    n_bins: int = 15,
    bins: Literal["width", "mass"] = "width",
) -> float:
    """``Σ_b n_b / n · |mean label of b - mean probability of b|`` over bins of probabilities.

    Args:
        probabilities: (n,) in [0, 1].
        labels: (n,) 1 for relevant, 0 for not.
        n_bins: bins asked for, at least 1; empty ones do not count.
        bins: ``"width"`` for equal widths, each bin open on its left end (Guo et al., ICML 2017);
            ``"mass"`` for equally many pairs (Nixon et al., "Measuring calibration in deep learning",
            2019), where equal probabilities share a bin, so that order does not matter.

    Returns:
        0 for a perfectly calibrated sample, at most 1.

    Raises:
        ConfigError: arguments not as above.
    """
    values, truth = _checked_probabilities(probabilities, labels)
    if not isinstance(n_bins, int) or n_bins < 1:
        raise ConfigError(f"n_bins must be a whole number of at least 1, found {n_bins!r}")
    if bins == "width":
        ends = np.arange(1, n_bins) / n_bins
    elif bins == "mass":
        counts = np.arange(1, n_bins) * len(values) // n_bins
        ends = np.unique(np.sort(values)[counts[counts > 0] - 1])
    else:
        raise ConfigError(f"unknown bins {bins!r}; expected 'width' or 'mass'")
    bin_of = np.searchsorted(ends, values, side="left")
    gaps = np.bincount(bin_of, weights=truth - values, minlength=len(ends) + 1)
    return float(np.abs(gaps).sum() / len(values))


def brier_score(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Mean of ``(probability - label)²`` (Brier, 1950): 0 is perfect, 0.25 is what always 0.5 gets.

    Raises:
        ConfigError: not as many probabilities in [0, 1] as labels in {0, 1}, or none.
    """
    values, truth = _checked_probabilities(probabilities, labels)
    return float(np.mean((values - truth) ** 2))


def _sigmoid(scores: Floats) -> Floats:
    """``1 / (1 + e^-s)``.

    In float64 this order of operations is accurate at both ends (the overflow of ``e^-s`` below -709
    gives the right 0) and, unlike ``e^s / (1 + e^s)``, rounds to a non-decreasing function.
    """
    with np.errstate(over="ignore"):
        probabilities: Floats = 1.0 / (1.0 + np.exp(-scores))
    return probabilities


def _check_number(name: str, value: Any, positive: bool = False) -> None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or (positive and value <= 0):
        wanted = "a positive finite number" if positive else "a finite number"
        raise ConfigError(f"{name} of a calibration must be {wanted}, found {value!r}")


def _checked(name: str, values: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    """Both as one-dimensional float64 arrays of one length, finite, labels in {0, 1}."""
    try:
        numbers, truth = np.asarray(values, np.float64), np.asarray(labels, np.float64)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name} and labels must be numbers ({error})") from error
    if numbers.ndim != 1 or numbers.shape != truth.shape:
        raise ConfigError(
            f"{name} have shape {numbers.shape} and labels {truth.shape}; expected one label per value"
        )
    if not len(numbers):
        raise ConfigError(f"{name} are empty; give at least one judged pair")
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        raise ConfigError(
            f"{name}[{bad[0]}] is {numbers[bad[0]]} ({len(bad)} such values); drop pairs without a finite one"
        )
    bad = np.flatnonzero((truth != 0) & (truth != 1))
    if len(bad):
        raise ConfigError(
            f"labels[{bad[0]}] is {truth[bad[0]]:g}; expected 1 for relevant or 0 for not: "
            "map graded labels to these two first"
        )
    return numbers, truth


def _checked_probabilities(probabilities: ArrayLike, labels: ArrayLike) -> tuple[Floats, Floats]:
    values, truth = _checked("probabilities", probabilities, labels)
    if values.min() < 0 or values.max() > 1:
        raise ConfigError(
            f"probabilities reach from {values.min():g} to {values.max():g}, expected [0, 1]; "
            "apply a calibration to raw scores first"
        )
    return values, truth
