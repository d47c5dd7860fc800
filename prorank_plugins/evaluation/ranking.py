"""The order in which a measure looks at retrieved documents."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from numbers import Real
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError

Ranking: TypeAlias = Mapping[str, float] | Sequence[str]
"""What one query retrieved: ``{id: score}`` in any order, or ids in order, best first."""

Run: TypeAlias = Mapping[str, Ranking]
"""What every query retrieved: ``{query: ranking}``."""


def ranked(ranking: Ranking) -> list[str]:
    """Document ids, best first.

    Scores are ordered as trec_eval 9 orders them: descending after rounding to float32, and documents
    that are then equal by id descending (code points, which is also the order of the UTF-8 bytes). A
    score beyond the range of float32 counts as infinite. A sequence keeps the order it has.

    Raises:
        ConfigError: a score is not a finite number, an id is not a string or occurs twice.
    """
    if not isinstance(ranking, Mapping):
        ids = list(ranking)
        check_ids(ids)
        if len(set(ids)) < len(ids):
            twice = next(id for position, id in enumerate(ids) if id in ids[:position])
            raise ConfigError(f"document {twice!r} is ranked twice; a ranking holds each id once")
        return ids
    check_ids(ranking)
    scores = finite_scores(ranking)
    with np.errstate(over="ignore"):
        rounded = scores.astype(np.float32).tolist()
    return [id for _, id in sorted(zip(rounded, ranking, strict=True), reverse=True)]


def ranked_for(query: str, ranking: Ranking) -> list[str]:
    """`ranked`, with the query named in errors."""
    try:
        return ranked(ranking)
    except ConfigError as error:
        raise ConfigError(f"run of query {query!r}: {error}") from error


def finite_scores(scores: Mapping[str, float]) -> NDArray[np.float64]:
    """(n,) the scores in the mapping's order.

    Raises:
        ConfigError: a score is not a finite number; the first such document is named.
    """
    if all(issubclass(kind, Real) for kind in set(map(type, scores.values()))):
        try:
            values = np.fromiter(map(float, scores.values()), dtype=np.float64, count=len(scores))
        except OverflowError as error:
            raise ConfigError(
                "a score is an integer too large for a float; expected finite scores"
            ) from error
        if np.isfinite(values).all():
            return values
    id, score = next(item for item in scores.items() if not _is_finite(item[1]))
    raise ConfigError(f"document {id!r} has score {score!r}; expected a finite number")


def _is_finite(score: object) -> bool:
    return isinstance(score, Real) and isfinite(float(score))


def check_ids(ids: Iterable[str]) -> None:
    """Refuse ids that are not strings: 7 and "7" would silently never match.

    Raises:
        ConfigError: an id is not a string.
    """
    for kind in set(map(type, ids)):
        if not issubclass(kind, str):
            found = next(id for id in ids if type(id) is kind)
            raise ConfigError(f"id {found!r} is of type {kind.__name__}; expected str, pass str(id)")
