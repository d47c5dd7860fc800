"""Measure a run against judgements."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from math import fsum
from numbers import Integral
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.signature import signature
from prorank_plugins.evaluation.measure_names import Measure, parse_measure
from prorank_plugins.evaluation.ranking import Run, check_ids, ranked_for
from prorank_plugins.evaluation.report import Report


def evaluate(
    run: Run,
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str],
    recipe: Mapping[str, Any] | None = None,
) -> Report:
    """Measure every judged query; the values and means equal trec_eval's.

    Args:
        run: ``{query: {document: score}}``, or ``{query: [document, ...]}`` best first. A judged query
            that the run lacks counts as 0; queries without judgements are not looked at.
        qrels: ``{query: {document: grade}}``, relevant from grade 1.
        measures: names such as ``"ndcg@10"``, ``"recall@20"``, ``"p@5"``, ``"mrr"``, ``"map"``.
        recipe: how the run was made, put in front of the report's signature: ``{"scorer": "bmx"}``.

    Raises:
        ConfigError: an unknown measure, a score that is not a finite number, a grade that is not an
            integer, ids that are not strings, or a run that shares no query with the judgements.
    """
    names = [measures] if isinstance(measures, str) else list(measures)
    if not names:
        raise ConfigError("measures is empty; ask for at least one, for example ['ndcg@10']")
    chosen = {name: parse_measure(name) for name in names}
    _check_qrels(qrels)
    _check_overlap(run, qrels)
    per_query = {}
    for query, grades in qrels.items():
        ids = ranked_for(query, run.get(query, ()))
        per_query[query] = {name: measure(ids, grades) for name, measure in chosen.items()}
    mean = {name: fsum(values[name] for values in per_query.values()) / len(per_query) for name in chosen}
    return Report(mean, per_query, _signature(chosen, qrels, recipe or {}))


def _check_qrels(qrels: Mapping[str, Mapping[str, int]]) -> None:
    if not qrels:
        raise ConfigError("qrels holds no query; there is nothing to average over")
    check_ids(qrels)
    for query, grades in qrels.items():
        check_ids(grades)
        for kind in set(map(type, grades.values())):
            if not issubclass(kind, Integral):
                found = next(grade for grade in grades.values() if type(grade) is kind)
                raise ConfigError(f"qrels of query {query!r} holds grade {found!r}; expected integers")


def _check_overlap(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> None:
    if run and run.keys().isdisjoint(qrels):
        raise ConfigError(
            f"run and qrels share no query: the run has {next(iter(run))!r}, the qrels "
            f"{next(iter(qrels))!r}; check that both use the same ids and the same split"
        )


def _signature(
    chosen: Mapping[str, Measure], qrels: Mapping[str, Mapping[str, int]], recipe: Mapping[str, Any]
) -> str:
    return signature(
        {
            **recipe,
            "measures": ",".join(measure.name for measure in chosen.values()),
            "gain": "linear",
            "ties": "float32,id-descending",
            "queries": len(qrels),
            "judgements": sum(map(len, qrels.values())),
            "qrels": _fingerprint(qrels),
        }
    )


def _fingerprint(qrels: Mapping[str, Mapping[str, int]]) -> str:
    """First 12 hexadecimal digits of the SHA-256 of the judgements, in whatever order they come."""
    digest = hashlib.sha256()
    for query in sorted(qrels):
        judged = sorted((id, int(grade)) for id, grade in qrels[query].items())
        digest.update(repr((query, judged)).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:12]
