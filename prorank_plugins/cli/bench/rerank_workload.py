"""What the rerankers are asked: one query and documents cut from the standard library's documentation."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

from prorank_plugins.core.extras import require

_QUERY = "how do I read a compressed file line by line without loading it all"
_SHORTEST, _LONGEST = 20, 300
# Lengths are log-normal, as passages are: half of them below 100 tokens.
_MEDIAN, _DEVIATION = 100, 0.6


@dataclass(frozen=True)
class Workload:
    """One query with its candidates.

    Attributes:
        query: the question.
        documents: candidates of 20 to 300 tokens.
        n_tokens: tokens of all candidates together.
    """

    query: str
    documents: list[str]
    n_tokens: int


def make_workload(folder: Path, texts: Sequence[str], n_documents: int, seed: int) -> Workload:
    """Cut documents of log-normal length at random places.

    Args:
        folder: of a model, whose tokenizer counts.
        texts: to cut from.
        n_documents: how many.
        seed: of the places and lengths.
    """
    tokenizers = require("tokenizers", "rerank", "prorank bench rerank")
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    chance = random.Random(seed)
    text = " ".join(" ".join(chance.sample(texts, len(texts))).split())
    spans = tokenizer.encode(text, add_special_tokens=False).offsets
    documents, n_tokens = [], 0
    for _ in range(n_documents):
        length = int(min(_LONGEST, max(_SHORTEST, chance.lognormvariate(log(_MEDIAN), _DEVIATION))))
        start = chance.randrange(len(spans) - length)
        documents.append(text[spans[start][0] : spans[start + length - 1][1]].strip())
        n_tokens += length
    return Workload(_QUERY, documents, n_tokens)
