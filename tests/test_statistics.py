"""Sums over documents: formulas, and documents that come and go."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import ConfigError
from prorank_plugins.lexical import statistics
from prorank_plugins.lexical.histograms import Histograms
from prorank_plugins.lexical.statistics import (
    ARRAYS,
    CorpusStats,
    DocumentSums,
    TermStatistics,
    inverse_doc_freqs,
    log_entropy_terms,
)

N_TERMS = 6
FREQUENCIES = st.sampled_from([1, 1, 1, 2, 2, 3, 7, 37, 255, 256, 257, 746, 70_000])
DOCUMENTS = st.dictionaries(st.integers(0, N_TERMS - 1), FREQUENCIES, max_size=4)
ALL = np.arange(N_TERMS + 2)
# With few pairs a change is made term by term, with many by arrays: from 0 on, from 4 on, or never.
THRESHOLDS = st.sampled_from([0, 4, 10**9])


def pairs(documents):
    """Arguments of `change` for documents given as {term: tf}."""
    terms = np.array([term for document in documents for term in document], np.int32)
    freqs = np.array([freq for document in documents for freq in document.values()], np.int32)
    return terms, freqs, len(documents), int(freqs.sum())


def fresh(documents):
    """Statistics of documents that were never anything else."""
    return told(documents).of(ALL)


def told(documents):
    result = TermStatistics()
    result.change(*pairs(documents), sign=1)
    return result


def bits(stats: CorpusStats):
    return stats.n_docs, stats.total_length, stats.doc_freqs.tolist(), stats.log_entropies.tolist()


def state(result):
    return bits(result.of(ALL))


class Threshold:
    """Make changes of at least so many pairs with arrays."""

    def __init__(self, n_pairs):
        self.n_pairs = n_pairs

    def __enter__(self):
        self.before, statistics.MANY_PAIRS = statistics.MANY_PAIRS, self.n_pairs

    def __exit__(self, *_):
        statistics.MANY_PAIRS = self.before


def summed(documents):
    """Arguments of `add_sums` for documents given as {term: tf}."""
    terms, freqs, n_docs, total_length = pairs(documents)
    distinct, doc_freqs = np.unique(terms, return_counts=True)
    return distinct, doc_freqs, Histograms.of(terms, freqs), n_docs, total_length


# Formulas


def test_a_term_in_every_document_still_has_positive_weight():
    assert inverse_doc_freqs(np.array([3]), n_docs=3)[0] == pytest.approx(np.log(8 / 7))


def test_a_term_in_more_documents_than_there_are_is_refused():
    with pytest.raises(ConfigError, match="doc_freqs reaches 4, above n_docs=3"):
        inverse_doc_freqs(np.array([4]), n_docs=3)


def test_the_entropy_of_a_term_is_summed_over_its_documents():
    def share(tf):
        p = 1 / (1 + math.exp(-tf))
        return -p * math.log(p)

    stats = fresh([{0: 1, 1: 2}, {0: 1}, {0: 5}])
    np.testing.assert_allclose(np.exp(stats.log_entropies[:2]), [2 * share(1) + share(5), share(2)])
    assert np.isneginf(stats.log_entropies[2:]).all()


def test_beyond_the_table_a_share_is_minus_tf_to_the_last_bit():
    freqs = np.array([256, 257, 746, 70_000, 2**31 - 1])
    assert log_entropy_terms(freqs).tolist() == (-freqs).tolist()


@given(st.lists(DOCUMENTS, max_size=8))
def test_entropies_are_within_rounding_of_the_sum_of_shares(documents):
    result = fresh(documents).log_entropies
    for term in range(N_TERMS):
        freqs = np.array([document[term] for document in documents if term in document], np.int64)
        expected = np.logaddexp.reduce(log_entropy_terms(freqs)) if len(freqs) else -np.inf
        np.testing.assert_allclose(result[term], expected, rtol=1e-12, atol=1e-12)


def plain_log_entropies(documents):
    """In plain Python: by term frequency, ascending, relative to the first."""
    shares = log_entropy_terms(np.arange(70_001)).tolist()
    result = []
    for term in range(len(ALL)):
        counts = Counter(document[term] for document in documents if term in document)
        total, low = 0.0, min(counts, default=0)
        for freq in sorted(counts):
            total += counts[freq] * math.exp(shares[freq] - shares[low])
        result.append(shares[low] + math.log(total) if counts else -math.inf)
    return result


@given(st.lists(DOCUMENTS, max_size=12))
def test_entropies_have_the_bits_of_the_sum_in_ascending_order(documents):
    assert fresh(documents).log_entropies.tolist() == plain_log_entropies(documents)


# Documents come and go


@given(st.lists(st.tuples(DOCUMENTS, st.booleans(), st.integers(0, 3)), max_size=14), THRESHOLDS)
def test_what_came_and_went_leaves_the_bits_of_a_fresh_build(history, threshold):
    with Threshold(threshold):
        result, present = TermStatistics(), []
        for document, removes, batch in history:
            if removes and present:
                gone, present = present[: batch + 1], present[batch + 1 :]
                result.change(*pairs(gone), sign=-1)
            else:
                present += (new := [document] * batch)
                result.change(*pairs(new), sign=1)
            assert state(result) == bits(fresh(present))
        assert np.isneginf(result.log_entropies[result.doc_freqs == 0]).all()


@given(st.lists(DOCUMENTS, min_size=1, max_size=6), st.lists(DOCUMENTS, min_size=1, max_size=6), THRESHOLDS)
def test_a_saved_state_goes_on_where_it_was(first, second, threshold):
    with Threshold(threshold):
        before = told(first)
        before.change(*pairs(second), sign=1)
        arrays = before.arrays()
        assert {name: array.dtype for name, array in arrays.items()} == ARRAYS
        for array in arrays.values():
            array.flags.writeable = False
        saved = {name: array.copy() for name, array in arrays.items()}
        loaded = TermStatistics.from_arrays(arrays, before.n_docs, before.total_length)
        assert state(loaded) == state(before)
        for result in (loaded, before, pickle.loads(pickle.dumps(loaded))):
            result.change(*pairs(first), sign=-1)
            assert state(result) == bits(fresh(second))
            result.change(*pairs(first), sign=1)
            assert state(result) == bits(fresh([*first, *second]))
        for name, array in arrays.items():
            assert array.tolist() == saved[name].tolist()


@given(st.lists(DOCUMENTS, min_size=1, max_size=6), st.lists(DOCUMENTS, max_size=6), THRESHOLDS)
def test_copies_go_separate_ways(first, second, threshold):
    with Threshold(threshold):
        one = told(first)
        other = one.copy()
        other.change(*pairs(second), sign=1)
        assert state(one) == bits(fresh(first))
        one.change(*pairs(first), sign=-1)
        assert state(one) == bits(fresh([]))
        assert state(other) == bits(fresh([*first, *second]))


@given(st.lists(DOCUMENTS, max_size=6), st.lists(DOCUMENTS, max_size=6))
def test_terms_can_be_renumbered(first, second):
    result = told(first)
    used = np.flatnonzero(result.doc_freqs)
    less = result.renumbered(used)
    assert less.n_terms == len(used)
    place = {term: number for number, term in enumerate(used.tolist())}
    for term in range(N_TERMS):
        place.setdefault(term, len(place))

    def renamed(documents):
        return [{place[term]: freq for term, freq in document.items()} for document in documents]

    assert state(less) == bits(fresh(renamed(first)))
    less.change(*pairs(renamed(second)), sign=1)
    assert state(less) == bits(fresh(renamed([*first, *second])))
    assert state(result) == bits(fresh(first))


def test_terms_are_looked_up_in_the_order_asked_for():
    result = told([{0: 1, 3: 2}, {3: 1}])
    stats = result.of(np.array([3, -1, 0, 3, 99, 1]))
    assert (stats.n_docs, stats.total_length, stats.average_length) == (2, 4, 2.0)
    assert stats.doc_freqs.tolist() == [2, 0, 1, 2, 0, 0]
    assert stats.doc_freqs.dtype == np.int64
    assert np.isneginf(stats.log_entropies).tolist() == [False, True, False, False, True, True]
    assert stats.idfs.tolist() == inverse_doc_freqs(stats.doc_freqs, 2).tolist()
    before = bits(stats)
    result.change(*pairs([{3: 5}]), sign=1)
    assert bits(stats) == before


def test_the_arrays_of_all_terms_cannot_be_written_to():
    result = told([{0: 1, 3: 2}])
    assert result.doc_freqs.tolist() == [1, 0, 0, 1]
    assert result.n_terms == len(result.log_entropies) == 4
    for array in (result.doc_freqs, result.log_entropies):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    result.change(*pairs([{0: 1}]), sign=1)
    assert result.doc_freqs.tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("threshold", [0, 10**9])
@pytest.mark.parametrize(
    "gone",
    [[{1: 1}], [{0: 3}], [{0: 2}, {0: 2}], [{5: 1}], [{5: 2}], [{}, {}, {}], [{0: 2, 1: 300}], [{0: 1}] * 2],
)
def test_more_cannot_be_removed_than_there_is(gone, threshold):
    with Threshold(threshold):
        result = told([{0: 2}, {0: 1, 2: 9}])
        before = state(result)
        with pytest.raises(ValueError, match="than there are"):
            result.change(*pairs(gone), sign=-1)
        assert state(result) == before


def test_a_large_change_is_made_with_arrays_and_a_small_one_is_not(monkeypatch):
    made = []
    monkeypatch.setattr(TermStatistics, "_change_all", lambda *_: made.append("all"))
    put = TermStatistics.put
    monkeypatch.setattr(TermStatistics, "put", lambda *given: made.append("few") or put(*given))
    result = TermStatistics()
    for n in (0, 1, 19_999, 20_000):
        result.change(np.arange(n, dtype=np.int32), np.ones(n, np.int32), 1, n, 1)
    assert made == ["few", "few", "few", "all"]
    assert (result.n_docs, result.total_length) == (4, 40_000)


@given(st.lists(DOCUMENTS, max_size=6), st.lists(DOCUMENTS, max_size=6), st.data())
def test_changes_worked_out_together_are_the_changes_one_after_the_other(first, second, data):
    gone = first[: data.draw(st.integers(0, len(first)))]
    changes = [DocumentSums(*pairs(gone), -1), DocumentSums(*pairs(second), 1)]
    together, apart = told(first), told(first)
    change = together.worked_out(changes)
    assert state(together) == state(apart)
    together.put(change)
    for part in changes:
        apart.change(*part)
    assert state(together) == state(apart)


def test_histograms_hold_the_frequencies_above_one():
    histograms = Histograms.of(np.array([3, 1, 3, 1, 3, 0]), np.array([2, 7, 2, 1, 5, 1]))
    assert histograms.terms.tolist() == [1, 3, 3]
    assert histograms.term_freqs.tolist() == [7, 2, 5]
    assert histograms.counts.tolist() == [1, 2, 1]
    indptr, freqs, counts = histograms.take(np.array([3, 0, 3, 1]))
    assert indptr.tolist() == [0, 2, 2, 4, 5]
    assert freqs.tolist() == [2, 5, 2, 5, 7]
    assert counts.tolist() == [2, 1, 2, 1, 1]


# Arrays from a file


def saved_arrays(**changes):
    arrays = told([{0: 1, 1: 2}, {1: 3, 2: 2}, {}]).arrays()
    for name, (place, value) in changes.items():
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value
    return arrays


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"doc_freqs": (0, -1)}, "not in 0 to 3 documents"),
        ({"doc_freqs": (0, 4)}, "not in 0 to 3 documents"),
        ({"doc_freqs": (0, 0)}, "not finite where"),
        ({"doc_freqs": (1, 1)}, "more documents of a term than contain it"),
        ({"log_entropies": (0, np.nan)}, "not finite where"),
        ({"log_entropies": (0, np.inf)}, "not finite where"),
        ({"log_entropies": (0, -np.inf)}, "not finite where"),
        ({"log_entropies": (0, 1e9)}, "not finite where"),
        ({"repeat_terms": (0, -1)}, "terms outside the 3"),
        ({"repeat_terms": (2, 3)}, "terms outside the 3"),
        ({"repeat_terms": (0, 2)}, "do not ascend"),
        ({"repeat_term_freqs": (0, 3)}, "do not ascend"),
        ({"repeat_term_freqs": (0, 1)}, "frequency below 2"),
        ({"repeat_counts": (0, 0)}, "count below 1"),
        ({"repeat_counts": (0, 2)}, "more documents of a term than contain it"),
    ],
)
def test_arrays_that_contradict_themselves_are_refused(changes, match):
    TermStatistics.from_arrays(saved_arrays(), 3, 8)
    with pytest.raises(ValueError, match=match):
        TermStatistics.from_arrays(saved_arrays(**changes), 3, 8)


@pytest.mark.parametrize("name", list(ARRAYS))
def test_arrays_of_another_length_or_type_are_refused(name):
    arrays = saved_arrays()
    for wrong in (arrays[name][:-1], arrays[name].astype(np.int16), arrays[name][None]):
        with pytest.raises(
            ValueError, match=r"differ in length|entropies of|outside the|int16|2-dimensional"
        ):
            TermStatistics.from_arrays({**arrays, name: wrong}, 3, 8)


def test_sizes_are_not_negative():
    for n_docs, total_length in ((-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="there are"):
            TermStatistics.from_arrays(TermStatistics().arrays(), n_docs, total_length)


@given(st.lists(DOCUMENTS, max_size=6), st.lists(DOCUMENTS, max_size=6), THRESHOLDS)
def test_sums_over_documents_count_like_the_documents(first, second, threshold):
    with Threshold(threshold):
        one, other = told(first), told(first)
        one.change(*pairs(second), sign=1)
        other.add_sums(*summed(second))
    assert state(one) == state(other)


def test_entries_of_few_of_many_terms_are_those_of_all():
    terms = np.repeat(np.arange(40), 2)
    histograms = Histograms.of(terms, np.tile([2, 3], 40))
    few, all_terms = histograms.take(np.array([3, 17])), histograms.take(np.arange(42))
    assert [array.tolist() for array in few] == [[0, 2, 4], [2, 3, 2, 3], [1, 1, 1, 1]]
    assert all_terms[0].tolist() == [*range(0, 81, 2), 80, 80]
