"""What an evaluation found, query by query, with its uncertainty and its recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.core.markup import Html, escaped, interval, note, number, table
from prorank_plugins.core.shown import print_str
from prorank_plugins.evaluation.resampling import bootstrap_means, percentile_interval


@dataclass(frozen=True)
class Report:
    """Measures of one run against one set of judgements.

    Attributes:
        mean: ``{measure: mean over all judged queries}``, in the order and spelling asked for.
        per_query: ``{query: {measure: value}}`` for every judged query; 0 for one that the run lacks.
        signature: the recipe that reproduces these numbers, in one line.
    """

    mean: dict[str, float]
    per_query: dict[str, dict[str, float]]
    signature: str

    def values(self, measure: str) -> NDArray[np.float64]:
        """(n_queries,) one measure per query, by query id ascending: the order of ``qrels`` plays no part.

        Raises:
            ConfigError: the report does not hold this measure.
        """
        if measure not in self.mean:
            raise ConfigError(f"the report has no measure {measure!r}; it has {', '.join(self.mean)}")
        return np.array([self.per_query[query][measure] for query in sorted(self.per_query)])

    def interval(
        self, measure: str, confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
    ) -> tuple[float, float]:
        """Percentile bootstrap interval ``(low, high)`` of the mean, over queries drawn with replacement.

        It answers "how would the mean vary over other queries like these?" for one system; to ask
        whether two systems differ, use `compare`, which pairs the queries.

        Raises:
            ConfigError: unknown measure, ``confidence`` outside (0, 1) or ``n_resamples`` below 1.
        """
        return self._intervals([measure], confidence, n_resamples, seed)[measure]

    def to_json(self) -> str:
        """Signature, means, 95 % intervals and values per query as JSON; `from_json` reads it back."""
        content = {
            "signature": self.signature,
            "n_queries": len(self.per_query),
            "mean": self.mean,
            "interval_95": self._intervals(list(self.mean)),
            "per_query": self.per_query,
        }
        return json.dumps(content, indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that `to_json` wrote.

        Raises:
            DataFormatError: the text is not JSON, or not a report.
        """
        try:
            content = json.loads(text)
            return cls(
                {measure: float(mean) for measure, mean in content["mean"].items()},
                {
                    query: {measure: float(values[measure]) for measure in content["mean"]}
                    for query, values in content["per_query"].items()
                },
                str(content["signature"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataFormatError(
                f"not a report ({error!r}); expected the JSON that Report.to_json writes"
            ) from error

    def __str__(self) -> str:
        intervals = self._intervals(list(self.mean))
        width = max(len("measure"), *map(len, self.mean))
        rows = [f"{'measure':<{width}}    mean  95 % interval"]
        for measure, mean in self.mean.items():
            low, high = intervals[measure]
            rows.append(f"{measure:<{width}}  {mean:.4f}  {low:.4f} to {high:.4f}")
        return "\n".join([*rows, f"over {len(self.per_query)} queries", self.signature])

    _repr_pretty_ = print_str

    def _repr_html_(self) -> str:
        rows = []
        for measure, (low, high) in self._intervals(list(self.mean)).items():
            mean = self.mean[measure]
            ends = Html(f"{number(low)} to {number(high)}")
            rows.append((escaped(measure), number(mean), ends, interval(low, mean, high, 0.0, 1.0)))
        shown = table(["measure", "mean", "95 % interval", "0 … 1"], rows, left=(0, 3))
        about = f"over {len(self.per_query)} queries; {self.signature}"
        return f"<div>{shown}{note(escaped(about))}</div>"

    def _intervals(
        self, measures: Sequence[str], confidence: float = 0.95, n_resamples: int = 10_000, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        values = np.stack([self.values(measure) for measure in measures])
        means = bootstrap_means(values, n_resamples, seed)
        return {measure: percentile_interval(means[row], confidence) for row, measure in enumerate(measures)}
