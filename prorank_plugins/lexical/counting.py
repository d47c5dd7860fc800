"""Documents to term counts, one batch at a time; no token string outlives its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.analysis import Analyzer, WordTerms
from prorank_plugins.lexical.progress import progress_bar
from prorank_plugins.lexical.runs import RunReader, with_room
from prorank_plugins.lexical.segment import MOST_DOCS, MOST_POSTINGS
from prorank_plugins.lexical.shared_tokens import SharedTokens
from prorank_plugins.lexical.term_counts import TermCounts
from prorank_plugins.lexical.vocabulary import Vocabulary

Text: TypeAlias = "str | Sequence[str]"

# Documents are analysed together up to so many, or so many characters; a token in a list counts as 32, since
# it is an object.
_BATCH_DOCS = 1 << 14
_BATCH_CHARACTERS = 1 << 22
_TOKEN_CHARACTERS = 32
# So many tokens in lists are looked up in the vocabulary one by one.
_FEW_TOKENS = 1 << 13


class _Batch(NamedTuple):
    """Consecutive documents.

    Attributes:
        first: position of the first.
        texts: the documents.
    """

    first: int
    texts: list[Text]


class TermCounter:
    """Analyses texts and counts their terms, adding new terms to a vocabulary.

    Args:
        analyzer: text to terms; None takes token lists as they are.
        vocabulary: numbers for terms; grows. It is locked while a batch is counted, not in between.
    """

    def __init__(self, analyzer: Analyzer | None, vocabulary: Vocabulary) -> None:
        self._analyzer = analyzer
        self._vocabulary = vocabulary
        source = analyzer.source if type(analyzer) is Analyzer else None
        self._texts, self._tokens = None, RunReader(None, _as_terms, vocabulary)
        self._shared: SharedTokens | None = SharedTokens(vocabulary)
        if type(source) is WordTerms:
            self._texts = RunReader(source.separators, source.run_terms_many, vocabulary, source.silent_runs)
        self._places = np.empty(0, np.int32)

    def count(self, texts: Iterable[Text], progress: bool = False) -> TermCounts:
        """Counts of all texts, read once and in order.

        Args:
            texts: str each, or token lists for ``analyzer=None``.
            progress: show a bar.

        Raises:
            ConfigError: an item of another type, named by its position.
        """
        return TermCounts.concatenate(list(self._count(texts, progress)))

    def batches(
        self,
        texts: Iterable[Text],
        progress: bool = False,
        max_docs: int = MOST_DOCS,
        max_postings: int = MOST_POSTINGS,
    ) -> Iterator[TermCounts]:
        """`count` in pieces, for collections of any size; the texts are read as the pieces are asked for.

        Args:
            texts: as for `count`.
            progress: as for `count`.
            max_docs: most documents in a piece.
            max_postings: most postings in a piece; a document with more comes alone.

        Raises:
            ConfigError: as for `count`, when the text is reached.
        """
        return _regroup(self._count(texts, progress), max_docs, max_postings)

    def _count(self, texts: Iterable[Text], progress: bool) -> Iterator[TermCounts]:
        if isinstance(texts, (str, bytes)):
            raise ConfigError(f"texts must be an iterable of documents, found one {type(texts).__name__}")
        total = len(texts) if isinstance(texts, Sized) else None
        with progress_bar(progress, "indexing", "doc", total) as bar:
            for batch in _batches(texts, takes_text=self._analyzer is not None):
                with self._vocabulary.growing:
                    counts = self._count_batch(batch)
                bar.update(len(batch.texts))
                yield counts

    def _count_batch(self, batch: _Batch) -> TermCounts:
        from prorank_plugins.lexical.kernels import scanning

        tokens, lengths = self._numbers(batch)
        self._places = with_room(self._places, 0, len(self._vocabulary))
        terms, term_freqs = np.empty(len(tokens), np.int32), np.empty(len(tokens), np.int32)
        n_distinct = np.empty(len(lengths), np.int32)
        written = scanning.count_terms(tokens, lengths, self._places, terms, term_freqs, n_distinct)
        return TermCounts(terms[:written].copy(), term_freqs[:written].copy(), n_distinct, lengths)

    def _numbers(self, batch: _Batch) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Term numbers of the batch, one document after the other, and the documents' lengths."""
        if self._texts is not None:
            texts = list(map(str, batch.texts))
            return self._texts.terms_of(self._texts.number(texts), len(texts))
        documents: list[Sequence[str]] = batch.texts
        if self._analyzer is not None:
            documents = [self._analyzer.terms(str(text)) for text in batch.texts]
        lengths = np.fromiter(map(len, documents), np.int32, len(documents))
        try:
            return self._numbers_of_tokens(documents, lengths), lengths
        except TypeError as error:
            wrong = next(i for i, terms in enumerate(documents) if not all(isinstance(t, str) for t in terms))
            raise ConfigError(
                f"texts[{batch.first + wrong}] must hold terms of type str only ({error})"
            ) from error

    def _numbers_of_tokens(
        self, documents: list[Sequence[str]], lengths: NDArray[np.int32]
    ) -> NDArray[np.int32]:
        """Numbers of all tokens; in a large batch, each distinct token is looked up only once."""
        n_tokens = int(lengths.sum())
        if n_tokens >= _FEW_TOKENS and self._shared is not None:
            numbers = self._shared.numbers(documents, lengths)
            if numbers is not None:
                return numbers
            self._shared = None
        if n_tokens >= _FEW_TOKENS:
            pieces = [
                "\0".join(tokens).encode("utf-8", "surrogatepass") for tokens in documents if len(tokens)
            ]
            joined = b"\0".join(pieces)
            runs = self._tokens.number([joined])
            # A zero in a token would make a zero too many, and an empty token a run too few.
            n_zeros = np.count_nonzero(np.frombuffer(joined, np.uint8) == 0)
            if n_zeros + 1 == n_tokens and len(runs) == n_tokens + 1:
                return self._tokens.terms_of(runs, 1)[0]
            self._tokens.forget()
        return self._vocabulary.add_all(chain.from_iterable(documents), n_tokens)


def _batches(texts: Iterable[Text], takes_text: bool) -> Iterator[_Batch]:
    kind = str if takes_text else list
    room = _BATCH_CHARACTERS if takes_text else _BATCH_CHARACTERS // _TOKEN_CHARACTERS
    first = size = 0
    batch: list[Text] = []
    for position, text in enumerate(texts):
        if type(text) is not kind:
            _check_text(text, position, takes_text)
        batch.append(text)
        size += len(text)
        if size >= room or len(batch) >= _BATCH_DOCS:
            yield _Batch(first, batch)
            first, size, batch = position + 1, 0, []
    if batch:
        yield _Batch(first, batch)


def _as_terms(packed: bytes) -> tuple[list[str], NDArray[np.int64]]:
    terms = list(filter(None, packed.decode("utf-8", "surrogatepass").split("\0")))
    return terms, np.ones(len(terms), np.int64)


def _check_text(text: Text, position: int, takes_text: bool) -> None:
    if takes_text:
        if not isinstance(text, str):
            raise ConfigError(f"texts[{position}] must be a str, found {type(text).__name__}")
    elif isinstance(text, (str, bytes)) or not isinstance(text, Sequence):
        raise ConfigError(
            f"texts[{position}] must be a list of str because analyzer=None, found {type(text).__name__}"
        )


def _regroup(parts: Iterable[TermCounts], max_docs: int, max_postings: int) -> Iterator[TermCounts]:
    """The same counts in groups as large as the limits allow, a group of one document excepted."""
    group: list[TermCounts] = []
    n_docs = n_postings = 0
    for part in parts:
        while len(part.lengths):
            ends = np.cumsum(part.n_distinct)
            fitting = min(max_docs - n_docs, int(np.searchsorted(ends, max_postings - n_postings, "right")))
            fitting = min(len(ends), fitting if fitting or group else 1)
            if fitting:
                end = int(ends[fitting - 1])
                group.append(_slice(part, slice(0, fitting), slice(0, end)))
                part = _slice(part, slice(fitting, None), slice(end, None))
                n_docs, n_postings = n_docs + fitting, n_postings + end
            if len(part.lengths):
                yield TermCounts.concatenate(group)
                group, n_docs, n_postings = [], 0, 0
    if group:
        yield TermCounts.concatenate(group)


def _slice(counts: TermCounts, docs: slice, postings: slice) -> TermCounts:
    return TermCounts(
        counts.terms[postings], counts.term_freqs[postings], counts.n_distinct[docs], counts.lengths[docs]
    )
