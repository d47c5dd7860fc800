"""Reports of several runs side by side, the first compared with the others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from prorank_plugins.cli.tables import columns
from prorank_plugins.evaluation.report import Report
from prorank_plugins.evaluation.significance import Comparison, compare


def report_lines(reports: Mapping[str, Report]) -> Iterator[str]:
    """A table of measures with 95 % intervals, then paired differences, then signatures."""
    first = next(iter(reports))
    rows = [["mean [95 % interval]", *reports]]
    for measure in reports[first].mean:
        rows.append([measure, *(mean_and_interval(report, measure) for report in reports.values())])
    yield from columns(rows)
    for other, comparisons in comparisons_with_first(reports).items():
        yield from ["", f"{first} minus {other}, paired by query [95 % interval]"]
        yield from columns([[measure, str(comparison)] for measure, comparison in comparisons.items()])
    yield ""
    yield from columns([[name, report.signature] for name, report in reports.items()])


def mean_and_interval(report: Report, measure: str) -> str:
    """Such as ``"0.1842 [0.1567, 0.2136]"``."""
    low, high = report.interval(measure)
    return f"{report.mean[measure]:.4f} [{low:.4f}, {high:.4f}]"


def comparisons_with_first(reports: Mapping[str, Report]) -> dict[str, dict[str, Comparison]]:
    """``{other: {measure: first minus other}}``."""
    first, *others = reports
    return {other: compare(reports[other], reports[first]) for other in others}


def report_data(reports: Mapping[str, Report]) -> dict[str, Any]:
    """The same as JSON data: ``runs`` by name and ``comparisons`` of the first run with the others."""
    first = next(iter(reports))
    return {
        "runs": {name: json.loads(report.to_json()) for name, report in reports.items()},
        "comparisons": [
            {
                "difference": f"{first} minus {other}",
                "measures": {measure: asdict(comparison) for measure, comparison in comparisons.items()},
            }
            for other, comparisons in comparisons_with_first(reports).items()
        ],
    }
