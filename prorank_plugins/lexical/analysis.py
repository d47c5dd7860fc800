"""Text to terms: one object that analyses documents and queries alike and is stored with the index.

The steps: Unicode NFKC → words (`prorank_plugins.lexical.words`) → identifier parts on request →
case folding → stop words out → Snowball stem. A callable or a SentencePiece model can take their place.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical import words
from prorank_plugins.lexical.languages import SNOWBALL, language_code
from prorank_plugins.lexical.packed_runs import only_word, read, unpack
from prorank_plugins.lexical.separators import Separators
from prorank_plugins.lexical.stopwords import stop_words

# Analysed by every analyzer to fingerprint what it does rather than what it is called: a new Unicode
# table or stemmer release that changes terms changes the fingerprint.
_PROBE = (
    "The quick-brown foxes weren't running: naïve Straße İstanbul I'm fiancée's CamelCaseName snake_case_2 "
    "nationalisation generously 3.14 U.S.A. हिन्दी में किताबें পড়া العربيّة كتابات Ελλάδος τρέχοντας "
    "быстрыми лисами ﬁne ｆｕｌｌ 東京都庁へ行きます 中文检索 한국어 검색엔진 "
    "ภาษาไทย ខ្មែរ ລາວ tiếng Việt köpekler"
)

# Runs whose terms an analyzer remembers: at most this many, each at most this many bytes long (a Chinese
# sentence is one run and hardly comes twice).
_MOST_REMEMBERED = 100_000
_LONGEST_REMEMBERED = 64

Analyze: TypeAlias = Callable[[str], Iterable[str]]


@dataclass(frozen=True)
class AnalyzerConfig:
    """What an `Analyzer` does; plain data, saved as JSON.

    Attributes:
        language: ISO 639-1 code or English name; chooses stop words and stemmer. None splits words only.
        stop_words: True for the language's list, False for none, or the words themselves.
        stemming: reduce words to Snowball stems where the language has a stemmer.
        ngrams: terms of scripts written without blanks: ``"bigram"`` or ``"unigram+bigram"``. The latter
            also answers one-character queries, at about twice the postings.
        split_identifiers: also index the parts of ``camelCase`` and ``snake_case`` words.
        fold_accents: treat ``é`` as ``e``.
        min_length: shorter words are dropped; does not apply to scripts without blanks.

    Raises:
        ConfigError: a value is not one of those above.
    """

    language: str | None = "en"
    stop_words: bool | tuple[str, ...] = True
    stemming: bool = True
    ngrams: words.Ngrams = "bigram"
    split_identifiers: bool = False
    fold_accents: bool = False
    min_length: int = 1

    def __post_init__(self) -> None:
        if self.language is not None:
            object.__setattr__(self, "language", language_code(self.language))
        if not isinstance(self.stop_words, bool):
            if isinstance(self.stop_words, str) or not all(isinstance(w, str) for w in self.stop_words):
                raise ConfigError(
                    f"stop_words must be True, False or a collection of str, found {self.stop_words!r}"
                )
            object.__setattr__(self, "stop_words", tuple(sorted(set(self.stop_words))))
        if self.ngrams not in words.NGRAMS:
            raise ConfigError(f"ngrams must be one of {', '.join(words.NGRAMS)}, found {self.ngrams!r}")
        if isinstance(self.min_length, bool) or not isinstance(self.min_length, int) or self.min_length < 1:
            raise ConfigError(f"min_length must be an int of at least 1, found {self.min_length!r}")


# Letters and digits below this character are a word: scripts without blanks, and their marks, lie above.
_FIRST_UNSPACED = "\u0e00"


class TermSource(Protocol):
    """What stands behind an `Analyzer`: the word pipeline, a callable or a subword model."""

    def terms(self, text: str) -> list[str]:
        """Terms of ``text`` in order, repeats included."""
        ...

    def description(self) -> dict[str, Any]:
        """JSON data that names this source in a saved index."""
        ...


class WordTerms:
    """The word pipeline described by an `AnalyzerConfig`."""

    def __init__(self, config: AnalyzerConfig) -> None:
        self.config = config
        self._turkish = config.language == "tr"
        self._english = config.language == "en"
        self._min_length = config.min_length
        self._dropped = self._stop_set()
        self._stemmers = threading.local()
        self._seen: dict[bytes, tuple[str, ...]] = {}
        # Bytes that never stand inside a word become blanks; what is left between blanks can be
        # analysed on its own, which lets the index builder analyse each distinct run only once.
        keep_case = config.split_identifiers or self._turkish
        self._lowered = not keep_case  # ASCII runs are folded already
        self.separators = Separators("_'" if self._english else "__", lowers=not keep_case)
        listed = sorted(self._dropped) if self._lowered else []
        self.silent_runs = [word.encode() for word in listed if word.isascii() and word.isalnum()]
        """Some of `runs` that have no terms."""

    def __reduce__(self) -> tuple[type[WordTerms], tuple[AnalyzerConfig]]:
        return WordTerms, (self.config,)

    def _stop_set(self) -> frozenset[str]:
        chosen = self.config.stop_words
        if chosen is True:
            listed: Iterable[str] = stop_words(self.config.language) if self.config.language else ()
        else:
            listed = chosen or ()
        return frozenset(self._fold(words.normalise(word)) for word in listed)

    def _fold(self, word: str) -> str:
        folded = words.fold_case(word, turkish=self._turkish)
        return words.fold_accents(folded) if self.config.fold_accents else folded

    def _stem(self, word: str) -> str:
        stemmer = self._stemmer()
        stem: str = stemmer.stemWord(word) if stemmer is not None else word
        return stem

    def _stem_many(self, found: list[str]) -> list[str]:
        stemmer = self._stemmer()
        stems: list[str] = stemmer.stemWords(found) if stemmer is not None else found
        return stems

    def _stemmer(self) -> Any:
        # One stemmer per thread: a Snowball stemmer works in a buffer of its own.
        try:
            return self._stemmers.stemmer
        except AttributeError:
            self._stemmers.stemmer = self._load_stemmer()
            return self._stemmers.stemmer

    def _load_stemmer(self) -> Any:
        if not self.config.stemming or self.config.language not in SNOWBALL:
            return None
        import Stemmer

        # The builder and the index remember the stems they have seen; the stemmer's own cache is off.
        return Stemmer.Stemmer(SNOWBALL[self.config.language], 0)

    def terms(self, text: str) -> list[str]:
        """Terms of ``text`` in order."""
        terms: list[str] = []
        for run in self.runs(text):
            known = self._seen.get(run)
            if known is None:
                known = tuple(self.run_terms(run))
                if len(run) <= _LONGEST_REMEMBERED:
                    if len(self._seen) >= _MOST_REMEMBERED:
                        self._seen = {}
                    self._seen[run] = known
            terms += known
        return terms

    def _terms_of_words(self, text: str) -> Iterator[str]:
        text = words.normalise(text)
        if text.isalnum() and max(text) < _FIRST_UNSPACED:
            yield from self._terms_of_word(text)
            return
        if self._english:
            text = words.drop_english_clitics(text)
        for word, unspaced in words.split_words(text):
            if unspaced:
                yield from words.character_ngrams(self._fold(word), self.config.ngrams)
            else:
                yield from self._terms_of_word(word)

    def _terms_of_word(self, word: str) -> Iterator[str]:
        for part in words.identifier_parts(word) if self.config.split_identifiers else (word,):
            folded = self._fold(part)
            if self._is_term(folded):
                yield self._stem(folded)

    def runs(self, text: str) -> list[bytes]:
        """Stretches of UTF-8 that can be analysed apart: the terms of a text are those of its runs."""
        return self.separators.split(text.encode("utf-8", "surrogatepass"))

    def run_terms(self, run: bytes) -> list[str]:
        """Terms of one of `runs`."""
        return self._terms_of_run(run.decode("utf-8", "surrogatepass"))

    def _terms_of_run(self, text: str) -> list[str]:
        if not text.isascii():
            return list(self._terms_of_words(text))
        if "'" in text:
            pieces = words.drop_english_clitics(text).split("'")
            return [term for piece in pieces for term in self._terms_of_word(piece.strip("_"))]
        word = text.strip("_")
        if not self._lowered:
            return list(self._terms_of_word(word))
        # The usual case, spelt out: most runs of most texts come by here.
        if word in self._dropped or len(word) < self._min_length:
            return []
        return [self._stem(word)]

    def run_terms_many(self, packed: bytes) -> tuple[list[str], NDArray[np.int64]]:
        """Terms of many of `runs`, one run after the other, and how many each run has.

        As `run_terms`, with fewer calls for each.

        Args:
            packed: as `prorank_plugins.lexical.packed_runs` has them, without `silent_runs`.
        """
        if not self._lowered:
            found = [self.run_terms(run) for run in unpack(packed)]
            return list(chain.from_iterable(found)), np.fromiter(map(len, found), np.int64, len(found))
        candidates, marked, unclear = self._candidates(packed)
        stems = self._stem_many(candidates)
        counts = np.ones(len(candidates), np.int64)
        terms: list[str] = []
        done = 0
        for place in self._without_stem(candidates, marked):
            others = self._terms_of_run(unclear[place]) if place in unclear else ()
            terms += stems[done:place]
            terms += others
            counts[place] = len(others)
            done = place + 1
        terms += stems[done:]
        return terms, counts

    def _candidates(self, packed: bytes) -> tuple[list[str], list[int], dict[int, str]]:
        """The word of each run, or ""; places of those that are not plain; the runs of those that are ""."""
        candidates, marked, unseen = read(packed)
        unclear: dict[int, str] = {}
        for place in unseen:
            run = candidates[place]
            candidates[place] = word = self._only_word(run)
            if not word:
                unclear[place] = run
        return candidates, marked, unclear

    def _without_stem(self, candidates: list[str], marked: list[int]) -> list[int]:
        """Places of words that are empty, too short or dropped; no plain one is dropped."""
        if self._min_length > 1:
            return [i for i, word in enumerate(candidates) if not self._is_term(word)]
        return [i for i in marked if not candidates[i] or candidates[i] in self._dropped]

    def _is_term(self, word: str) -> bool:
        return len(word) >= self._min_length and word not in self._dropped

    def _only_word(self, run: str) -> str:
        """The folded word of a run whose word `read` does not see, if it is easily seen, or ""."""
        word = "" if run.isascii() else only_word(run)
        return self._fold(word) if word and max(word) < _FIRST_UNSPACED and words.is_normal(run) else ""

    def description(self) -> dict[str, Any]:
        """The configuration and a digest of the stop words it stands for."""
        digest = hashlib.sha256("\n".join(sorted(self._dropped)).encode()).hexdigest()
        return {"kind": "words", "config": asdict(self.config), "stop_words_sha256": digest}


class CallableTerms:
    """The caller's own function from text to terms."""

    def __init__(self, analyze: Analyze) -> None:
        self.analyze = analyze

    def terms(self, text: str) -> list[str]:
        """What the function returns for ``text``, checked."""
        found = self.analyze(text)
        if isinstance(found, (str, bytes)):
            raise ConfigError(
                f"the analyzer callable {self._name()} returned {type(found).__name__}; "
                "expected a list of str"
            )
        terms = list(found)
        for term in terms:
            if not isinstance(term, str):
                raise ConfigError(
                    f"the analyzer callable {self._name()} returned a term of type {type(term).__name__}; "
                    "expected str"
                )
        return terms

    def _name(self) -> str:
        name = getattr(self.analyze, "__qualname__", type(self.analyze).__qualname__)
        return f"{getattr(self.analyze, '__module__', None) or '?'}.{name}"

    def description(self) -> dict[str, Any]:
        """The function's dotted name: the function itself is not saved."""
        return {"kind": "callable", "name": self._name()}


class Analyzer:
    """Text to terms, for documents and queries alike.

    ``Analyzer("en")``, ``Analyzer(AnalyzerConfig(language="en", split_identifiers=True))``,
    ``Analyzer(my_function)`` or `Analyzer.train_subwords`. Safe to use from several threads; pickles
    and copies (a callable must be picklable itself).

    Args:
        source: language, configuration, callable from text to terms, or another source of terms.

    Raises:
        ConfigError: unknown language or a source of another type.
    """

    def __init__(self, source: str | AnalyzerConfig | Analyze | TermSource | None = "en") -> None:
        if source is None or isinstance(source, str):
            source = AnalyzerConfig(language=source)
        if isinstance(source, AnalyzerConfig):
            self.source: TermSource = WordTerms(source)
        elif hasattr(source, "terms") and hasattr(source, "description"):
            self.source = source
        elif callable(source):
            self.source = CallableTerms(source)
        else:
            raise ConfigError(
                f"Analyzer takes a language, an AnalyzerConfig or a callable, found {type(source).__name__}"
            )

    @classmethod
    def train_subwords(cls, texts: Iterable[str], vocabulary_size: int = 8000) -> Analyzer:
        """Train a SentencePiece unigram model on ``texts`` and analyse with its pieces.

        See `prorank_plugins.lexical.subwords.SubwordTerms`.
        """
        from prorank_plugins.lexical.subwords import SubwordTerms

        return cls(SubwordTerms.train(texts, vocabulary_size))

    @classmethod
    def load_subwords(cls, path: str) -> Analyzer:
        """Analyse with the pieces of an existing SentencePiece ``.model`` file."""
        from prorank_plugins.lexical.subwords import SubwordTerms

        return cls(SubwordTerms.load(path))

    @property
    def config(self) -> AnalyzerConfig | None:
        """The word pipeline's configuration; None for a callable or a subword model."""
        return self.source.config if isinstance(self.source, WordTerms) else None

    def terms(self, text: str) -> list[str]:
        """Terms of ``text`` in order, repeats included.

        Raises:
            ConfigError: ``text`` is not a str.
        """
        if not isinstance(text, str):
            raise ConfigError(f"text to analyse must be a str, found {type(text).__name__}")
        return self.source.terms(text)

    def fingerprint(self) -> str:
        """SHA-256 of the description and of what the analyzer makes of a fixed multilingual text.

        Two analyzers with one fingerprint can be taken to give the same terms; a saved index is only
        searched with the fingerprint it was built with.
        """
        content = {"description": self.source.description(), "probe": self.source.terms(_PROBE)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Analyzer) and self.fingerprint() == other.fingerprint()

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __repr__(self) -> str:
        described = self.config if self.config is not None else self.source.description()
        return f"Analyzer({described!r})"


AnalyzerLike: TypeAlias = "Analyzer | AnalyzerConfig | str | Analyze"
"""An analyzer or anything `Analyzer` makes one of."""


def as_analyzer(source: AnalyzerLike | None) -> Analyzer | None:
    """An `Analyzer` for whatever stands for one; None stays None."""
    return source if source is None or isinstance(source, Analyzer) else Analyzer(source)
