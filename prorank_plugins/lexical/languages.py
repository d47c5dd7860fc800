"""Which languages the analyzer knows and what each of them needs.

The Snowball project (https://snowballstem.org) names its algorithms in English; callers name
languages by ISO 639-1 code. Both spellings are accepted everywhere.
"""

from __future__ import annotations

from prorank_plugins.core.errors import ConfigError

SNOWBALL = {
    "ar": "arabic",
    "ca": "catalan",
    "cs": "czech",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "eo": "esperanto",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fa": "persian",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pl": "polish",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "st": "sesotho",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
"""ISO 639-1 code to Snowball algorithm."""

UNSTEMMED = {
    "bg": "bulgarian",
    "bn": "bengali",
    "he": "hebrew",
    "ja": "japanese",
    "km": "khmer",
    "ko": "korean",
    "lo": "lao",
    "my": "burmese",
    "sk": "slovak",
    "sl": "slovenian",
    "sw": "swahili",
    "th": "thai",
    "uk": "ukrainian",
    "ur": "urdu",
    "vi": "vietnamese",
    "zh": "chinese",
}
"""Languages split into words or character bigrams without a stemmer or stop words."""

_CODES = {name: code for code, name in (SNOWBALL | UNSTEMMED).items()} | {"nb": "no", "nn": "no"}


def language_code(name: str) -> str:
    """ISO 639-1 code for a code or an English language name, in any case (``"English"`` → ``"en"``).

    Raises:
        ConfigError: the language is not known.
    """
    key = name.strip().lower().replace("_", "-").partition("-")[0]
    code = _CODES.get(key, key)
    if code not in SNOWBALL and code not in UNSTEMMED:
        known = ", ".join(sorted(SNOWBALL | UNSTEMMED))
        raise ConfigError(
            f"unknown language {name!r}; expected one of {known}. "
            "For any other language pass language=None: words are split but not stemmed."
        )
    return code
