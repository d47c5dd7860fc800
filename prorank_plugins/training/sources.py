"""Ranking groups from triples, from BEIR collections, and from documents with generated questions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.evaluation.datasets import BeirDataset, load_beir
from prorank_plugins.training.examples import RankingGroup
from prorank_plugins.training.records import group_of_triple
from prorank_plugins.training.texts import text_of


def groups_from_triples(
    triples: Iterable[tuple[str, str | Sequence[str], Sequence[str]]],
) -> Iterator[RankingGroup]:
    """One group a triple ``(query, positive, negatives)``; ``positive`` may be a list.

    Raises:
        ConfigError: an item that is no such triple, while iterating; its position is named.
    """
    for position, triple in enumerate(triples):
        if not isinstance(triple, (tuple, list)) or len(triple) != 3:
            size = f" of {len(triple)}" if isinstance(triple, (tuple, list)) else ""
            raise ConfigError(
                f"triples[{position}] is a {type(triple).__name__}{size}; "
                "expected (query, positive, negatives)"
            )
        try:
            yield group_of_triple(*triple)
        except ConfigError as error:
            raise ConfigError(f"triples[{position}]: {error}") from error


def groups_from_beir(
    dataset: BeirDataset | str | PathLike[str], split: str = "train"
) -> Iterator[RankingGroup]:
    """The judged documents of each query of a BEIR collection, in the queries' order.

    A judged grade of 0 or below makes a negative. Left out are judged documents that the corpus lacks,
    negatives whose text is also that of a positive (collections hold copies under several ids), and
    queries with nothing left. Many collections judge relevant documents only: `mine_negatives` adds
    negatives to those.

    Args:
        dataset: a folder for `load_beir`, read at once, or what it gave.
        split: which judgements to read, for a folder.

    Raises:
        DataFormatError: the folder cannot be read.
    """
    data = dataset if isinstance(dataset, BeirDataset) else load_beir(dataset, split)
    return _judged_groups(data)


def _judged_groups(data: BeirDataset) -> Iterator[RankingGroup]:
    texts = {document.id: document.text for document in data.documents}
    for query, question in data.queries.items():
        judged = [
            (texts[id], float(max(grade, 0)))
            for id, grade in data.qrels.get(query, {}).items()
            if id in texts
        ]
        positives = {text for text, grade in judged if grade > 0}
        kept = [(text, grade) for text, grade in judged if grade > 0 or text not in positives]
        if kept:
            yield RankingGroup(question, [text for text, _ in kept], [grade for _, grade in kept])


def groups_from_documents(
    documents: Iterable[Any], questions: Callable[[str], Sequence[str]]
) -> Iterator[RankingGroup]:
    """For each document, one group a question about it: the document with grade 1 and nothing else.

    `mine_negatives` takes these groups as they are and adds negatives. Lazy: a document's questions are
    asked for when its first group is wanted.

    Args:
        documents: str, `prorank_plugins.Document`, LangChain documents or LlamaIndex nodes.
        questions: from a document's text to questions that it answers, for example by a language model.
            Blank ones are passed over.

    Raises:
        ConfigError: an item without a text, or ``questions`` returns something else than a list of str.
    """
    if not callable(questions):
        raise ConfigError(
            f"questions is {type(questions).__name__}; expected a callable from a text to a list of questions"
        )
    return _asked_groups(documents, questions)


def _asked_groups(
    documents: Iterable[Any], questions: Callable[[str], Sequence[str]]
) -> Iterator[RankingGroup]:
    for position, document in enumerate(documents):
        text = text_of(document)
        asked = questions(text)
        if not isinstance(asked, (list, tuple)) or not all(isinstance(question, str) for question in asked):
            raise ConfigError(
                f"questions returned {asked!r:.80} for document {position}; expected a list of str. "
                "Split the answer into lines first"
            )
        for question in asked:
            if question.strip():
                yield RankingGroup(question.strip(), [text], [1.0])
