"""Ids and scores equal those of mxbai-rerank 0.1.6, whose weights are the released ProRank models.

The golden file holds what that library gave (`tests/golden/rerank/make.py` writes it); tests marked peers
ask the library itself.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")


from prorank_plugins.rerank.encoding import PairEncoder
from prorank_plugins.rerank.prompt import PRORANK
from prorank_plugins.rerank.reranker import ProRankReranker
from prorank_plugins.rerank.tokens import PieceTokenizer
from tests import tiny_models
from tests.golden.rerank.make import GOLDEN, reference
from tests.golden.rerank.pairs import Case, cases

TOLERANCE = 2e-5


def read_golden():
    data = json.loads(GOLDEN.read_text("utf-8"))
    for found in data["cases"]:
        before, after = ids_of(found["before"]), ids_of(found["after"])
        pairs = [(pair["query"], pair["document"]) for pair in found["pairs"]]
        case = Case(pairs, found["instruction"], found["max_length"], found["positions"])
        ids = [[*before, *ids_of(pair["ids"]), *after] for pair in found["pairs"]]
        yield case, ids, np.array([pair["score"] for pair in found["pairs"]])


def ids_of(text):
    return [int(number) for number in text.split()]


GOLDEN_CASES = list(read_golden())
each_case = pytest.mark.parametrize("number", range(len(GOLDEN_CASES)))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The model of the golden file, by the positions it has."""
    root = tmp_path_factory.mktemp("parity")
    sizes = {case.positions for case, _, _ in GOLDEN_CASES}
    return {n: tiny_models.qwen(root / str(n), max_position_embeddings=n) for n in sizes}


def our_ids(folder, case):
    tokenizer = PieceTokenizer.from_folder(folder)
    encoder = PairEncoder(PRORANK, tokenizer, case.max_length, case.positions, allow_special_tokens=True)
    documents = encoder.documents([document for _, document in case.pairs])
    heads = [encoder.head(query, case.instruction) for query, _ in case.pairs]
    return [encoder.row(head, document) for head, document in zip(heads, documents, strict=True)]


def our_scores(folder, case):
    reranker = ProRankReranker.from_pretrained(
        folder,
        device="cpu",
        dtype="float32",
        max_length=case.max_length,
        allow_special_tokens=True,
        check=False,
    )
    return reranker.score_pairs(case.pairs, instruction=case.instruction)


def test_the_golden_file_holds_the_cases_of_the_generator():
    assert [case for case, _, _ in GOLDEN_CASES] == list(cases())
    assert sum(len(case.pairs) for case, _, _ in GOLDEN_CASES) >= 200


@each_case
def test_token_ids_are_those_of_mxbai_rerank(folders, number):
    case, expected, _ = GOLDEN_CASES[number]
    assert our_ids(folders[case.positions], case) == expected


@each_case
def test_scores_are_those_of_mxbai_rerank_to_2e_5(folders, number):
    case, _, expected = GOLDEN_CASES[number]
    scores = our_scores(folders[case.positions], case)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=TOLERANCE)


def test_the_golden_cases_reach_every_branch_of_truncation(folders):
    """Query cut or not, document cut or not, and a limit that the model lowers."""
    reached = set()
    for case, rows, _ in GOLDEN_CASES:
        tokenizer = PieceTokenizer.from_folder(folders[case.positions])
        encoder = PairEncoder(PRORANK, tokenizer, case.max_length, case.positions, allow_special_tokens=True)
        lowered = encoder.max_length < case.max_length
        for (query, document), row in zip(case.pairs, rows, strict=True):
            n_query = len(tokenizer.encode(PRORANK.head_text(query, case.instruction), trusted=True))
            n_document = len(tokenizer.encode(PRORANK.document_text(document), trusted=True))
            query_cut = n_query > encoder.max_length * 3 // 4
            kept = min(n_query, encoder.max_length * 3 // 4) + 1 + n_document
            assert len(row) == encoder.template_length + min(kept, encoder.max_length)
            reached.add((query_cut, kept > encoder.max_length, lowered))
    assert reached >= {(q, d, low) for q in (False, True) for d in (False, True) for low in (False, True)}


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
@each_case
def test_the_golden_file_is_what_mxbai_rerank_gives_today(folders, number):
    pytest.importorskip("mxbai_rerank")
    case, ids, scores = GOLDEN_CASES[number]
    found = reference(folders[case.positions], case)
    assert [row for row, _ in found] == ids
    np.testing.assert_allclose([score for _, score in found], scores, rtol=0, atol=TOLERANCE)


@pytest.fixture(scope="session")
def real_tokenizer():
    """The ``tokenizer.json`` of Qwen2, in the folder named by PRORANK_DATA."""
    file = Path(os.environ.get("PRORANK_DATA", "/nowhere")) / "qwen2-tokenizer" / "tokenizer.json"
    if not file.is_file():
        pytest.skip("PRORANK_DATA does not name a folder with qwen2-tokenizer/tokenizer.json")
    return file.read_text("utf-8")


@pytest.mark.peers
@pytest.mark.filterwarnings("default")
def test_with_the_real_tokenizer_ids_and_scores_are_those_of_mxbai_rerank(real_tokenizer, tmp_path):
    pytest.importorskip("mxbai_rerank")
    differences = []
    for number, case in enumerate(cases()):
        folder = tiny_models.qwen(
            tmp_path / str(number), tokenizer=real_tokenizer, max_position_embeddings=case.positions
        )
        found = reference(folder, case)
        assert [row for row, _ in found] == our_ids(folder, case)
        differences += list(our_scores(folder, case) - [score for _, score in found])
    assert np.abs(differences).max() <= TOLERANCE


def test_the_template_has_79_tokens_in_the_real_tokenizer(real_tokenizer):
    encoder = PairEncoder(PRORANK, PieceTokenizer(real_tokenizer), 8192, 32768)
    assert encoder.template_length == 79
    assert [encoder.tokenizer.encode(answer, trusted=True) for answer in "01"] == [[15], [16]]
