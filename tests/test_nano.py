"""The small model that comes with the package."""

import json
from pathlib import Path

import numpy as np
import pytest

from prorank_plugins import Analyzer, Document, LexicalRetriever, ProRankReranker, RetrieveThenRerank
from prorank_plugins.rerank.weights import NANO, find_folder

GOLDEN = Path(__file__).parent / "golden" / "nano.json"
PASSAGES = [
    "The warranty covers parts and labour for two years from the date of purchase.",
    "Our office is closed on public holidays.",
    "To return an item, send it back within thirty days in its original box.",
    "The Amazon river is the largest river in the world by discharge of water.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
]


@pytest.fixture(scope="module")
def nano():
    return ProRankReranker.from_pretrained(NANO, device="cpu")


def test_it_fits_into_a_wheel():
    assert sum(file.stat().st_size for file in find_folder(NANO).iterdir()) < 28 * 2**20


def test_it_answers_in_the_prompts_terms(nano):
    assert nano.format_rate([("how long is the warranty", text) for text in PASSAGES]) > 0.9


@pytest.mark.parametrize(("query", "place"), [
    ("How long does the warranty last?", 0), ("When is the office closed?", 1),
    ("How do I return an item?", 2), ("Which river is the largest?", 3),
    ("What does photosynthesis produce?", 4),
])  # fmt: skip
def test_it_finds_the_answer_among_a_few_passages(nano, query, place):
    assert int(np.argmax(nano.score(query, PASSAGES))) == place


def test_its_scores_are_those_it_was_released_with(nano):
    golden = json.loads(GOLDEN.read_text("utf-8"))
    scores = nano.score_pairs([(row["query"], row["text"]) for row in golden])
    np.testing.assert_allclose(scores, [row["score"] for row in golden], atol=2e-4)


def test_it_says_where_it_comes_from():
    card = (find_folder(NANO) / "README.md").read_text("utf-8")
    for part in ("license: apache-2.0", "MiniLM", "squad", "nDCG@10", "Limits"):
        assert part in card


def test_it_reranks_behind_bmx_fused_with_its_scores(nano):
    documents = [Document(str(place), text) for place, text in enumerate(PASSAGES)]
    retriever = LexicalRetriever.from_documents(documents, Analyzer("en"))
    best = RetrieveThenRerank(retriever, nano, 5, fusion_weight=0.5).retrieve("largest river", 2)
    assert best[0].document.id == "3"
