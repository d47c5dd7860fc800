"""The measures against trec_eval itself, through pytrec_eval."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins.evaluation import evaluate
from prorank_plugins.evaluation.ranking import ranked

pytrec_eval = pytest.importorskip("pytrec_eval", reason="the oracle, in the dev extra")

CUTOFFS = (1, 3, 5, 10)
TREC_NAMES = {
    "ndcg": "ndcg",
    "map": "map",
    "mrr": "recip_rank",
    "recall": "set_recall",
    **{f"ndcg@{k}": f"ndcg_cut_{k}" for k in CUTOFFS},
    **{f"map@{k}": f"map_cut_{k}" for k in CUTOFFS},
    **{f"recall@{k}": f"recall_{k}" for k in CUTOFFS},
    **{f"precision@{k}": f"P_{k}" for k in CUTOFFS},
}

# C strings: no NUL, no lone surrogates. trec_eval writes outside its arrays when *every* grade of a query is
# negative, so each query keeps one grade that is not; measures of all-negative queries are tested by hand.
ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=3)
near_ties = st.builds(
    lambda base, step: base + step,
    st.sampled_from([0.0, 1.0, -1.0, 1000.0]),
    st.sampled_from([0.0, 1e-12, -1e-9, 3e-8, 6e-8, 1.2e-7, 1e-6]),
)
scores = st.one_of(near_ties, st.floats(allow_nan=False, allow_infinity=False))


@st.composite
def tasks(draw):
    documents = draw(st.lists(ids, min_size=1, max_size=12, unique=True))
    document = st.sampled_from(documents)
    queries = [f"q{n}" for n in range(draw(st.integers(1, 3)))]
    qrels = {}
    for query in queries:
        grades = draw(st.dictionaries(document, st.integers(-2, 4), min_size=1))
        if max(grades.values()) < 0:
            grades[min(grades)] = 0
        qrels[query] = grades
    retrieved = draw(st.sets(st.sampled_from(queries)))
    return {query: draw(st.dictionaries(document, scores)) for query in retrieved}, qrels


def by_trec_eval(run, qrels):
    """``{query: {our name: value}}``, 0 for a query that the run lacks."""
    found = pytrec_eval.RelevanceEvaluator(qrels, set(TREC_NAMES.values())).evaluate(run)
    nothing = dict.fromkeys(TREC_NAMES.values(), 0.0)
    return {
        query: {ours: found.get(query, nothing)[theirs] for ours, theirs in TREC_NAMES.items()}
        for query in qrels
    }


def assert_equal_to_trec_eval(run, qrels):
    expected = by_trec_eval(run, qrels)
    report = evaluate(run, qrels, list(TREC_NAMES))
    for query, values in expected.items():
        assert report.per_query[query] == pytest.approx(values, rel=0, abs=1e-9), query
    for measure, mean in report.mean.items():
        values = [expected[query][measure] for query in qrels]
        assert mean == pytest.approx(sum(values) / len(values), rel=0, abs=1e-9)


@given(tasks())
@settings(deadline=None, max_examples=300)
def test_every_measure_equals_trec_eval_on_small_tasks_full_of_ties(task):
    assert_equal_to_trec_eval(*task)


@pytest.mark.parametrize("seed", range(10))
def test_every_measure_equals_trec_eval_on_long_rankings(seed):
    rng = random.Random(seed)
    documents = [f"d{n}" for n in range(300)]
    qrels, run = {}, {}
    for query in map(str, range(20)):
        judged = rng.sample(documents, rng.randint(1, 60))
        qrels[query] = {id: rng.choice([-1, 0, 0, 1, 2, 3]) for id in judged} | {"d0": 0}
        retrieved = rng.sample(documents, rng.randint(0, 200))
        coarse = rng.choice([1, 2, 8])
        run[query] = {id: round(rng.gauss(0, 1), coarse) for id in retrieved}
    assert_equal_to_trec_eval(run, qrels)


@pytest.mark.parametrize("seed", range(50))
def test_the_order_of_ties_equals_trec_eval(seed):
    rng = random.Random(seed)
    scores = {f"d{n}": 1.0 + rng.choice([0, 1e-10, 3e-8, 6e-8, 1e-7, 2e-7]) for n in range(12)}
    for rank, id in enumerate(ranked(scores), start=1):
        found = pytrec_eval.RelevanceEvaluator({"q": {id: 1}}, {"recip_rank"}).evaluate({"q": scores})
        assert found["q"]["recip_rank"] == pytest.approx(1 / rank)


@given(tasks(), st.sampled_from(CUTOFFS))
@settings(deadline=None, max_examples=50)
def test_mrr_at_k_is_trec_evals_recip_rank_of_the_first_k(task, k):
    run, qrels = task
    shortened = {
        query: {id: float(-rank) for rank, id in enumerate(ranked(scores)[:k])}
        for query, scores in run.items()
    }
    expected = by_trec_eval(shortened, qrels)
    for query, values in evaluate(run, qrels, [f"mrr@{k}"]).per_query.items():
        assert values[f"mrr@{k}"] == pytest.approx(expected[query]["mrr"], rel=0, abs=1e-9)
