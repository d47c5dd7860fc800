"""Questions with their relevant texts, from a collection, from judgements, or from pairs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from prorank_plugins.core.documents import Document
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.texts import text_of

Pairs: TypeAlias = "Iterable[tuple[str, str] | RankingGroup]"


@dataclass(frozen=True)
class Question:
    """A question and what answers it.

    Attributes:
        text: the question.
        relevant: {text: grade} of the relevant documents whose text is known, every grade above 0.
        ids: those of them that are in the corpus.
    """

    text: str
    relevant: Mapping[str, float]
    ids: frozenset[str]


def corpus_of(documents: Iterable[Any] | Mapping[str, Any]) -> dict[str, str]:
    """``{id: text}`` in the documents' order.

    Args:
        documents: ``{id: text}``, or documents of any kind `text_of` reads. A `Document` has its id, others
            are numbered "0", "1", ...

    Raises:
        ConfigError: no documents, an id that occurs twice, or an item without a text.
    """
    if isinstance(documents, (str, bytes)) or not isinstance(documents, Iterable):
        raise ConfigError(f"documents is {type(documents).__name__}; expected a collection of texts")
    if isinstance(documents, Mapping):
        texts = {id: text_of(item) for id, item in documents.items()}
    else:
        texts = {}
        for position, item in enumerate(documents):
            id = item.id if isinstance(item, Document) else str(position)
            if id in texts:
                raise ConfigError(
                    f"documents[{position}] has the id {id!r} a second time; ids must be unique"
                )
            texts[id] = text_of(item)
    if not texts:
        raise ConfigError("found no documents; expected the texts to draw negatives from")
    return texts


def judged_questions(
    queries: Mapping[str, str], qrels: Mapping[str, Mapping[str, float]], texts: Mapping[str, str]
) -> list[Question]:
    """One question a query, in the queries' order.

    Args:
        queries: {query: text}.
        qrels: {query: {document: grade}}; a grade above 0 is relevant. Documents without a text
            are passed over.
        texts: the corpus, {document: text}.

    Raises:
        ConfigError: a query's text is no str, or the judgements are no mappings.
    """
    if not isinstance(qrels, Mapping) or not all(isinstance(judged, Mapping) for judged in qrels.values()):
        raise ConfigError(
            "positives must be {query: {document: grade}} when queries are {query: text}, found "
            f"{type(qrels).__name__}. Pass pairs of texts as queries if there are no ids"
        )
    questions = []
    for query, text in queries.items():
        if not isinstance(text, str):
            raise ConfigError(f"queries[{query!r}] is {type(text).__name__}; expected the text of the query")
        found = {id: grade for id, grade in qrels.get(query, {}).items() if grade > 0 and id in texts}
        relevant: dict[str, float] = {}
        for id, grade in found.items():  # copies under several ids count once, with their best grade
            relevant[texts[id]] = max(float(grade), relevant.get(texts[id], 0.0))
        questions.append(Question(text, relevant, frozenset(found)))
    return questions


def paired_questions(relevant: Mapping[str, Mapping[str, float]], texts: Mapping[str, str]) -> list[Question]:
    """One question a distinct query text, in order of its first pair.

    Args:
        relevant: {query text: {relevant text: grade}}; see `merged_pairs`.
        texts: the corpus, {document: text}.
    """
    id_of: dict[str, str] = {}
    for id, text in texts.items():
        id_of.setdefault(text, id)
    return [
        Question(query, found, frozenset(id_of[text] for text in found if text in id_of))
        for query, found in relevant.items()
    ]


def merged_pairs(pairs: Pairs) -> dict[str, dict[str, float]]:
    """``{query text: {relevant text: grade}}``: all that is relevant to one query together.

    Args:
        pairs: ``(query, relevant text)`` with grade 1, or ranking groups, of which the documents above
            grade 0 count.

    Raises:
        ConfigError: an item of another kind.
    """
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, Iterable):
        raise ConfigError(
            f"queries is {type(pairs).__name__}; expected a BeirDataset, {{query: text}}, "
            "or (query, relevant text) pairs"
        )
    merged: dict[str, dict[str, float]] = {}
    for position, pair in enumerate(pairs):
        if isinstance(pair, RankingGroup):
            query, graded = pair.query, list(zip(pair.documents, pair.grades, strict=True))
        elif isinstance(pair, (tuple, list)) and len(pair) == 2 and all(isinstance(x, str) for x in pair):
            query, graded = pair[0], [(pair[1], 1.0)]
        else:
            raise ConfigError(
                f"queries[{position}] is {pair!r:.80}; expected (query, relevant text) or a RankingGroup"
            )
        found = merged.setdefault(query, {})
        for text, grade in graded:
            if grade > 0:
                found[text] = max(grade, found.get(text, 0.0))
    return merged
