"""Counts of documents against `Counter` over the analyzer's terms, by every way there is."""

import itertools
import struct
from collections import Counter

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prorank_plugins import Analyzer, AnalyzerConfig
from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical import analysis, counting, packed_runs, runs, shared_tokens
from prorank_plugins.lexical.analysis import WordTerms
from prorank_plugins.lexical.counting import TermCounter
from prorank_plugins.lexical.kernels import identity, scanning, separating
from prorank_plugins.lexical.packed_runs import only_word, pack, unpack
from prorank_plugins.lexical.runs import encoded
from prorank_plugins.lexical.separators import Separators
from prorank_plugins.lexical.shared_tokens import SharedTokens
from prorank_plugins.lexical.term_counts import TermCounts
from prorank_plugins.lexical.vocabulary import Vocabulary
from prorank_plugins.lexical.words import split_words

CONFIGS = [
    AnalyzerConfig("en"),
    AnalyzerConfig("en", min_length=3, fold_accents=True),
    AnalyzerConfig("en", stop_words=False, stemming=False, split_identifiers=True),
    AnalyzerConfig("tr"),
    AnalyzerConfig("de", min_length=2),
    AnalyzerConfig("zh", ngrams="unigram+bigram"),
    AnalyzerConfig(None),
]
ANALYZERS = [Analyzer(config) for config in CONFIGS]

# Pieces that meet the borders: words, clitics, marks, scripts without blanks, eight bytes and more.
PIECES = [
    "the", "The", "running", "don't", "fox's", "'quoted'", "s'", "'s", "_s", "_'s", "a_b", "camelCase", "x1",
    "İstanbul", "IŞIK", "naïve", "ﬁne", "ª", "Ａ", "ŉ", "word’s", "“so”", "—", "हिन्दी", "中文检索", "ไทย",
    "한국어", "\x01", "\u0301", "\u200d", "\ud800", "\udfff", "\0", "\x1e", "\x7f", "\xff", "\x85", "\u2028",
    "1984", "a" * 7, "b" * 8, "c" * 9, "d" * 16, "e" * 200, "12345678é", " ", "\n", "\t", ",",
]  # fmt: skip
TEXT = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.just(" "),
        st.text(st.characters(), max_size=6),
        st.text(st.characters(max_codepoint=0x17F), max_size=12),
    ),
    max_size=12,
).map("".join)
TEXTS = st.lists(TEXT, max_size=6)
TOKEN_LISTS = st.lists(st.lists(st.one_of(st.sampled_from([*PIECES, ""]), st.text(max_size=3)), max_size=8))


def counted(counts, vocabulary):
    """[{term: tf}] of the documents, and their lengths."""
    terms = list(vocabulary)
    ends = np.cumsum(counts.n_distinct, dtype=int).tolist()
    pairs = [(terms[t], f) for t, f in zip(counts.terms.tolist(), counts.term_freqs.tolist(), strict=True)]
    documents = [pairs[start:end] for start, end in itertools.pairwise([0, *ends])]
    assert all(len(dict(document)) == len(document) for document in documents)
    return [dict(document) for document in documents], counts.lengths.tolist()


def count(texts, analyzer, **limits):
    """What `counted` makes of a fresh counter, and the vocabulary; with other limits in the modules."""
    vocabulary = Vocabulary()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in limits.items():
            module = next(module for module in (runs, shared_tokens, counting) if hasattr(module, name))
            patch.setattr(module, name, value)
        counts = TermCounter(analyzer, vocabulary).count(texts)
    return counted(counts, vocabulary), list(vocabulary)


def expected(token_lists):
    terms = list(dict.fromkeys(term for tokens in token_lists for term in tokens))
    return ([dict(Counter(tokens)) for tokens in token_lists], [len(tokens) for tokens in token_lists]), terms


@pytest.mark.parametrize("few_bytes", [0, 1 << 16], ids=["scanner", "dict"])
@pytest.mark.parametrize("analyzer", ANALYZERS, ids=[str(i) for i in range(len(ANALYZERS))])
@settings(max_examples=60)
@given(texts=TEXTS)
def test_counts_are_those_of_the_analyzers_terms_in_order_of_appearance(few_bytes, analyzer, texts):
    terms = [analyzer.terms(text) for text in texts]
    assert count(texts, analyzer, _FEW_BYTES=few_bytes) == expected(terms)


@pytest.mark.parametrize("config", CONFIGS, ids=[str(i) for i in range(len(CONFIGS))])
@given(texts=TEXTS)
def test_runs_analysed_together_have_the_terms_of_runs_analysed_alone(config, texts):
    source = WordTerms(config)
    found = [run for text in texts for run in source.runs(text) if run not in source.silent_runs]
    terms, counts = source.run_terms_many(pack(found))
    rest = iter(terms)
    assert [list(itertools.islice(rest, n)) for n in counts] == [source.run_terms(run) for run in found]
    assert not list(rest)


RUN = st.one_of(
    st.sampled_from(PIECES),
    st.text(min_size=1, max_size=9),
    st.lists(st.sampled_from(["'", "s", "ll", "re", "ve", "fox", "_", "9"]), min_size=1, max_size=5).map(
        "".join
    ),
)


@pytest.mark.parametrize("few_bytes", [0, 1 << 16], ids=["compiled", "plain"])
@given(texts=st.lists(RUN, max_size=8), n_zeros=st.integers(0, 3))
def test_packed_runs_come_back_as_words_and_those_that_are_no_plain_words_are_named(
    few_bytes, texts, n_zeros
):
    texts = [text.replace("\0", "x").replace(" ", "x") for text in texts]
    runs = [text.encode("utf-8", "surrogatepass") for text in texts]
    packed = bytes(n_zeros) + b"".join(run + bytes(n_zeros + 1) for run in runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed_runs, "_FEW_BYTES", few_bytes)
        found = packed_runs.read(packed)
    seen = [only_word(text) if text.isascii() else "" for text in texts]
    assert unpack(packed) == runs
    assert found.words == [word or text for word, text in zip(seen, texts, strict=True)]
    assert found.marked == [i for i, text in enumerate(texts) if not (text.isascii() and text.isalnum())]
    assert found.unseen == [i for i, word in enumerate(seen) if not word]


@pytest.mark.parametrize(
    ("run", "word"),
    [
        ("'word'", "word"),
        ("word's", "word"),
        ("s'", "s"),
        ("'we'll'", "we"),
        ("o'clock", ""),
        ("a_b", ""),
        ("''", ""),
    ],
)
def test_a_word_is_seen_between_apostrophes_and_before_what_english_appends(run, word):
    assert only_word(run) == word


@given(TEXT)
def test_a_word_that_is_seen_to_be_one_has_the_terms_it_has_by_the_rules_for_text(text):
    source = WordTerms(AnalyzerConfig("en"))
    seen = list(source._terms_of_words(text))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analysis, "_FIRST_UNSPACED", "")
        assert seen == list(source._terms_of_words(text))


def test_letters_and_digits_below_the_scripts_without_blanks_are_words():
    for char in filter(str.isalnum, map(chr, range(ord(analysis._FIRST_UNSPACED)))):
        assert list(split_words(char + char)) == [(char + char, False)]


@given(TEXTS, st.integers(1, 40))
def test_batches_change_nothing(texts, characters):
    whole = count(texts, ANALYZERS[0], _FEW_BYTES=0)
    assert count(texts, ANALYZERS[0], _FEW_BYTES=0, _BATCH_CHARACTERS=characters) == whole
    assert count(texts, ANALYZERS[0], _FEW_BYTES=characters, _BATCH_CHARACTERS=characters) == whole


@pytest.mark.parametrize("limit", ["_MOST_RUNS", "_MOST_TERMS", "_MOST_BYTES"])
@given(texts=TEXTS)
def test_forgetting_changes_nothing(limit, texts):
    limits = {limit: 3, "_FEW_BYTES": 0, "_BATCH_CHARACTERS": 10}
    assert count(texts, ANALYZERS[0], **limits) == count(texts, ANALYZERS[0])


@pytest.mark.parametrize("few_tokens", [0, 1 << 16], ids=["scanner", "vocabulary"])
@given(token_lists=TOKEN_LISTS)
def test_tokens_in_lists_are_counted_as_they_are(few_tokens, token_lists):
    assert count(token_lists, None, _FEW_TOKENS=few_tokens) == expected(token_lists)


@pytest.mark.parametrize(
    "batch", [["a\0b", ""], ["", "a"], ["a", "", "b\0"], ["\0"], ["", ""], ["a", "b\xff", " "]]
)
def test_empty_tokens_and_zeros_in_tokens_do_not_mix_with_what_separates(batch):
    token_lists = [["first"], batch, [], ["b", "a"]]
    assert count(token_lists, None, _FEW_TOKENS=0) == expected(token_lists)


def own(token):
    """An equal string that is another object."""
    return "".join(["", token[:1], token[1:]])


@given(TOKEN_LISTS, st.integers(1, 30), st.integers(0, 3))
def test_tokens_that_are_one_object_are_counted_as_those_that_are_not(token_lists, characters, most):
    many = token_lists * 5
    limits = {"_FEW_TOKENS": 0, "_BATCH_CHARACTERS": 8 * characters, "_MOST_OBJECTS": most}
    assert count(many, None, **limits) == expected(many)
    apart = [list(map(own, tokens)) for tokens in many]
    assert count(apart, None, **limits) == expected(many)


def test_each_object_is_looked_up_once_in_a_table_of_any_size(monkeypatch):
    looked_up = []
    add_all = Vocabulary.add_all
    monkeypatch.setattr(Vocabulary, "add_all", lambda *given: looked_up.append(given[2]) or add_all(*given))
    tokens = [f"term {i}" for i in range(40_000)]
    shared = SharedTokens(Vocabulary())
    for _ in range(2):
        assert (
            shared.numbers([tokens, tokens], np.array([40_000] * 2, np.int32)).tolist()
            == [*range(40_000)] * 2
        )
    assert looked_up == [40_000, 0]


def shared_numbers(shared, *token_lists):
    found = shared.numbers(token_lists, np.array(list(map(len, token_lists)), np.int32))
    return found if found is None else found.tolist()


def test_where_few_tokens_share_an_object_they_are_not_told_apart_by_it():
    shared = SharedTokens(Vocabulary())
    assert shared_numbers(shared, [f"term {i}" for i in range(9)]) is None
    assert shared_numbers(shared, ["a", "a"], ["b", "a"]) == [0, 0, 1, 0]


def test_objects_of_other_numbers_than_their_terms_are_numbered_like_their_terms():
    shared = SharedTokens(Vocabulary(["z"]))
    assert shared_numbers(shared, ["a", "a", "z", "a"]) == [1, 1, 0, 1]
    first = "two words"
    again = own(first)
    shared = SharedTokens(Vocabulary())
    assert shared_numbers(shared, [first] * 3, [again] * 3, ["b"] * 2) == [0, 0, 0, 0, 0, 0, 1, 1]


def test_documents_that_are_no_lists_or_shorter_than_said_have_no_numbers_by_identity():
    shared = SharedTokens(Vocabulary())
    assert shared_numbers(shared, ["a"] * 8, ("a", "a")) is None
    assert shared.numbers([["a"] * 8, []], np.array([8, 2], np.int32)) is None
    assert shared_numbers(shared, ["b", "b"]) == [0, 0]


def test_after_a_token_of_another_type_nothing_is_remembered():
    shared = SharedTokens(Vocabulary())
    with pytest.raises(TypeError, match="a term must be a str, found int"):
        shared_numbers(shared, ["a", 3, "a", "a"])
    assert shared_numbers(shared, ["a", "a"]) == [0, 0]


def test_terms_of_a_callable_are_counted_like_token_lists():
    texts = ["b a b", "", "c a"]
    for few_tokens in (0, 100):
        found = count(texts, Analyzer(str.split), _FEW_TOKENS=few_tokens)
        assert found == expected([text.split() for text in texts])


def test_a_collection_of_many_distinct_words_makes_the_tables_grow():
    words = [f"word{i:x}" for i in range(120_000)]
    texts = [" ".join(words[i : i + 50]) for i in range(0, len(words), 50)]
    source = Analyzer(AnalyzerConfig(None))
    assert count([*texts, *texts], source) == expected([text.split() for text in [*texts, *texts]])


# In pieces


@given(TEXTS, st.integers(1, 4), st.integers(1, 6))
def test_pieces_hold_the_same_counts_within_their_limits(texts, max_docs, max_postings):
    whole, again = Vocabulary(), Vocabulary()
    expected_counts = TermCounter(ANALYZERS[0], whole).count(texts)
    counter = TermCounter(ANALYZERS[0], again)
    pieces = list(counter.batches(texts, max_docs=max_docs, max_postings=max_postings))
    joined = TermCounts.concatenate(pieces)
    assert counted(joined, again) == counted(expected_counts, whole)
    for piece in pieces:
        assert 1 <= len(piece.lengths) <= max_docs
        assert len(piece.terms) <= max_postings or len(piece.lengths) == 1
    for left, right in itertools.pairwise(pieces):
        fits = len(left.terms) + int(right.n_distinct[0]) <= max_postings
        assert len(left.lengths) == max_docs or not fits


def test_pieces_are_read_as_they_are_asked_for():
    endless = (f"text number {i}" for i in itertools.count())
    pieces = TermCounter(ANALYZERS[0], Vocabulary()).batches(endless, max_docs=10)
    assert len(next(pieces).lengths) == len(next(pieces).lengths) == 10


@pytest.mark.parametrize("config", CONFIGS, ids=[str(i) for i in range(len(CONFIGS))])
def test_runs_that_are_called_silent_have_no_terms(config):
    source = WordTerms(config)
    assert not any(source.run_terms(run) for run in source.silent_runs)


def test_no_documents_make_no_pieces_and_empty_counts():
    counter = TermCounter(ANALYZERS[0], Vocabulary())
    assert list(counter.batches([])) == []
    assert counter.count([]).lengths.tolist() == []


def test_documents_without_terms_are_counted():
    counter = TermCounter(ANALYZERS[0], Vocabulary())
    (piece,) = counter.batches(["", "the", "..."])
    assert piece.lengths.tolist() == piece.n_distinct.tolist() == [0, 0, 0]


def test_the_vocabulary_is_free_between_pieces():
    vocabulary = Vocabulary()
    for _ in TermCounter(ANALYZERS[0], vocabulary).batches(["a fox", "a dog"], max_docs=1):
        assert vocabulary.growing.acquire(blocking=False)
        vocabulary.growing.release()


def test_an_item_of_another_type_is_named_when_it_is_reached():
    texts = itertools.chain(itertools.repeat("fox", 20_000), [7])
    pieces = TermCounter(ANALYZERS[0], Vocabulary()).batches(texts, max_docs=1000)
    assert len(next(pieces).lengths) == 1000
    with pytest.raises(ConfigError, match=r"texts\[20000\] must be a str, found int"):
        list(pieces)


@pytest.mark.parametrize("few_tokens", [0, 100])
def test_a_token_of_another_type_is_named(few_tokens):
    with pytest.raises(ConfigError, match=r"texts\[1\] must hold terms of type str only"):
        count([["a"], ["b", 3]], None, _FEW_TOKENS=few_tokens)


# The kernels


def scan(content, n_slots=16):
    """Numbers of the runs of ``content`` by the kernel, and the distinct runs."""
    buffer = np.frombuffer(content + bytes(128 - len(content) % 64), np.uint8)
    solid = np.packbits(buffer != 0, bitorder="little")
    state, slots = np.zeros(4, np.int64), np.zeros(4 * n_slots, np.uint64)
    arena, numbers = np.empty(len(buffer), np.uint64), np.empty(len(buffer), np.int32)
    given = buffer, solid.view(np.uint64)
    scanning.number_runs(*given, state, slots, arena, numbers)
    while state[0] < len(content):
        slots, old = np.zeros(2 * len(slots), np.uint64), slots
        scanning.move_runs(old, slots)
        scanning.number_runs(*given, state, slots, arena, numbers)
    distinct = [run for run in arena[: state[3]].tobytes().split(b"\0") if run]
    assert len(distinct) == state[2]
    return numbers[: state[1]].tolist(), distinct


@given(
    st.lists(
        st.sampled_from(
            [b"", b"a", b"b", b"a" * 7, b"a" * 8, b"a" * 9, b"b" * 16, b"a" * 17, b"\x01", b"\xff"]
        )
    )
)
def test_equal_runs_have_equal_numbers_in_order_of_appearance(pieces):
    found = [piece for piece in pieces if piece]
    distinct = list(dict.fromkeys(found))
    assert scan(b"\0".join(pieces)) == ([distinct.index(run) for run in found], distinct)


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=60), st.sampled_from([2, 16, 1024]))
def test_runs_of_any_bytes_are_told_apart_in_a_table_of_any_size(pieces, n_slots):
    found = [run for piece in pieces for run in piece.split(b"\0") if run]
    distinct = list(dict.fromkeys(found))
    assert scan(b"\0".join(pieces), n_slots) == ([distinct.index(run) for run in found], distinct)


def test_runs_with_equal_hashes_are_told_apart():
    def mixed(word):  # what the kernel makes of the second eight bytes
        product = word * 0x9E3779B97F4A7C15 % 2**64
        return product ^ (product >> 32)

    second, third = struct.unpack("<2Q", b"same-hash-as-all")
    runs_found = []
    for i in range(40):
        rest = mixed(second) ^ mixed(second + i) ^ third
        runs_found.append(b"equal so" + struct.pack("<2Q", second + i, rest) + b"end")
    runs_found = [run for run in runs_found if b"\0" not in run]
    assert len(runs_found) > 20
    numbers, distinct = scan(b"\0".join(runs_found * 2))
    assert distinct == runs_found
    assert numbers == [*range(len(distinct)), *range(len(distinct))]


@given(st.binary(max_size=300).map(lambda content: content + bytes(-len(content) % 8)))
def test_bytes_that_are_not_zero_are_marked_by_bits(content):
    solid = np.empty(len(content) // 8, np.uint8)
    separating.mark(np.frombuffer(content, np.uint64), solid)
    assert np.unpackbits(solid, bitorder="little").tolist() == [byte != 0 for byte in content]


@pytest.mark.parametrize("kept", ["__", "_'"])
@pytest.mark.parametrize("lowers", [False, True])
@given(
    contents=st.lists(st.one_of(st.binary(max_size=40), st.text(st.characters(codec="ascii"), max_size=40)))
)
@example(contents=[bytes(range(256)), "".join(map(chr, range(128)))])
def test_the_kernel_separates_the_runs_that_a_table_separates(kept, lowers, contents):
    separators = Separators(kept, lowers)
    room = sum(len(content) // 8 + 2 for content in contents)
    words, solid = np.empty(room, np.uint64), np.empty(room, np.uint8)
    are_str = np.array([isinstance(content, str) for content in contents], np.bool_)
    n_words = separating.separate(id(contents), are_str, *separators.for_kernel, words, solid)
    separated = words[:n_words].tobytes()
    expected = [run for content in contents for run in [*separators.split(encoded(content)), b"\xff"]]
    assert [run for run in separated.split(b"\0") if run] == expected
    bits = np.unpackbits(solid[:n_words], bitorder="little")
    assert bits.tolist() == [byte != 0 for byte in separated]


@pytest.mark.parametrize("wrong", ["no bytes", b"no str", None])
def test_a_text_that_cannot_be_read_is_told(wrong):
    words, solid = np.empty(9, np.uint64), np.empty(9, np.uint8)
    texts = ["a", wrong]
    are_str = np.array([True, not isinstance(wrong, str)])
    assert separating.separate(id(texts), are_str, *Separators("__", True).for_kernel, words, solid) == -1


@given(st.lists(st.lists(st.integers(0, 20), max_size=9), max_size=9), st.sampled_from([32, 64]))
def test_objects_are_numbered_in_order_of_appearance(chosen, n_slots):
    pool = [object() for _ in range(21)]
    lists = [[pool[i] for i in each] for each in chosen]
    lengths = np.array(list(map(len, lists)), np.int32)
    n, kept, state = int(lengths.sum()), [], np.zeros(4, np.int64)
    numbers, slots = np.empty(n, np.int32), np.zeros(2 * n_slots, np.uint64)
    identity.number_objects(id(lists), lengths, id(kept), 22, state, slots, numbers)
    known = list(dict.fromkeys(itertools.chain.from_iterable(lists)))
    assert numbers.tolist() == [known.index(each) for each in itertools.chain.from_iterable(lists)]
    assert kept == known
    assert state.tolist() == [len(lists), 0, n, len(known)]


@given(st.lists(st.lists(st.integers(0, 4), max_size=10), max_size=6), st.integers(0, 2**32 - 1))
def test_counts_do_not_depend_on_what_the_working_memory_held(documents, seed):
    tokens = np.array([term for document in documents for term in document], np.int32)
    lengths = np.array([len(document) for document in documents], np.int32)
    places = np.random.default_rng(seed).integers(-3, len(tokens) + 3, 5).astype(np.int32)
    terms, freqs = np.zeros((2, len(tokens)), np.int32)
    n_distinct = np.empty(len(documents), np.int32)
    written = scanning.count_terms(tokens, lengths, places, terms, freqs, n_distinct)
    counts = TermCounts(terms[:written], freqs[:written], n_distinct, lengths)
    assert counted(counts, range(5))[0] == [Counter(document) for document in documents]


def test_terms_are_counted_but_not_written_where_there_is_no_room():
    run_numbers, indptr = np.array([1, 2, 0, 1, 0], np.int32), np.array([0, 0, 3, 4])
    run_terms, lengths = np.array([7, 8, 9, 5, 0], np.int32), np.empty(2, np.int32)
    terms = np.full(4, -1, np.int32)
    assert scanning.spell_out(run_numbers, indptr, run_terms, terms[:3], lengths) == 7
    assert terms[3] == -1
    terms = np.empty(8, np.int32)
    assert scanning.spell_out(run_numbers, indptr, run_terms, terms, lengths) == 7
    assert terms[:7].tolist() == [7, 8, 9, 5, 7, 8, 9]
    assert lengths.tolist() == [4, 3]
