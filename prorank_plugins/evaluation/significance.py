"""Is one run better than another, or were the queries kind to it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.markup import Html, escaped, interval, note, number, table
from prorank_plugins.core.shown import print_str
from prorank_plugins.evaluation.report import Report
from prorank_plugins.evaluation.resampling import bootstrap_means, percentile_interval, sign_flip_p_value


@dataclass(frozen=True)
class Comparison:
    """One measure of two runs over the same queries; positive numbers speak for the second run.

    Attributes:
        difference: mean of the second minus mean of the first.
        low: lower end of the paired bootstrap interval of the difference.
        high: upper end of it.
        p_value: two-sided, from the paired randomisation test, in (0, 1].
        n_queries: queries compared.
        wins: queries on which the second run is better.
        ties: queries on which both are equal.
        losses: queries on which the first run is better.
    """

    difference: float
    low: float
    high: float
    p_value: float
    n_queries: int
    wins: int
    ties: int
    losses: int

    def __str__(self) -> str:
        return (
            f"{self.difference:+.4f} [{self.low:+.4f}, {self.high:+.4f}], p = {self.p_value:.4f}, "
            f"{self.wins} won, {self.ties} tied, {self.losses} lost of {self.n_queries} queries"
        )

    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        return Comparisons({"": self})._repr_html_()


class Comparisons(dict[str, Comparison]):
    """``{measure: Comparison}``, which shows itself in notebooks; ``str()`` has a line for each measure."""

    def __str__(self) -> str:
        width = max(map(len, self), default=0)
        return "\n".join(f"{measure:<{width}}  {found}" for measure, found in self.items())

    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        reach = max((max(-found.low, found.high) for found in self.values()), default=0.0)
        rows = [
            (
                escaped(measure),
                number(found.difference, 4),
                Html(f"{number(found.low, 4)} to {number(found.high, 4)}"),
                interval(found.low, found.difference, found.high, -reach, reach, zero=True),
                number(found.p_value, 4),
                Html(f"{found.wins} / {found.ties} / {found.losses}"),
            )
            for measure, found in self.items()
        ]
        names = ["measure", "second − first", "interval", "worse | better", "p", "won / tied / lost"]
        queries = next((found.n_queries for found in self.values()), 0)
        return f"<div>{table(names, rows, left=(0, 3))}{note(Html(f'over {queries} queries'))}</div>"


def compare(
    first: Report,
    second: Report,
    measures: Sequence[str] | None = None,
    n_resamples: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparisons:
    """Second run minus first run, query by query, for each measure.

    The interval is the paired percentile bootstrap over queries (Sakai, SIGIR 2006), the p-value Fisher's
    randomisation test with random signs (Smucker, Allan and Carterette, CIKM 2007). The same reports,
    seed and ``n_resamples`` give the same numbers. P-values are not corrected for asking about several
    measures.

    Args:
        first: the baseline.
        second: the run that should be better.
        measures: names as in the reports; all that both hold when None.
        n_resamples: for the interval and for the p-value, at least 1.
        confidence: of the interval, between 0 and 1.
        seed: of numpy's default generator.

    Raises:
        ConfigError: the reports cover different queries, or lack a measure.
    """
    _check_same_queries(first, second)
    if measures is None:
        names = [measure for measure in first.mean if measure in second.mean]
    else:
        names = [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise ConfigError(
            f"no measure to compare: the first report has {', '.join(first.mean)}; "
            f"the second has {', '.join(second.mean)}"
        )
    differences = np.stack([second.values(name) - first.values(name) for name in names])
    means = bootstrap_means(differences, n_resamples, seed)
    comparisons = Comparisons()
    for row, name in enumerate(names):
        low, high = percentile_interval(means[row], confidence)
        comparisons[name] = Comparison(
            difference=float(differences[row].mean()),
            low=low,
            high=high,
            p_value=sign_flip_p_value(differences[row], n_resamples, seed),
            n_queries=differences.shape[1],
            wins=int((differences[row] > 0).sum()),
            ties=int((differences[row] == 0).sum()),
            losses=int((differences[row] < 0).sum()),
        )
    return comparisons


def _check_same_queries(first: Report, second: Report) -> None:
    if first.per_query.keys() == second.per_query.keys():
        return
    lonely = sorted(first.per_query.keys() ^ second.per_query.keys())
    raise ConfigError(
        f"the reports cover different queries: {len(first.per_query)} and {len(second.per_query)}, of which "
        f"{len(lonely)} are in one only, for example {lonely[0]!r}; evaluate both runs on the same qrels"
    )
