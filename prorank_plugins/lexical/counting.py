"""Documents to term counts, one batch at a time; no token string outlives its batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import chain, islice
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.lexical.analysis import Analyzer, WordTerms
from prorank_plugins.lexical.postings import TermCounts
from prorank_plugins.lexical.progress import progress_bar
from prorank_plugins.lexical.vocabulary import Vocabulary

Text: TypeAlias = "str | Sequence[str]"

_BATCH = 1000
# Distinct runs remembered while building; forgetting costs time only.
_MOST_RUNS = 2_000_000
_LONGEST_RUN = 64

_NO_TERM = -1
_END_OF_DOCUMENT = np.iinfo(np.int32).min
_END_RUN = b"\x00"


class _RunNumbers(dict[bytes, int]):
    """Run of text → term number, `_NO_TERM`, or ``-2 - i`` for the terms ``several[i]``."""

    def __init__(self, source: WordTerms, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.source = source
        self.vocabulary = vocabulary
        self.several: list[list[int]] = []
        self.forget()

    def forget(self) -> None:
        """Start anew, keeping the vocabulary."""
        self.clear()
        self.several.clear()
        self[_END_RUN] = _END_OF_DOCUMENT

    def __missing__(self, run: bytes) -> int:
        terms = self.source.run_terms(run)
        if len(terms) == 1:
            number = self.vocabulary.add(terms[0])
        elif not terms:
            number = _NO_TERM
        else:
            number = -2 - len(self.several)
            self.several.append([self.vocabulary.add(term) for term in terms])
        if len(run) <= _LONGEST_RUN:
            self[run] = number
        return number


class TermCounter:
    """Analyses texts and counts their terms, adding new terms to a vocabulary.

    Args:
        analyzer: text to terms; None takes token lists as they are.
        vocabulary: numbers for terms; grows.
    """

    def __init__(self, analyzer: Analyzer | None, vocabulary: Vocabulary) -> None:
        self._analyzer = analyzer
        self._vocabulary = vocabulary
        source = analyzer.source if type(analyzer) is Analyzer else None
        self._runs = _RunNumbers(source, vocabulary) if isinstance(source, WordTerms) else None

    def count(self, texts: Iterable[Text], progress: bool = False) -> TermCounts:
        """Counts of all texts, read once and in order.

        Args:
            texts: str each, or token lists for ``analyzer=None``.
            progress: show a bar.

        Raises:
            ConfigError: an item of another type, named by its position.
        """
        if isinstance(texts, (str, bytes)):
            raise ConfigError(f"texts must be an iterable of documents, found one {type(texts).__name__}")
        total = len(texts) if isinstance(texts, Sized) else None
        parts: list[TermCounts] = []
        with (
            progress_bar(progress, "indexing", "doc", total) as bar,
            self._vocabulary.growing,
        ):
            for batch in _batches(texts):
                parts.append(self._count_batch(batch, first=len(parts) * _BATCH))
                bar.update(len(batch))
        return TermCounts.concatenate(parts)

    def _count_batch(self, batch: list[Text], first: int) -> TermCounts:
        from prorank_plugins.lexical import kernels

        tokens, lengths = self._numbers(batch, first)
        n_terms = len(self._vocabulary)
        terms, term_freqs = np.empty(len(tokens), np.int32), np.empty(len(tokens), np.int32)
        n_distinct = np.empty(len(batch), np.int32)
        written = kernels.count_terms(
            tokens,
            lengths,
            np.full(n_terms, -1, np.int32),
            np.empty(n_terms, np.int64),
            terms,
            term_freqs,
            n_distinct,
        )
        return TermCounts(terms[:written].copy(), term_freqs[:written].copy(), n_distinct, lengths)

    def _numbers(self, batch: list[Text], first: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Term numbers of the batch, one document after the other, and the documents' lengths."""
        for position, text in enumerate(batch):
            _check_text(text, first + position, takes_text=self._analyzer is not None)
        if self._runs is not None:
            return _split_at_ends(self._numbers_by_run(batch))
        documents: list[Sequence[str]]
        documents = batch if self._analyzer is None else [self._analyzer.terms(str(text)) for text in batch]
        lengths = np.fromiter(map(len, documents), np.int32, len(documents))
        try:
            numbers = self._vocabulary.add_all(chain.from_iterable(documents), int(lengths.sum()))
        except TypeError as error:
            wrong = next(i for i, terms in enumerate(documents) if not all(isinstance(t, str) for t in terms))
            raise ConfigError(f"texts[{first + wrong}] must hold terms of type str only ({error})") from error
        return numbers, lengths

    def _numbers_by_run(self, batch: list[Text]) -> NDArray[np.int32]:
        runs = self._runs
        assert runs is not None
        if len(runs) > _MOST_RUNS or len(runs.several) > _MOST_RUNS:
            runs.forget()
        pieces: list[bytes] = []
        for text in batch:
            pieces += runs.source.runs(str(text))
            pieces.append(_END_RUN)
        numbers = np.fromiter(map(runs.__getitem__, pieces), np.int32, len(pieces))
        return _spell_out(numbers, runs.several)


def _batches(texts: Iterable[Text]) -> Iterator[list[Text]]:
    source = iter(texts)
    while batch := list(islice(source, _BATCH)):
        yield batch


def _check_text(text: Text, position: int, takes_text: bool) -> None:
    if takes_text:
        if not isinstance(text, str):
            raise ConfigError(f"texts[{position}] must be a str, found {type(text).__name__}")
    elif isinstance(text, (str, bytes)) or not isinstance(text, Sequence):
        raise ConfigError(
            f"texts[{position}] must be a list of str because analyzer=None, found {type(text).__name__}"
        )


def _spell_out(numbers: NDArray[np.int32], several: list[list[int]]) -> NDArray[np.int32]:
    """Put the terms of runs with several in the place of their reference, and drop runs without."""
    references = np.flatnonzero((numbers <= -2) & (numbers != _END_OF_DOCUMENT))
    if len(references):
        groups = [several[-2 - number] for number in numbers[references].tolist()]
        copies = np.ones(len(numbers), np.int64)
        copies[references] = [len(group) for group in groups]
        is_reference = np.zeros(len(numbers), np.bool_)
        is_reference[references] = True
        is_reference = np.repeat(is_reference, copies)
        numbers = np.repeat(numbers, copies)
        numbers[is_reference] = [number for group in groups for number in group]
    kept: NDArray[np.int32] = numbers[numbers != _NO_TERM]
    return kept


def _split_at_ends(numbers: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Term numbers without end marks, and how many stood before each mark."""
    is_end = numbers == _END_OF_DOCUMENT
    ends = np.flatnonzero(is_end)
    lengths = np.diff(ends, prepend=-1) - 1
    return numbers[~is_end], lengths.astype(np.int32)
