"""Scores against the oracle, by hand, and the laws they obey."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prorank_plugins import BM25, BMX, ConfigError, LexicalIndex, WeightedQuery
from prorank_plugins.lexical.statistics import inverse_doc_freqs, log_entropy_terms
from tests import oracles
from tests.strategies import corpora, queries, scorer_settings


def index_of(corpus):
    return LexicalIndex.build(corpus, analyzer=None)


WORKED_CORPUS = [["cat", "sat", "mat"], ["cat", "cat", "dog", "ran", "far"], ["dog", "slept"], ["bird"]]


def test_the_worked_example_of_the_docs_in_the_reference_variant():
    """The numbers are derived step by step in docs/bmx.md."""
    scores = index_of(WORKED_CORPUS).scores(["cat", "dog", "fish"], BMX())
    np.testing.assert_allclose(scores, [0.7559, 2.1487, 0.8884, 0.0], atol=5e-5)


def test_the_worked_example_of_the_docs_in_the_paper_variant():
    scores = index_of(WORKED_CORPUS).scores(["cat", "dog", "fish"], BMX(variant="paper"))
    np.testing.assert_allclose(scores, [0.9275, 1.8450, 0.9897, 0.0], atol=5e-5)


def test_a_term_in_every_document_still_has_positive_weight():
    assert inverse_doc_freqs(np.array([3]), n_docs=3)[0] == pytest.approx(math.log(8 / 7))


def test_a_term_cannot_occur_in_more_documents_than_there_are():
    with pytest.raises(ConfigError, match="above n_docs=3"):
        inverse_doc_freqs(np.array([4]), n_docs=3)


def test_entropy_shares_are_those_of_the_sigmoid():
    p = 1 / (1 + np.exp(-np.arange(1.0, 20.0)))
    np.testing.assert_allclose(np.exp(log_entropy_terms(np.arange(1, 20))), -p * np.log(p), rtol=1e-7)


def test_entropy_shares_keep_their_ratio_where_the_sigmoid_is_saturated():
    shares = log_entropy_terms(np.array([36, 37, 800, 10_000]))
    np.testing.assert_allclose(shares, [-36, -37, -800, -10_000], atol=1e-12)


@settings(max_examples=150)
@given(corpora(), queries(), scorer_settings())
def test_bmx_agrees_with_the_dense_formula(corpus, query, options):
    scores = index_of(corpus).scores(query, BMX(**options))
    np.testing.assert_allclose(scores, oracles.bmx(corpus, query, **options), rtol=1e-9, atol=1e-12)


@given(corpora(), queries(), st.floats(0, 3), st.floats(0, 1))
def test_bm25_agrees_with_the_dense_formula(corpus, query, k1, b):
    if not any(corpus):
        return
    scores = index_of(corpus).scores(query, BM25(k1, b))
    np.testing.assert_allclose(scores, oracles.bm25(corpus, query, k1, b), rtol=1e-9, atol=1e-12)


@given(corpora(), st.lists(st.tuples(queries(4), st.floats(0, 2)), min_size=1, max_size=4), scorer_settings())
def test_a_weighted_query_is_the_weighted_sum_of_its_parts(corpus, parts, options):
    scores = index_of(corpus).scores(WeightedQuery(parts), BMX(**options))
    expected = sum(w * np.array(oracles.bmx(corpus, query, **options)) for query, w in parts)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


@given(
    corpora(),
    st.lists(st.tuples(queries(4), st.sampled_from([0.3, 0.5, 1.0])), min_size=1, max_size=4),
    scorer_settings(),
)
def test_a_joint_query_is_one_query_with_token_weights(corpus, parts, options):
    scores = index_of(corpus).scores(WeightedQuery(parts, joint=True), BMX(**options))
    tokens = [token for query, _ in parts for token in query]
    weights = [weight for query, weight in parts for _ in query]
    expected = oracles.bmx(corpus, tokens, weights=weights, **options)
    np.testing.assert_allclose(scores, expected, rtol=1e-9, atol=1e-12)


@given(corpora(), queries(), st.integers(1, 14), scorer_settings())
def test_search_returns_the_best_of_all_scores_bit_for_bit(corpus, query, k, options):
    index, scorer = index_of(corpus), BMX(**options)
    scores = index.scores(query, scorer)
    hits = index.search(query, k, scorer)
    assert hits.rows.tolist() == oracles.best(scores, k)
    assert hits.scores.tolist() == scores[hits.rows].astype(np.float32).tolist()


@given(
    corpora(), st.lists(st.tuples(queries(4), st.floats(0.1, 2)), min_size=1, max_size=3), st.integers(1, 14)
)
def test_search_with_weights_returns_the_best_of_all_scores_bit_for_bit(corpus, parts, k):
    index, query = index_of(corpus), WeightedQuery(parts)
    scores = index.scores(query)
    assert index.search(query, k).rows.tolist() == oracles.best(scores, k)


@given(corpora(), queries(), scorer_settings())
def test_scores_normalised_by_the_bound_lie_between_0_and_1(corpus, query, options):
    scores = index_of(corpus).scores(query, BMX(**options, normalize="bound"))
    assert ((scores >= 0) & (scores <= 1)).all()


@given(corpora(), queries(), scorer_settings(), st.sampled_from(["paper", "reference", "bound"]))
def test_normalising_does_not_change_the_order(corpus, query, options, normalize):
    index = index_of(corpus)
    plain = index.search(query, 20, BMX(**options))
    assert index.search(query, 20, BMX(**options, normalize=normalize)).ids == plain.ids


def test_the_papers_normaliser_is_an_estimate_that_a_score_can_exceed():
    corpus = [["rare"] * 30, *([["other", "words"] * 20] * 50)]
    index = index_of(corpus)
    n = len(corpus)
    raw = index.scores(["rare"])[0]
    estimate = math.log(1 + (n - 0.5) / 1.5)
    assert index.scores(["rare"], BMX(normalize="paper"))[0] == pytest.approx(raw / (estimate + 1))
    assert index.scores(["rare"], BMX(normalize="reference"))[0] == pytest.approx(raw / estimate)
    assert index.scores(["rare"], BMX(normalize="reference"))[0] > 1
    assert index.scores(["rare"], BMX(normalize="bound"))[0] < 1


def test_unknown_terms_lower_the_papers_score_but_not_the_references():
    index = index_of([["cat", "dog"], ["dog", "bird"], ["fish"]])
    with_unknown, without = ["cat", "zebra"], ["cat"]
    assert index.scores(with_unknown)[0] == index.scores(without)[0]
    assert (
        index.scores(with_unknown, BMX(variant="paper", alpha=0))[0]
        < index.scores(without, BMX(variant="paper", alpha=0))[0]
    )


def test_term_frequencies_of_ten_thousand_give_finite_scores_in_the_right_order():
    corpus = [["a"] * 10_000, ["a"] * 10_000 + ["b"] * 9_999, ["c"]]
    index = index_of(corpus)
    for scorer in (BMX(), BMX(variant="paper"), BM25(), BMX(normalize="bound")):
        scores = index.scores(["a", "b"], scorer)
        assert np.isfinite(scores).all()
        assert scores[1] > scores[0] > scores[2] == 0
    np.testing.assert_allclose(index.scores(["a", "b"]), oracles.bmx(corpus, ["a", "b"]), rtol=1e-9)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True])
def test_parameters_out_of_range_are_rejected(value):
    for make in (lambda v: BMX(alpha=v), lambda v: BMX(beta=v), lambda v: BM25(k1=v), lambda v: BM25(b=v)):
        with pytest.raises(ConfigError, match="finite number"):
            make(value)


def test_b_above_1_is_rejected():
    with pytest.raises(ConfigError, match=r"\[0.0, 1.0\], found 1.5"):
        BM25(b=1.5)


@pytest.mark.parametrize("option", ["variant", "repeats", "normalize"])
def test_unknown_options_are_rejected_with_the_choices(option):
    with pytest.raises(ConfigError, match=f"{option} must be one of .* found 'other'"):
        BMX(**{option: "other"})


@pytest.mark.parametrize("parts", [[], [(["a"], -0.1)], [(["a"], math.nan)], [(["a"], math.inf)]])
def test_weights_that_cannot_work_are_rejected(parts):
    with pytest.raises(ConfigError):
        WeightedQuery(parts)


def test_a_query_whose_parts_all_have_weight_0_finds_nothing():
    assert len(index_of([["a"]]).search(WeightedQuery([(["a"], 0.0)]))) == 0


def test_augmentations_weigh_three_tenths_each():
    query = WeightedQuery.from_augmentations("q", ["r", "s"])
    assert query.parts == (("q", 1.0), ("r", 0.3), ("s", 0.3))


@given(corpora(), queries(), scorer_settings())
def test_an_explanation_adds_up_to_the_score(corpus, query, options):
    index, scorer = index_of(corpus), BMX(**options)
    scores = index.scores(query, scorer)
    for row, score in enumerate(scores):
        explanation = index.explain(query, str(row), scorer)
        assert explanation.score == pytest.approx(score, abs=1e-12)
        assert (
            sum(t.contribution for t in explanation.terms) + explanation.coverage
        ) * explanation.scale == pytest.approx(score)
        assert explanation.matched == pytest.approx(
            sum(
                term in corpus[row]
                for term in (dict.fromkeys(query) if options["repeats"] == "merge" else query)
            )
        )


def test_an_explanation_prints_as_a_tree_of_terms():
    index = LexicalIndex.build(["compress a file", "read a file", "sort a list"])
    text = str(index.explain("compress files quickly", "0"))
    assert text.splitlines()[0].startswith(f"{index.scores('compress files quickly')[0]:.4f}  0")
    for part in ("compress", "file", "quick", "in no document", "coverage", "idf", "tf 1"):
        assert part in text
