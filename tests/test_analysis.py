"""Text to terms: scripts, languages, options, and the run-by-run path against the plain one."""

import copy
import pickle
import threading
import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prorank_plugins import Analyzer, AnalyzerConfig, ConfigError, LexicalIndex
from prorank_plugins.lexical import words
from prorank_plugins.lexical.languages import SNOWBALL, language_code
from tests import oracles


def plain(**options):
    """An analyzer that only splits words, unless told otherwise."""
    return Analyzer(AnalyzerConfig(**{"language": None, **options}))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("The quick-brown fox.", ["the", "quick", "brown", "fox"]),
        ("don't stop", ["don", "t", "stop"]),
        ("naïve cafe\u0301 ÉCOLE", ["naïve", "café", "école"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("हिन्दी में किताबें", ["हिन्दी", "में", "किताबें"]),
        ("العَرَبِيَّة كتاب", ["العَرَبِيَّة", "كتاب"]),
        ("ﬁne ｆｕｌｌ １２", ["fine", "full", "12"]),
        ("co\u00adoperate می\u200cخواهم", ["cooperate", "میخواهم"]),
        ("snake_case __init__ _x_ _", ["snake_case", "init", "x"]),
        ("3.14 1,000", ["3", "14", "1", "000"]),
        ("", []),
        (" \t\n!?—…", []),
        ("東京都", ["東京", "京都"]),
        ("車", ["車"]),
        ("iPhone手机壳2024年", ["iphone", "手机", "机壳", "2024", "年"]),
        ("한국어 검색", ["한국", "국어", "검색"]),
        ("ภาษาไทย", ["ภา", "าษ", "ษา", "าไ", "ไท", "ทย"]),
        ("น้ำแข็ง", ["น้ำ", "ำแ", "แข็", "ข็ง"]),
        ("ខ្មែរ", ["ខ្មែ", "មែរ"]),
        ("カタカナ・テスト", ["カタ", "タカ", "カナ", "テス", "スト"]),
        ("ｶﾞｷﾞ", ["ガギ"]),
        ("がぎ か\u3099", ["がぎ", "が"]),
        ("𠮷野家", ["𠮷野", "野家"]),
    ],
)
def test_words_of_many_scripts(text, terms):
    found = plain().terms(text)
    if text in ("น้ำแข็ง", "ខ្មែរ"):
        # The vowel ำ and the Khmer subscript sign are written apart by NFKC; what counts is that no
        # term begins with a mark and neighbours overlap.
        assert not any(unicodedata.category(term[0])[0] == "M" for term in found)
        assert len(found) >= 2
    else:
        assert found == terms


def test_unigrams_answer_queries_of_one_character():
    assert plain(ngrams="unigram+bigram").terms("東京都") == ["東", "東京", "京", "京都", "都"]
    index = LexicalIndex.build(["汽车很快", "火车"], analyzer=plain(ngrams="unigram+bigram"))
    assert index.search("车").ids == ["1", "0"]


@pytest.mark.parametrize(
    ("identifier", "parts"),
    [
        ("parseHTTPResponse", ["parsehttpresponse", "parse", "http", "response"]),
        ("snake_case_name", ["snake_case_name", "snake", "case", "name"]),
        ("utf8", ["utf8"]),
        ("Base64Encoder", ["base64encoder", "base64", "encoder"]),
        ("simple", ["simple"]),
        ("os.path.joinAll", ["os", "path", "joinall", "join", "all"]),
    ],
)
def test_identifiers_are_split_on_request(identifier, parts):
    assert plain(split_identifiers=True).terms(identifier) == parts


def test_english_words_are_stemmed_and_stop_words_dropped():
    assert Analyzer("en").terms("The cats were running through generously nationalised houses") == [
        "cat", "run", "generous", "nationalis", "hous",
    ]  # fmt: skip


def test_english_contractions_go_and_single_letters_stay():
    analyzer = Analyzer("en")
    assert analyzer.terms("The T cell's vitamin D isn't what I’d they'LL we've") == [
        "t",
        "cell",
        "vitamin",
        "d",
    ]
    assert analyzer.terms("rock 'n' roll O'Neill's 5 m") == ["rock", "n", "roll", "o", "neill", "5", "m"]


def test_stop_words_and_stemming_can_be_switched_off():
    config = AnalyzerConfig(stop_words=False, stemming=False)
    assert Analyzer(config).terms("The cats were") == ["the", "cats", "were"]


def test_own_stop_words_replace_the_list_and_are_folded_like_text():
    config = AnalyzerConfig(stop_words=("CATS", "É"), stemming=False)
    assert Analyzer(config).terms("the cats é dogs") == ["the", "dogs"]


def test_turkish_keeps_dotted_and_dotless_i_apart():
    analyzer = Analyzer(AnalyzerConfig(language="tr", stop_words=False, stemming=False))
    assert analyzer.terms("IŞIK İSTANBUL ışık istanbul") == ["ışık", "istanbul", "ışık", "istanbul"]


def test_accents_can_be_folded():
    assert plain(fold_accents=True).terms("Café Ελλάδα naïve") == ["cafe", "ελλαδα", "naive"]


def test_short_words_can_be_dropped_but_not_characters_of_scripts_without_blanks():
    assert plain(min_length=3).terms("to the moon 車") == ["the", "moon", "車"]


@pytest.mark.parametrize("code", sorted(SNOWBALL))
def test_every_snowball_language_can_be_analysed(code):
    assert Analyzer(code).terms("x12y") != []


@pytest.mark.parametrize(
    ("name", "code"), [("English", "en"), ("de-AT", "de"), ("pt_BR", "pt"), ("nb", "no"), ("zh", "zh")]
)
def test_languages_go_by_code_or_english_name(name, code):
    assert language_code(name) == code


def test_an_unknown_language_is_refused_with_the_way_out():
    with pytest.raises(ConfigError, match="unknown language 'xx'.*language=None"):
        Analyzer("xx")


@pytest.mark.parametrize(
    "options",
    [
        {"ngrams": "trigram"},
        {"min_length": 0},
        {"min_length": True},
        {"stop_words": "the"},
        {"stop_words": (1,)},
    ],
)
def test_settings_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError):
        AnalyzerConfig(**options)


@pytest.mark.parametrize("source", [3, object()])
def test_an_analyzer_needs_a_language_a_configuration_or_a_function(source):
    with pytest.raises(ConfigError, match="Analyzer takes"):
        Analyzer(source)


@pytest.mark.parametrize("text", [None, 3, b"bytes"])
def test_only_text_can_be_analysed(text):
    with pytest.raises(ConfigError, match="must be a str"):
        Analyzer("en").terms(text)


ANY_TEXT = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from(
            "aB_ '’-.,İIıiſKÅß½²ﬁ\u0301\u0338\u0345\u0307\u200b\u200d\u00ad\u3099\ufe0f"
            "\u0e33\u0e49กเ車かガ한हि्ं्"
        ),
    ),
    max_size=30,
)
SETTINGS = [
    AnalyzerConfig(language=None),
    AnalyzerConfig(language="en"),
    AnalyzerConfig(language="tr"),
    AnalyzerConfig(language="el", fold_accents=True),
    AnalyzerConfig(language="en", split_identifiers=True),
    AnalyzerConfig(language="zh", ngrams="unigram+bigram", min_length=2),
]


@given(ANY_TEXT)
@example("=\u0338abc <\u0338 I\u0307x K\u030a")
@example("\u0301abc _\u0301a a_\u0301")
@example("\ud800 lone surrogate \udfff\u3042")
def test_word_boundaries_agree_with_a_walk_over_the_characters(text):
    assert [tuple(word) for word in words.split_words(words.normalise(text))] == oracles.words(text)


@given(ANY_TEXT, st.sampled_from(SETTINGS))
@example("=\u0338abc I\u0307x İI K\u030a ", SETTINGS[2])
def test_the_terms_of_a_text_are_those_of_its_words_whatever_the_runs(text, config):
    source = Analyzer(config).source
    assert source.terms(text) == list(source._terms_of_words(text))


@given(st.lists(ANY_TEXT, max_size=4), st.sampled_from(SETTINGS))
def test_the_builder_counts_exactly_the_terms_of_the_analyzer(texts, config):
    analyzer = Analyzer(config)
    by_text = LexicalIndex.build(texts, analyzer=analyzer)
    by_terms = LexicalIndex.build([analyzer.terms(text) for text in texts], analyzer=None)
    first, second = by_text.snapshot(), by_terms.snapshot()
    assert list(first.vocabulary) == list(second.vocabulary)
    assert len(first.state.segments) == len(second.state.segments)
    for left, right in zip(first.state.segments, second.state.segments, strict=True):
        for name in ("lengths", "terms", "indptr", "docs", "codes", "large_freqs"):
            assert getattr(left, name).tolist() == getattr(right, name).tolist()


def test_a_callable_analyses_documents_and_queries():
    index = LexicalIndex.build(["a-b", "b-c"], analyzer=Analyzer(lambda text: text.split("-")))
    assert index.search("b-a").ids == ["0", "1"]


@pytest.mark.parametrize(
    ("function", "message"), [(lambda text: text, "returned str"), (lambda text: [1], "of type int")]
)
def test_a_callable_that_returns_something_else_is_named(function, message):
    with pytest.raises(ConfigError, match=message):
        LexicalIndex.build(["text"], analyzer=Analyzer(function))


def test_many_threads_get_the_same_stems():
    analyzer = Analyzer("en")
    texts = [f"running{i} generalisations nationalities {i} houses flying" for i in range(300)]
    expected = [Analyzer("en").terms(text) for text in texts]
    barrier = threading.Barrier(8)

    def analyse(_):
        barrier.wait()
        return [analyzer.terms(text) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        assert all(result == expected for result in pool.map(analyse, range(8)))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))])
def test_analyzers_can_be_copied_and_pickled(duplicate):
    analyzer = Analyzer(AnalyzerConfig("de", split_identifiers=True))
    analyzer.terms("Häuser laufen")
    again = duplicate(analyzer)
    assert again == analyzer
    assert again.terms("Häuser laufen") == analyzer.terms("Häuser laufen")


def test_equal_settings_have_equal_fingerprints_and_others_have_not():
    fingerprints = {config: Analyzer(config).fingerprint() for config in SETTINGS}
    assert len(set(fingerprints.values())) == len(SETTINGS)
    assert Analyzer("english").fingerprint() == Analyzer("en").fingerprint()


@pytest.fixture(scope="module")
def subwords():
    pytest.importorskip("sentencepiece")
    texts = [f"the quick brown fox number {i} jumps over lazy dogs and runs away quickly" for i in range(200)]
    return Analyzer.train_subwords(texts, vocabulary_size=60)


def test_a_subword_model_is_trained_on_the_users_corpus_and_repeatable(subwords):
    terms = subwords.terms("Quick foxes")
    assert "".join(terms).replace("▁", "") == "quickfoxes"
    texts = [f"the quick brown fox number {i} jumps over lazy dogs and runs away quickly" for i in range(200)]
    assert Analyzer.train_subwords(texts, vocabulary_size=60) == subwords


def test_a_subword_analyzer_indexes_loads_from_a_file_and_pickles(subwords, tmp_path):
    path = tmp_path / "corpus.model"
    path.write_bytes(subwords.source.model)
    loaded = Analyzer.load_subwords(str(path))
    assert loaded == subwords == pickle.loads(pickle.dumps(subwords))
    assert LexicalIndex.build(["quick fox", "lazy dog"], analyzer=loaded).search("lazy dogs").ids[0] == "1"


def test_what_is_no_subword_model_is_refused(tmp_path):
    pytest.importorskip("sentencepiece")
    (tmp_path / "bad.model").write_bytes(b"not a model")
    with pytest.raises(ConfigError, match="not a SentencePiece model"):
        Analyzer.load_subwords(str(tmp_path / "bad.model"))
    with pytest.raises(ConfigError, match="cannot read"):
        Analyzer.load_subwords(str(tmp_path / "missing.model"))
    with pytest.raises(ConfigError, match="could not train"):
        Analyzer.train_subwords([])
