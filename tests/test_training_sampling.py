"""Streams of batches: what a batch holds, that nothing is left out, and that they resume exactly."""

import json
import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.examples import RankingGroup, RelevanceExample
from prorank_plugins.training.reading import read_examples, write_examples
from prorank_plugins.training.sampling import BalancedBatches, GroupBatches


class Streamed:
    """Items that can be looped over again and again, without a length; counts how far they were read."""

    def __init__(self, items):
        self.items = list(items)
        self.loops = self.read = 0

    def __iter__(self):
        self.loops += 1
        for item in self.items:
            self.read += 1
            yield item

    def __repr__(self):
        return "Streamed"


def pairs(n_positives, n_negatives):
    """Pairs whose document is the number of the pair; labels mixed."""
    labels = [1] * n_positives + [0] * n_negatives
    np.random.default_rng(0).shuffle(labels)
    return [RelevanceExample("q", str(number), label) for number, label in enumerate(labels)]


def group(name, n_positives, n_negatives, scored=False):
    texts = [f"{name}+{i}" for i in range(n_positives)] + [f"{name}-{i}" for i in range(n_negatives)]
    grades = [1.0 + i for i in range(n_positives)] + [0.0] * n_negatives
    return RankingGroup(name, texts, grades, [float(i) for i in range(len(texts))] if scored else None)


def groups(n):
    return [group(f"q{i}", 1 + i % 3, i % 5) for i in range(n)]


def take(batches, n):
    return list(islice(batches, n))


# Balanced pairs


@pytest.mark.parametrize("wrap", [list, Streamed])
def test_every_batch_holds_the_share_of_relevant_pairs(wrap):
    for batch in take(BalancedBatches(wrap(pairs(3, 40)), 8, balance=0.25), 20):
        assert len(batch) == 8
        assert sum(example.label for example in batch) == 2


@pytest.mark.parametrize(
    ("balance", "batch_size", "expected"),
    [
        (0.5, 3, [1, 2, 1, 2, 1, 2]),
        (0.5, 1, [0, 1, 0, 1, 0, 1]),
        (0.29, 100, [29] * 6),
        (0.0, 4, [0] * 6),
        (1, 4, [4] * 6),
    ],
)
def test_a_share_that_is_no_whole_number_comes_out_over_the_batches(balance, batch_size, expected):
    batches = take(BalancedBatches(pairs(5, 7), batch_size, balance=balance), 6)
    assert [sum(example.label for example in batch) for batch in batches] == expected


@pytest.mark.parametrize("wrap", [list, Streamed])
def test_each_label_is_exhausted_before_it_comes_again(wrap):
    drawn = [
        example for batch in take(BalancedBatches(wrap(pairs(3, 12)), 2, window=5), 12) for example in batch
    ]
    positives = [example.document for example in drawn if example.label]
    negatives = [example.document for example in drawn if not example.label]
    for start in range(0, 12, 3):
        assert len(set(positives[start : start + 3])) == 3
    assert len(set(negatives)) == 12
    assert len({tuple(positives[start : start + 3]) for start in range(0, 12, 3)}) > 1, "not reshuffled"


@pytest.mark.parametrize("wrap", [list, Streamed])
def test_without_a_balance_pairs_come_in_shuffled_passes(wrap):
    data = pairs(4, 8)
    drawn = [one for batch in take(BalancedBatches(wrap(data), 5, balance=None), 12) for one in batch]
    assert Counter(one.document for one in drawn) == dict.fromkeys((one.document for one in data), 5)


def test_labels_are_mixed_within_a_batch():
    firsts = {batch[0].label for batch in take(BalancedBatches(pairs(9, 9), 6), 20)}
    assert firsts == {0, 1}


def test_the_seed_decides_the_batches():
    data = pairs(20, 20)
    assert take(BalancedBatches(data, 4, seed=1), 5) == take(BalancedBatches(data, 4, seed=1), 5)
    assert take(BalancedBatches(data, 4, seed=1), 5) != take(BalancedBatches(data, 4, seed=2), 5)


def test_a_window_holds_no_more_than_its_items_and_shuffles_only_them():
    data = Streamed(pairs(0, 100))
    batches = BalancedBatches(data, 10, balance=None, window=20)
    first = [int(one.document) for batch in take(batches, 2) for one in batch]
    assert sorted(first) == list(range(20))
    assert first != sorted(first)
    assert data.read == 20


def test_one_window_over_everything_is_a_permutation_like_any_other():
    data = Streamed(pairs(0, 6))
    orders = {
        tuple(one.document for one in next(BalancedBatches(data, 6, balance=None, seed=seed, window=6)))
        for seed in range(60)
    }
    assert len(orders) > 50


# Groups


def test_an_item_is_one_relevant_document_and_others_of_its_group():
    data = {one.query: one for one in groups(15)}
    for batch in take(GroupBatches(list(data.values()), 4, n_documents=3), 20):
        assert len(batch) == 4
        for item in batch:
            whole = data[item.query]
            assert item.documents[0] in whole.positives
            assert item.grades[0] == whole.grades[whole.documents.index(item.documents[0])]
            assert set(item.documents[1:]) <= set(whole.negatives)
            assert len(item.documents) == 1 + min(2, len(whole.negatives))
            assert len(set(item.documents)) == len(item.documents)


@pytest.mark.parametrize("wrap", [list, Streamed])
def test_every_group_comes_once_a_pass_with_documents_drawn_anew(wrap):
    data = [group(f"q{i}", 2, 9) for i in range(6)]
    batches = take(GroupBatches(wrap(data), 3, n_documents=4), 40)
    for start in range(0, 40, 2):
        queries = [item.query for batch in batches[start : start + 2] for item in batch]
        assert sorted(queries) == [one.query for one in data]
    cuts = [item.documents for batch in batches for item in batch if item.query == "q0"]
    assert len(set(cuts)) > 10
    assert {text for cut in cuts for text in cut} == set(data[0].documents)


def test_the_documents_of_a_group_do_not_depend_on_the_batch_size():
    data = groups(8)

    def cuts(size):
        return sorted(str(item) for batch in take(GroupBatches(data, size, 3), 8 // size) for item in batch)

    assert cuts(1) == cuts(2) == cuts(8)


def test_teacher_scores_follow_their_documents():
    data = [group("q", 2, 5, scored=True)]
    for (item,) in take(GroupBatches(data, 1, n_documents=4), 10):
        assert item.teacher_scores == tuple(
            data[0].teacher_scores[data[0].documents.index(text)] for text in item.documents
        )


def test_groups_may_be_kept_whole():
    data = groups(4)
    assert sorted(next(GroupBatches(data, 4, None)), key=lambda item: item.query) == data


@pytest.mark.parametrize("wrap", [list, Streamed])
def test_groups_with_nothing_to_learn_from_are_passed_over(wrap):
    data = [group("none", 0, 3), group("some", 1, 1), group("scored", 0, 5, scored=True)]
    items = [item for batch in take(GroupBatches(wrap(data), 2, 3), 5) for item in batch]
    assert {item.query for item in items} == {"some", "scored"}
    assert {len(item.documents) for item in items if item.query == "scored"} == {3}


def test_relevant_documents_of_other_queries_become_negatives():
    data = [group(f"q{i}", 2, 3) for i in range(5)]
    for batch in take(GroupBatches(data, 5, n_documents=2, in_batch_negatives=3), 10):
        chosen = {item.query: item.documents[0] for item in batch}
        for item in batch:
            added = item.documents[2:]
            assert len(set(added)) == 3
            assert set(added) <= {text for query, text in chosen.items() if query != item.query}
            assert item.grades[2:] == (0.0, 0.0, 0.0)


def test_a_document_relevant_to_this_query_is_never_an_in_batch_negative():
    data = [
        RankingGroup("one", ["shared", "only one"], [1, 1]),
        RankingGroup("two", ["Shared ", "only two"], [1, 1]),
        RankingGroup("ONE", ["asked  again"], [1]),
        RankingGroup("three", ["three", "only two"], [1, 0]),
    ]
    relevant = {
        "one": {"shared", "only one", "asked again"},
        "two": {"shared", "only two"},
        "three": {"three"},
    }
    seen = Counter()
    for batch in take(GroupBatches(data, 4, n_documents=2, in_batch_negatives=4), 60):
        for item in batch:
            texts = [" ".join(text.lower().split()) for text in item.documents]
            assert len(set(texts)) == len(texts), "a text twice"
            for text, grade in zip(texts, item.grades, strict=True):
                assert (text in relevant[item.query.lower()]) == (grade > 0)
                seen[item.query, text] += grade == 0
    assert seen["two", "only one"]
    assert seen["three", "shared"]


def test_teacher_scores_and_in_batch_negatives_exclude_each_other():
    with pytest.raises(ConfigError, match="the group of 'q' has teacher scores, but in-batch negatives have"):
        GroupBatches([group("q", 1, 1, scored=True)], 1, 2, in_batch_negatives=1)
    batches = GroupBatches(Streamed([group("q", 1, 1, scored=True)]), 1, 2, in_batch_negatives=1)
    with pytest.raises(ConfigError, match="has teacher scores"):
        next(batches)


# Resuming


@st.composite
def streams(draw):
    """A callable that makes the same new stream each time."""
    wrap = draw(st.sampled_from([list, Streamed]))
    options = {"seed": draw(st.integers(0, 3)), "window": draw(st.integers(1, 7))}
    batch_size = draw(st.integers(1, 6))
    if draw(st.booleans()):
        data = pairs(draw(st.integers(1, 6)), draw(st.integers(1, 13)))
        balance = draw(st.sampled_from([None, 0.0, 0.3, 0.5, 1.0]))
        return lambda: BalancedBatches(wrap(data), batch_size, balance, **options)
    data = groups(draw(st.integers(1, 12)))
    n_documents, added = draw(st.sampled_from([None, 1, 3])), draw(st.integers(0, 2))
    return lambda: GroupBatches(wrap(data), batch_size, n_documents, in_batch_negatives=added, **options)


@given(streams(), st.integers(0, 12), st.integers(0, 5))
def test_a_restored_stream_goes_on_with_the_same_batches(stream, before, ahead):
    batches = stream()
    take(batches, before)
    state = json.loads(json.dumps(batches.state()))
    expected = take(batches, 9)
    resumed = stream()
    take(resumed, ahead)
    resumed.restore(state)
    assert resumed.state() == state
    assert take(resumed, 9) == expected


@given(streams(), st.integers(0, 10))
def test_looking_at_the_state_changes_nothing(stream, n):
    watched = stream()
    seen = []
    for _ in range(n):
        watched.state()
        seen.append(next(watched))
    assert seen == take(stream(), n)


def test_the_state_is_small_whatever_the_data():
    small, large = BalancedBatches(pairs(2, 2), 4), BalancedBatches(pairs(5000, 5000), 4)
    take(large, 1000)
    assert len(json.dumps(large.state())) - len(json.dumps(small.state())) < 20


def test_a_file_is_resumed_where_it_was(tmp_path):
    path = tmp_path / "pairs.jsonl.gz"
    write_examples(path, pairs(10, 30))
    batches = BalancedBatches(read_examples(path), 4, window=6)
    take(batches, 7)
    state = batches.state()
    expected = take(batches, 20)
    resumed = BalancedBatches(read_examples(path), 4, window=6)
    resumed.restore(state)
    assert take(resumed, 20) == expected


def test_a_stream_goes_on_after_an_error_of_its_source():
    class Failing(Streamed):
        broken = True

        def __iter__(self):
            for number, item in enumerate(self.items):
                if number == 7 and self.broken:
                    raise OSError("gone")
                yield item

    data = Failing(pairs(0, 10))
    batches = BalancedBatches(data, 5, balance=None, window=5)
    first = next(batches)
    with pytest.raises(OSError, match="gone"):
        next(batches)
    data.broken = False
    second = next(batches)
    assert sorted(int(one.document) for one in first + second) == list(range(10))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "the state has 1 for 'seed', this stream 0; resume with the data and settings"),
        ({"n_examples": 7}, "the state has 7 for 'n_examples', this stream 8"),
        ({"kind": "GroupBatches"}, "the state has 'GroupBatches' for 'kind'"),
        ({"batch": -1}, "batch of the state is -1; expected a whole number of at least 0"),
        ({"batch": None}, "batch of the state is None"),
        ({"cursors": None}, "the state's cursors are None; expected one for each of label 1, label 0"),
        ({"cursors": {"label 1": {}}}, "expected one for each of label 1, label 0"),
        ({"cursors": {"label 1": 3, "label 0": 3}}, "cursor 'label 1' is 3; expected epoch and position"),
        (
            {"cursors": {"label 1": {"epoch": 0, "position": 0}, "label 0": {"epoch": 0.5, "position": 0}}},
            "epoch of the state's cursor 'label 0' is 0.5",
        ),
        (
            {"cursors": {"label 1": {"epoch": 0, "position": 5}, "label 0": {"epoch": 0, "position": 0}}},
            "the state is at position 5 of a pass over 4 items; restore it with the data it was saved with",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change, message):
    batches = BalancedBatches(pairs(4, 4), 4)
    with pytest.raises(ConfigError, match=re.escape(message)):
        batches.restore({**batches.state(), **change})


def test_something_that_is_no_state_is_refused():
    batches = GroupBatches(groups(3), 2, 2)
    with pytest.raises(ConfigError, match="state is int; expected what state"):
        batches.restore(3)
    with pytest.raises(ConfigError, match="the state has nothing for 'kind'"):
        batches.restore({})


@pytest.mark.parametrize("n_left", [4, 9, 11])
def test_a_source_that_has_become_shorter_is_noticed(n_left):
    batches = BalancedBatches(Streamed(pairs(0, 20)), 4, balance=None, window=5)
    take(batches, 3)
    resumed = BalancedBatches(Streamed(pairs(0, n_left)), 4, balance=None, window=5)
    resumed.restore(batches.state())
    with pytest.raises(
        ConfigError, match=rf"at position 12 of a pass over Streamed, which holds {n_left} ex"
    ):
        next(resumed)


# Wrong arguments


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0; expected a whole number of at least 1"),
        ({"batch_size": True}, "batch_size is True"),
        ({"batch_size": 2.0}, "batch_size is 2.0"),
        ({"seed": -1}, "seed is -1; expected a whole number of at least 0"),
        ({"window": 0}, "window is 0"),
        ({"balance": 1.5}, "balance is 1.5; expected None or the share of label 1"),
        ({"balance": float("nan")}, "balance is nan"),
        ({"balance": "0.5"}, "balance is '0.5'"),
        ({"balance": True}, "balance is True"),
        ({"balance": [0.5]}, "balance is [0.5]"),
        ({"examples": iter(pairs(1, 1))}, "examples is list_iterator, expected a list or something that can"),
        ({"examples": 5}, "examples is int, expected a list"),
        ({"examples": []}, "examples has 0 items and no examples of label 1; expected at least one"),
        ({"examples": pairs(0, 5)}, "examples has 5 items and no examples of label 1"),
        ({"examples": pairs(5, 0)}, "examples has 5 items and no examples of label 0"),
        ({"examples": [("q", "d", 1)]}, "examples holds tuple; expected RelevanceExample only"),
    ],
)
def test_wrong_settings_of_balanced_batches_are_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        BalancedBatches(**{"examples": pairs(2, 2), "batch_size": 4, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size is 0"),
        ({"n_documents": 0}, "n_documents is 0; expected a whole number of at least 1"),
        ({"in_batch_negatives": -1}, "in_batch_negatives is -1"),
        ({"seed": None}, "seed is None"),
        ({"groups": "q"}, "groups is str, expected a list or something that can be read again"),
        ({"groups": [group("q", 0, 2)]}, "groups has 1 items and no groups with a relevant document or"),
        ({"groups": pairs(1, 1)}, "groups holds RelevanceExample; expected RankingGroup only"),
    ],
)
def test_wrong_settings_of_group_batches_are_refused(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        GroupBatches(**{"groups": groups(3), "batch_size": 2, "n_documents": 2, **options})


def test_streamed_data_is_checked_when_it_is_read():
    with pytest.raises(ConfigError, match="Streamed holds no examples of label 1; expected at least one"):
        next(BalancedBatches(Streamed(pairs(0, 3)), 2))
    with pytest.raises(ConfigError, match="Streamed holds no groups with a relevant document"):
        next(GroupBatches(Streamed([]), 2, 2))
    with pytest.raises(ConfigError, match="examples holds str; expected RelevanceExample only"):
        next(BalancedBatches(Streamed("ab"), 2))


def test_numpy_integers_are_whole_numbers():
    assert len(next(BalancedBatches(pairs(2, 2), np.int64(3), seed=np.int32(1)))) == 3
