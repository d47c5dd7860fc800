"""Function words that a search may leave out, one list a language.

The lists under ``stopword_lists/`` are written for this project. They hold closed-class words only:
articles, pronouns, adpositions, conjunctions, auxiliaries, particles, and what is left of them when a
text is split at apostrophes (``l``, ``don``, ``ll``). A word that names a thing, an act, a quality or a
number has no place in them, unless it is also an article (French ``un``, Turkish ``bir``).
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.resources import files

_COMMENT = "#"


@cache
def stop_words(language: str) -> frozenset[str]:
    """The function words of a language, in the form that normalised text has.

    Every entry is brought to NFKC and then case-folded, so German ``daß`` is found as ``dass`` and a
    Greek final sigma as ``σ``. Turkish entries are lower case already and folding leaves both
    ``i`` and ``ı`` as they are.

    Args:
        language: An ISO 639-1 code in lower case, such as ``"en"``.

    Returns:
        The words; empty for a language that has no list.
    """
    folder = files("prorank_plugins.lexical") / "stopword_lists"
    # Compared with the listing, never joined to a path: "EN" and "../x" name no list on any system.
    found = next((entry for entry in folder.iterdir() if entry.name == f"{language}.txt"), None)
    if found is None:
        return frozenset()
    lines = (line.strip() for line in found.read_text(encoding="utf-8").splitlines())
    return frozenset(_normalised(line) for line in lines if line and not line.startswith(_COMMENT))


def _normalised(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()
