"""Questions about Python's standard library with graded answers: a test collection that needs no download.

The questions were written for this package, in the words of people who do not know the name of what they
look for. Grade 2 answers the question, grade 1 is a class, module or relative one would be glad to find.
All judged objects exist in CPython 3.10 to 3.13.
"""

from __future__ import annotations

import json
from importlib.resources import files

from prorank_plugins.core.errors import DataFormatError
from prorank_plugins.evaluation.datasets import BeirDataset
from prorank_plugins.evaluation.stdlib import stdlib_documents

_FILE = "stdlib_qa.jsonl"


def load_stdlib_qa() -> BeirDataset:
    """The questions, their judgements and the corpus that they are about, named ``stdlib-qa``.

    The corpus is the documentation of the running interpreter. A judged object that this build lacks
    (sqlite3 in a minimal one, say) is left out of the judgements, so that nobody is asked to find it, and
    a question that keeps no answer of grade 2 is left out as a whole.

    Raises:
        DataFormatError: the documentation could not be listed, or the installed questions are damaged.
    """
    documents = stdlib_documents()
    present = {document.id for document in documents}
    queries, judged = load_stdlib_questions()
    qrels = {
        query: {id: grade for id, grade in relevant.items() if id in present}
        for query, relevant in judged.items()
    }
    qrels = {query: relevant for query, relevant in qrels.items() if 2 in relevant.values()}
    return BeirDataset("stdlib-qa", documents, {query: queries[query] for query in qrels}, qrels)


def load_stdlib_questions() -> tuple[dict[str, str], dict[str, dict[str, int]]]:
    """All questions ``{query: text}`` and judgements ``{query: {document: grade}}``, without the corpus.

    Raises:
        DataFormatError: the installed file of questions is damaged.
    """
    content = (files(__package__) / "data" / _FILE).read_text(encoding="utf-8")
    queries: dict[str, str] = {}
    qrels: dict[str, dict[str, int]] = {}
    for number, line in enumerate(content.splitlines(), 1):
        try:
            row = json.loads(line)
            query, queries[query], qrels[query] = row["id"], row["query"], row["relevant"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataFormatError(
                f"{_FILE}:{number} is {line[:200]!r}; expected a JSON object with id, query and relevant. "
                "Install prorank_plugins again"
            ) from error
    return queries, qrels
