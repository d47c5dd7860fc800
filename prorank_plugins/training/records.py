"""The JSON records that hold training data, and how each becomes an example or a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prorank_plugins.core.errors import ConfigError, DataFormatError
from prorank_plugins.training.examples import RankingGroup, RelevanceExample

ACCEPTED = (
    '{"query", "document", "label"}, {"query", "documents", "grades"} with "teacher_scores" or without, '
    'or {"query", "positive", "negatives"}'
)
"""What a record may look like. Other fields, such as ids, are passed over."""

_KINDS = (("document", "label"), ("documents", "grades"), ("positive", "negatives"))


def parse_record(record: Mapping[str, Any], where: str) -> RelevanceExample | RankingGroup:
    """A record as a judged pair, or as a group if it is graded documents or a triple.

    Args:
        record: a JSON object; see `ACCEPTED`.
        where: ``file:line``, for messages.

    Raises:
        DataFormatError: a record of no accepted form or of two at once, or one with a wrong value.
    """
    kinds = [kind for kind in _KINDS if all(name in record for name in kind)]
    if "query" not in record or len(kinds) != 1:
        fields = ", ".join(f'"{name}"' for name in record) or "no fields"
        raise DataFormatError(f"{where}: found a record with {fields}; accepted are {ACCEPTED}")
    try:
        if "label" in kinds[0]:
            return RelevanceExample(record["query"], record["document"], record["label"])
        if "grades" in kinds[0]:
            scores = record.get("teacher_scores")
            return RankingGroup(record["query"], record["documents"], record["grades"], scores)
        return group_of_triple(record["query"], record["positive"], record["negatives"])
    except ConfigError as error:
        raise DataFormatError(f"{where}: {error}") from error


def group_of_triple(query: Any, positive: Any, negatives: Any) -> RankingGroup:
    """A group in which the positives have grade 1 and the negatives grade 0.

    Args:
        query: the question.
        positive: a relevant text or several.
        negatives: texts that are not relevant.

    Raises:
        ConfigError: ``negatives`` is a single text, or no valid `RankingGroup` results.
    """
    positives = [positive] if isinstance(positive, str) else positive
    for name, value in (("positive", positives), ("negatives", negatives)):
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{name} is {type(value).__name__} {value!r}; expected a list of texts")
    return RankingGroup(query, [*positives, *negatives], [1.0] * len(positives) + [0.0] * len(negatives))


def to_record(item: RelevanceExample | RankingGroup) -> dict[str, Any]:
    """The record that `parse_record` turns into an equal item."""
    if isinstance(item, RelevanceExample):
        return {"query": item.query, "document": item.document, "label": item.label}
    record = {"query": item.query, "documents": list(item.documents), "grades": list(item.grades)}
    if item.teacher_scores is not None:
        record["teacher_scores"] = list(item.teacher_scores)
    return record
