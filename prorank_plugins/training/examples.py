"""What training learns from: a judged pair, and a query with its graded documents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from prorank_plugins.core.errors import ConfigError


@dataclass(frozen=True)
class RelevanceExample:
    """A query, a document, and whether the document answers it.

    Attributes:
        query: the user's question.
        document: the text judged.
        label: 1 relevant, 0 not; kept as a plain int.

    Raises:
        ConfigError: a text that is no string, or a label other than 0 and 1 (or False and True).
    """

    query: str
    document: str
    label: int

    def __post_init__(self) -> None:
        _check_text(self.query, "RelevanceExample.query")
        _check_text(self.document, "RelevanceExample.document")
        if not isinstance(self.label, (Integral, np.bool_)) or int(self.label) not in (0, 1):
            raise ConfigError(
                f"RelevanceExample.label is {self.label!r}; expected 0 or 1. "
                "Graded judgements belong in a RankingGroup, or use int(grade > 0)"
            )
        object.__setattr__(self, "label", int(self.label))


@dataclass(frozen=True)
class RankingGroup:
    """One query with documents to be ranked for it.

    Attributes:
        query: the user's question.
        documents: (n,) texts, at least one; kept as a tuple.
        grades: (n,) judgements, finite and at least 0; above 0 is relevant. Kept as floats.
        teacher_scores: (n,) finite scores of a stronger model on any scale, or None.

    Raises:
        ConfigError: no documents, lengths that differ, a text that is no string, a grade or score that
            is no such number, or a text that is both relevant and not.
    """

    query: str
    documents: Sequence[str]
    grades: Sequence[float]
    teacher_scores: Sequence[float] | None = None

    def __post_init__(self) -> None:
        _check_text(self.query, "RankingGroup.query")
        documents = _items(self.documents, "documents", "texts")
        if not documents:
            raise ConfigError(
                f"RankingGroup of {self.query!r} has no documents; expected at least one. Leave the query out"
            )
        for position, text in enumerate(documents):
            _check_text(text, f"RankingGroup.documents[{position}]")
        grades = self._numbers("grades", self.grades, len(documents))
        for position, grade in enumerate(grades):
            if grade < 0:
                raise ConfigError(
                    f"RankingGroup.grades[{position}] is {grade:g}; expected at least 0. "
                    "Give every document that is not relevant the grade 0"
                )
        object.__setattr__(self, "documents", documents)
        object.__setattr__(self, "grades", grades)
        if self.teacher_scores is not None:
            scores = self._numbers("teacher_scores", self.teacher_scores, len(documents))
            object.__setattr__(self, "teacher_scores", scores)
        both = set(self.positives).intersection(self.negatives)
        if both:
            raise ConfigError(
                f"RankingGroup of {self.query!r} has a positive among the negatives: {_short(min(both))} "
                "is graded both above 0 and 0; keep one of the two"
            )

    @property
    def positives(self) -> tuple[str, ...]:
        """The relevant documents, in their order."""
        return tuple(text for text, grade in zip(self.documents, self.grades, strict=True) if grade > 0)

    @property
    def negatives(self) -> tuple[str, ...]:
        """The documents that are not relevant, in their order."""
        return tuple(text for text, grade in zip(self.documents, self.grades, strict=True) if grade == 0)

    def examples(self) -> list[RelevanceExample]:
        """One judged pair a document, in their order; a grade above 0 is label 1."""
        return [
            RelevanceExample(self.query, text, int(grade > 0))
            for text, grade in zip(self.documents, self.grades, strict=True)
        ]

    def _numbers(self, name: str, values: Any, n_docs: int) -> tuple[float, ...]:
        """Finite floats, one a document."""
        numbers = _items(values, name, "numbers")
        if len(numbers) != n_docs:
            raise ConfigError(
                f"RankingGroup of {self.query!r} has {len(numbers)} {name} for {n_docs} documents; "
                f"expected one a document"
            )
        for position, number in enumerate(numbers):
            if not _is_finite(number):
                raise ConfigError(
                    f"RankingGroup.{name}[{position}] is {number!r}; expected a finite number. "
                    "Leave the document out or correct the value"
                )
        return tuple(float(number) for number in numbers)


def _items(values: Any, name: str, kind: str) -> tuple[Any, ...]:
    """The values as a tuple; refused are a single text, whose items are letters, and what has no order."""
    if isinstance(values, (str, bytes, Mapping, Set)) or not isinstance(values, Iterable):
        raise ConfigError(
            f"RankingGroup.{name} is {_short(values)}; expected a sequence of {kind}. Put it in a list"
        )
    return tuple(values)


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (Real, np.bool_)) and math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _check_text(value: Any, name: str) -> None:
    if not isinstance(value, str):
        raise ConfigError(f"{name} is {_short(value)}; expected a str. Decode it or take its text first")


def _short(value: Any) -> str:
    """The kind and the first letters of a value, for messages."""
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 80 else shown[:77] + '...'}"
