import unicodedata
from importlib.resources import files

import pytest
import Stemmer

from prorank_plugins.lexical.stopwords import stop_words

CODES = {
    "arabic": "ar",
    "armenian": "hy",
    "basque": "eu",
    "catalan": "ca",
    "czech": "cs",
    "danish": "da",
    "dutch": "nl",
    "english": "en",
    "esperanto": "eo",
    "estonian": "et",
    "finnish": "fi",
    "french": "fr",
    "german": "de",
    "greek": "el",
    "hindi": "hi",
    "hungarian": "hu",
    "indonesian": "id",
    "irish": "ga",
    "italian": "it",
    "lithuanian": "lt",
    "nepali": "ne",
    "norwegian": "no",
    "persian": "fa",
    "polish": "pl",
    "portuguese": "pt",
    "romanian": "ro",
    "russian": "ru",
    "serbian": "sr",
    "sesotho": "st",
    "spanish": "es",
    "swedish": "sv",
    "tamil": "ta",
    "turkish": "tr",
    "yiddish": "yi",
}
OTHER_STEMMERS_OF_LISTED_LANGUAGES = {"porter", "dutch_porter", "lovins", "german2", "kraaij_pohlmann"}

MEMBERS = {
    "ar": "من في على هذا التي",
    "ca": "el d l amb però és",
    "cs": "a že jsem který není",
    "da": "og ikke jeg er på",
    "de": "der die das dem den des ein eine einem einen einer eines kein und nicht dass für",
    "el": "και το είναι ειναι από απο",
    "en": (
        "a the he she they be is was have did of in on at by for with to from this those who how would could "
        "not no so if than then there here also just ll re ve don isn didn"
    ),
    "eo": "la kaj ĉu cxu estas kiujn",
    "es": "el la de que y no es él",
    "et": "ja ei on see kes",
    "eu": "eta da ez hau bat",
    "fa": "و در به که را است",
    "fi": "ja on ei se joka minä",
    "fr": "le la les l d qu c j n s est nous à même",
    "ga": "agus an na tá is d b",
    "hi": "का के है में और यह नहीं",
    "hu": "a az és nem hogy van",
    "hy": "է են որ այս նա",
    "id": "yang dan di ini tidak",
    "it": "il lo l dell nell di che è non",
    "lt": "ir yra kad aš jis",
    "ne": "को मा छ यो हो",
    "nl": "de het een en niet t s",
    "no": "og ikke ikkje jeg eg er",
    "pl": "i nie się jest że",
    "pt": "o de não é uma às",
    "ro": "și şi este nu în",
    "ru": "и не он её ее что",
    "sr": "и i је je није nije његов njegov",
    "st": "ke le ho hore empa",
    "sv": "och inte jag är på",
    "ta": "ஒரு இந்த அது மற்றும்",
    "tr": "ve bir için mı mi değil",
    "yi": "און איז דאָס דאס נישט",
}

CONTENT_WORDS = {
    "de": "haus system zeit jahr gehen groß zwei",
    "en": "system computer man time year people go make good new first one two may us",
    "es": "casa sistema año hombre hacer bueno dos estado",
    "fr": "maison système été homme faire bon deux or",
    "hi": "मत कर घर दो",
    "it": "casa sistema stato uomo fare buono due sei",
    "pt": "casa sistema ano homem fazer bom dois",
    "ru": "дом система год человек делать хороший два",
    "tr": "ev sistem yıl adam iyi iki on",
}

ALL_CODES = sorted(CODES.values())


def lines_of(code):
    path = files("prorank_plugins.lexical") / "stopword_lists" / f"{code}.txt"
    return path.read_text(encoding="utf-8").split("\n")


def entries_of(code):
    return [line for line in lines_of(code) if line and not line.startswith("#")]


def test_every_snowball_language_has_a_list():
    languages = set(Stemmer.algorithms()) - OTHER_STEMMERS_OF_LISTED_LANGUAGES
    assert languages <= set(CODES)
    assert all(stop_words(CODES[language]) for language in languages)


def test_every_list_belongs_to_a_snowball_language():
    folder = files("prorank_plugins.lexical") / "stopword_lists"
    assert sorted(entry.name for entry in folder.iterdir()) == [f"{code}.txt" for code in ALL_CODES]


@pytest.mark.parametrize("code", ALL_CODES)
def test_a_list_is_one_comment_and_then_one_word_a_line(code):
    first, *words, last = lines_of(code)
    assert first.startswith("# Function words of ")
    assert first.endswith("; written for this project.")
    assert last == ""
    assert words == entries_of(code)


@pytest.mark.parametrize("code", ALL_CODES)
def test_entries_ascend_by_code_point_without_repeats(code):
    entries = entries_of(code)
    assert entries == sorted(set(entries))


@pytest.mark.parametrize("code", ALL_CODES)
def test_entries_are_lower_case_and_composed(code):
    for word in entries_of(code):
        assert word == word.lower()
        assert word == unicodedata.normalize("NFC", word)


@pytest.mark.parametrize("code", ALL_CODES)
def test_entries_are_made_of_letters_and_their_marks_only(code):
    for word in entries_of(code):
        assert {unicodedata.category(character)[0] for character in word} <= {"L", "M"}, word


@pytest.mark.parametrize("code", ALL_CODES)
def test_normalising_merges_no_two_entries(code):
    assert len(stop_words(code)) == len(entries_of(code)) >= 80


@pytest.mark.parametrize("code", ALL_CODES)
def test_loaded_words_are_fixed_points_of_the_normalisation(code):
    for word in stop_words(code):
        assert word == unicodedata.normalize("NFKC", word).casefold()


@pytest.mark.parametrize("code", ALL_CODES)
def test_the_commonest_function_words_are_listed(code):
    assert set(MEMBERS[code].split()) <= stop_words(code)


@pytest.mark.parametrize("code", sorted(CONTENT_WORDS))
def test_words_that_carry_content_are_not_listed(code):
    assert stop_words(code).isdisjoint(CONTENT_WORDS[code].split())


@pytest.mark.parametrize(("code", "word"), [("el", "της"), ("el", "στους"), ("hy", "և"), ("de", "daß")])
def test_a_word_is_found_in_its_case_folded_form(code, word):
    folded = word.casefold()
    assert folded != word
    assert folded in stop_words(code)
    assert word not in stop_words(code)


def test_turkish_keeps_the_dotted_and_the_dotless_i_apart():
    assert {"mı", "mi", "hangi", "bazı"} <= stop_words("tr")
    assert {"hangı", "bazi"}.isdisjoint(stop_words("tr"))


def test_serbian_words_are_listed_in_both_alphabets_equally_often():
    cyrillic = {word for word in stop_words("sr") if unicodedata.name(word[0]).startswith("CYRILLIC")}
    assert 2 * len(cyrillic) == len(stop_words("sr"))


@pytest.mark.parametrize("language", ["xx", "zh", "", "EN", "english", "../stopword_lists/en", "en.txt"])
def test_a_language_without_a_list_has_no_stop_words(language):
    assert stop_words(language) == frozenset()


def test_a_list_is_read_once():
    assert stop_words("en") is stop_words("en")
