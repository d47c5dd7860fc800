"""Packed strings, the table that finds them, and the numbers of terms."""

import copy
import pickle
import sys
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prorank_plugins import CorruptIndexError
from prorank_plugins.lexical.strings import StringNumbers, StringTable
from prorank_plugins.lexical.vocabulary import Vocabulary

STRINGS = st.lists(st.text(st.characters(), max_size=6), max_size=40, unique=True)
# Two five-letter words with one CRC-32.
TWINS = ["plumless", "buckeroo"]


def table(strings):
    return StringNumbers.build(StringTable.pack(strings))


def forged(strings, slots=None, offsets=None, data=None):
    """A table with some of its arrays replaced."""
    good = table(strings)
    packed = StringTable(
        good.strings.offsets if offsets is None else np.array(offsets),
        good.strings.data if data is None else np.frombuffer(data, np.uint8),
    )
    return StringNumbers(packed, good.slots if slots is None else np.array(slots, np.int32))


# Strings


@given(STRINGS)
def test_packed_strings_come_back(strings):
    packed = StringTable.pack(strings)
    assert list(packed) == strings
    assert [packed[i] for i in range(len(packed))] == strings
    assert [packed[i - len(packed)] for i in range(len(packed))] == strings
    assert packed[1:-1] == strings[1:-1]
    assert list(pickle.loads(pickle.dumps(packed))) == strings


def test_offsets_below_4_gib_take_32_bits_and_64_do_as_well():
    packed = StringTable.pack(["a", "", "é\ud800"])
    assert packed.offsets.dtype == np.uint32
    wide = StringTable(packed.offsets.astype(np.int64), packed.data)
    assert list(wide) == list(packed) == [wide[i] for i in range(3)]
    assert table(["x", "y"]).find("y") == StringNumbers.build(wide).find("") == 1


def test_a_position_outside_a_table_is_an_index_error():
    for position in (2, -3):
        with pytest.raises(IndexError, match=rf"string {position} of 2"):
            StringTable.pack(["a", "b"])[position]


@pytest.mark.parametrize(
    ("offsets", "data", "match"),
    [
        ([0, 9], b"abc", "0:9 of 3 bytes|do not divide 3 bytes"),
        ([2, 1], b"abc", "2:1 of 3 bytes|do not divide"),
        ([-2, 1], b"abc", "-2:1 of 3 bytes|do not divide"),
        ([0, 1], b"\xff", "is not UTF-8"),
    ],
)
def test_damaged_strings_are_noticed_when_they_are_read(offsets, data, match):
    damaged = StringTable(np.array(offsets, np.int64), np.frombuffer(data, np.uint8))
    with pytest.raises(CorruptIndexError, match=match):
        damaged[0]
    with pytest.raises(CorruptIndexError, match=match):
        list(damaged)


def test_a_table_without_offsets_is_damaged():
    with pytest.raises(CorruptIndexError, match="no offsets"):
        StringTable(np.empty(0, np.int64), np.empty(0, np.uint8))


# Finding strings


@given(STRINGS, st.lists(st.text(max_size=6)))
def test_a_string_is_found_at_its_number_and_no_other_is_found(strings, others):
    numbers = table(strings)
    assert [numbers.find(string) for string in strings] == list(range(len(strings)))
    known = {string: number for number, string in enumerate(strings)}
    assert [numbers.find(other) for other in others] == [known.get(other, -1) for other in others]
    assert numbers.first_misplaced() is None
    assert len(numbers) == len(strings)


def test_slots_are_a_power_of_two_and_a_third_of_them_stays_empty():
    for n in (0, 1, 2, 3, 4, 5, 63, 64, 65, 1000):
        slots = table([f"term{i}" for i in range(n)]).slots
        assert len(slots) & (len(slots) - 1) == 0
        assert slots.dtype == np.int32
        assert n <= len(slots) * 2 / 3 <= max(2, 3 * n)
        assert sorted(slots[slots >= 0].tolist()) == list(range(n))


def test_the_search_begins_where_the_checksum_says():
    numbers = table(["only"])
    assert numbers.slots[zlib.crc32(b"only") % len(numbers.slots)] == 0


def test_strings_with_the_same_checksum_are_told_apart():
    assert len({zlib.crc32(twin.encode()) for twin in TWINS}) == 1
    numbers = table(TWINS[:1])
    assert numbers.find(TWINS[1]) == -1
    assert [table(TWINS).find(twin) for twin in TWINS] == [0, 1]


@given(st.lists(st.sampled_from("abcd"), min_size=1))
def test_of_equal_strings_the_first_is_found_and_the_second_is_reported(strings):
    numbers = table(strings)
    assert [numbers.find(string) for string in strings] == [strings.index(string) for string in strings]
    repeated = [number for number, string in enumerate(strings) if strings.index(string) != number]
    assert numbers.first_misplaced() == (repeated[0] if repeated else None)


def test_a_third_of_a_million_strings_are_numbered_at_once():
    strings = StringTable.pack(str(i) for i in range(350_000))
    numbers = StringNumbers.build(strings)
    assert [numbers.find(str(i)) for i in range(0, 350_000, 1000)] == list(range(0, 350_000, 1000))


def test_mapped_arrays_give_the_same_numbers(tmp_path):
    numbers = table(["a", "b", "c"])
    mapped = []
    for name, array in (
        ("offsets", numbers.strings.offsets),
        ("data", numbers.strings.data),
        ("slots", numbers.slots),
    ):
        np.save(tmp_path / f"{name}.npy", array)
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    again = StringNumbers(StringTable(*mapped[:2]), mapped[2])
    assert [again.find(string) for string in "abcd"] == [0, 1, 2, -1]
    assert "a" in again
    assert "d" not in again
    assert 7 not in again
    for copied in (pickle.loads(pickle.dumps(again)), copy.deepcopy(again)):
        assert [copied.find(string) for string in "abcd"] == [0, 1, 2, -1]


@pytest.mark.parametrize("n_slots", [0, 1, 2, 3, 6])
def test_slots_that_cannot_hold_the_strings_are_refused(n_slots):
    with pytest.raises(CorruptIndexError, match=f"{n_slots} slots, expected a power of two above 2"):
        forged(["a", "b"], slots=[-1] * n_slots)


def test_a_search_among_full_slots_ends():
    with pytest.raises(CorruptIndexError, match="none of 4 slots is empty"):
        forged(["a"], slots=[0, 0, 0, 0]).find("b")


@pytest.mark.parametrize("number", [-2, 1, 2**31 - 1, -(2**31)])
def test_a_slot_with_a_number_that_no_string_has_is_damage(number):
    with pytest.raises(CorruptIndexError, match=f"a slot names string {number} of 1"):
        forged(["a"], slots=[number] * 4).find("b")


@given(
    st.lists(st.integers(-(2**31), 2**31 - 1) | st.integers(-2, 3), min_size=8, max_size=8),
    st.lists(st.integers(-(2**62), 2**62) | st.integers(-3, 12), min_size=4, max_size=4),
    st.binary(max_size=12),
    st.sampled_from(["", "a", "bb", "zzz"]),
)
def test_arrays_of_any_content_give_a_number_or_an_error(slots, offsets, data, string):
    numbers = forged(["a", "bb", "c"], slots, offsets, data)
    try:
        assert -1 <= numbers.find(string) < 3
        numbers.first_misplaced()
    except CorruptIndexError:
        pass


# Terms


def vocabularies(saved, new):
    """One vocabulary whose first terms are saved, and one that was told all of them."""
    return Vocabulary(new, table(saved)), Vocabulary([*saved, *new])


@given(STRINGS, STRINGS, STRINGS)
def test_saved_terms_make_no_difference(saved, new, asked):
    for vocabulary in vocabularies(saved, new):
        names = list(dict.fromkeys([*saved, *new]))
        known = {name: number for number, name in enumerate(names)}
        assert list(vocabulary) == names
        assert len(vocabulary) == len(names)
        assert [vocabulary.term(number) for number in range(len(names))] == names
        expected = [known.get(term, -1) for term in asked]
        assert [vocabulary.get(term) for term in asked] == expected
        unknown = list(dict.fromkeys(term for term in asked if term not in known))
        assert vocabulary.numbers_of(asked) == [
            known[term] if term in known else -1 - unknown.index(term) for term in asked
        ]
        assert len(vocabulary) == len(names)
        grown = {**known}
        for term in asked:
            grown.setdefault(term, len(grown))
        added = vocabulary.add_all(iter(asked), len(asked))
        assert added.dtype == np.int32
        assert added.tolist() == [grown[term] for term in asked]
        assert list(vocabulary) == list(grown)
        assert [vocabulary.add(term) for term in asked] == added.tolist()


def test_each_distinct_term_is_looked_up_among_the_saved_ones_once(monkeypatch):
    looked_up = []
    find = StringNumbers.find
    monkeypatch.setattr(StringNumbers, "find", lambda self, s: looked_up.append(s) or find(self, s))
    vocabulary = Vocabulary(saved=table(["a", "b"]))
    assert vocabulary.add_all(["a", "c", "a", "c", "b"], 5).tolist() == [0, 2, 0, 2, 1]
    assert vocabulary.add_all(["a", "b", "c"], 3).tolist() == [0, 1, 2]
    assert vocabulary.get("a") == 0
    assert looked_up == ["a", "c", "b"]


def test_asking_for_unknown_terms_leaves_nothing_behind():
    vocabulary = Vocabulary(["c"], table(["a", "b"]))
    before = sys.getsizeof(vocabulary._numbers)
    assert vocabulary.numbers_of([str(number) for number in range(5000)]) == list(range(-1, -5001, -1))
    assert len(vocabulary) == 3
    assert sys.getsizeof(vocabulary._numbers) == before


@pytest.mark.parametrize("vocabulary", vocabularies(["a"], ["b"]))
def test_a_number_that_no_term_has_is_an_index_error(vocabulary):
    for number in (-1, 2):
        with pytest.raises(IndexError, match=f"term {number} of 2"):
            vocabulary.term(number)


@pytest.mark.parametrize("vocabulary", vocabularies(["a"], ["b"]))
def test_a_term_is_a_str(vocabulary):
    for wrong in (1, b"a", None):
        with pytest.raises(TypeError, match=f"a term must be a str, found {type(wrong).__name__}"):
            vocabulary.add(wrong)
        assert vocabulary.get(wrong) == -1
    assert len(vocabulary) == 2


@pytest.mark.parametrize("vocabulary", vocabularies(["a"], ["b"]))
def test_terms_with_a_wrong_one_among_them_leave_numbers_without_gaps(vocabulary):
    for wrong in (1, None, []):
        with pytest.raises(TypeError):
            vocabulary.add_all(["b", "c", wrong, "d"], 4)
    numbers = vocabulary.add_all(["d", "a", "c"], 3).tolist()
    assert [vocabulary.term(number) for number in numbers] == ["d", "a", "c"]
    assert [vocabulary.get(term) for term in vocabulary] == list(range(len(vocabulary)))


def test_terms_that_are_being_added_are_not_known_yet():
    vocabulary = Vocabulary(["a"])
    seen = []

    def terms():
        yield "b"
        seen.append((vocabulary.get("b"), vocabulary.numbers_of(["a", "b"]), len(vocabulary)))
        yield "c"

    with vocabulary.growing:
        assert vocabulary.add_all(terms(), 2).tolist() == [1, 2]
    assert seen == [(-1, [0, -1], 1)]
    assert vocabulary.numbers_of(["c", "b"]) == [2, 1]


def test_a_pickled_vocabulary_comes_back_and_grows_on_its_own():
    vocabulary = Vocabulary(["c"], table(["a", "b"]))
    for again in (pickle.loads(pickle.dumps(vocabulary)), copy.deepcopy(vocabulary)):
        assert list(again) == ["a", "b", "c"]
        assert again.add("d") == 3
        assert [again.get(term) for term in "abcd"] == [0, 1, 2, 3]
    assert len(vocabulary) == 3


def test_readers_find_the_right_numbers_while_a_writer_adds():
    saved = [f"old{i}" for i in range(300)]
    vocabulary = Vocabulary(saved=table(saved))
    names = [*saved, *(f"new{i}" for i in range(3000))]
    wrong, done = [], threading.Event()

    def read():
        while not done.is_set():
            for number in range(0, len(names), 7):
                found = vocabulary.get(names[number])
                if found not in (number, -1) or (found == -1 and number < len(saved)):
                    wrong.append((number, found))
                if found >= 0 and vocabulary.term(found) != names[number]:
                    wrong.append((found, vocabulary.term(found)))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    with vocabulary.growing:
        for start in range(300, len(names), 100):
            vocabulary.add_all(names[start : start + 100], 100)
    done.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert list(vocabulary) == names
