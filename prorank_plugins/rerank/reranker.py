"""ProRank: a small causal language model that says how relevant a document is to a query."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from prorank_plugins.core.documents import Document, ScoredDocument
from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.core.passages import SPAN_KEY
from prorank_plugins.rerank.cache import ScoreCache, key
from prorank_plugins.rerank.calibration import (
    Calibration,
    Method,
    Sigmoid,
    expected_calibration_error,
    fit_calibration,
)
from prorank_plugins.rerank.chunking import Chunking, Span, aggregate_scores, split_spans
from prorank_plugins.rerank.combining import Combiner
from prorank_plugins.rerank.encoding import PairEncoder
from prorank_plugins.rerank.fusion import fuse
from prorank_plugins.rerank.loading import load, save
from prorank_plugins.rerank.model import ScoringModel
from prorank_plugins.rerank.prompt import Prompt
from prorank_plugins.rerank.scheduling import RowGroup, Scheduler
from prorank_plugins.rerank.settings import Settings
from prorank_plugins.rerank.weights import DEFAULT_MODEL, find_folder, weights_digest

_LOG = logging.getLogger(__name__)

_UNTRAINED_BELOW = 0.5
# Rows whose logits of the whole vocabulary are held at a time.
_ROWS_OF_LOGITS = 8
_PROBE = (
    ("capital of France", "Paris is the capital of France."),
    ("capital of France", "Bananas are yellow."),
)


class SpanScore(NamedTuple):
    """A document's score and the characters ``[start, end)`` of the window it is due to."""

    score: float
    start: int
    end: int


class ProRankReranker:
    """Scores (query, document) pairs by ``logit("1") - logit("0")`` at the last position.

    Li, Shakir, Huang, Lipp, Clavié and Li, "ProRank", arXiv:2506.03487. Safe to use from many threads, whose
    calls are joined into common passes; pickles by its folder or name and loads again.

    Made by `from_pretrained`.

    Attributes:
        name: what it was loaded from.
        instruction: used where a call gives none.
        calibration: raw scores to probabilities; saved with the model. None is the plain sigmoid.
        chunking: how documents longer than a window are scored; None cuts them off.
        cache: scores that need not be computed again; None for none.
    """

    def __init__(
        self,
        model: ScoringModel,
        encoder: PairEncoder,
        max_batch_tokens: int,
        loaded_with: dict[str, Any],
        calibration: Calibration | None = None,
    ) -> None:
        self._model = model
        self._encoder = encoder
        self._loaded_with = loaded_with
        self._score_rows: Combiner[list[RowGroup], list[NDArray[np.float32]]] = Combiner(
            _joined(Scheduler(model, max_batch_tokens))
        )
        self._fingerprint: str | None = None
        self.name: str = loaded_with["name_or_path"]
        self.instruction: str | None = loaded_with["instruction"]
        self.chunking: Chunking | None = loaded_with["chunking"]
        self.cache: ScoreCache | None = loaded_with["cache"]
        self.calibration = calibration

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path = DEFAULT_MODEL,
        device: str | None = None,
        dtype: str | None = None,
        max_length: int | None = None,
        max_batch_tokens: int | None = None,
        instruction: str | None = None,
        prompt: Prompt | None = None,
        chunking: Chunking | None = None,
        cache: ScoreCache | None = None,
        allow_special_tokens: bool = False,
        check: bool = True,
    ) -> ProRankReranker:
        """Load a model.

        Args:
            name_or_path: a folder with ``config.json``, safetensors and a tokenizer, or a hub name.
            device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``; None picks and says so in the log.
            dtype: ``"float32"``, ``"bfloat16"``, ``"float16"`` or ``"int8"`` (CPU, approximate); None picks.
            max_length: most tokens of query and document; None takes what is saved with the model, else 8192.
            max_batch_tokens: positions that go through the model together; None suits the device.
            instruction: what to look for, put before every query.
            prompt: None takes what is saved with the model, else the preset its name asks for.
            chunking: score long documents window by window; None cuts what exceeds ``max_length``.
            cache: a `ScoreCache`, such as `MemoryScoreCache()`.
            allow_special_tokens: read control tokens in queries and documents as such. Off, since a
                document could otherwise end its own turn and answer for the model.
            check: ask two questions and warn if the model does not answer in the prompt's terms.

        Raises:
            ModelError: nothing loadable there, or its answers are not single tokens.
            ConfigError: an argument that cannot be.
            MissingExtraError: torch or tokenizers is not installed.
        """
        loaded_with = {
            "name_or_path": str(name_or_path), "device": device, "dtype": dtype, "max_length": max_length,
            "max_batch_tokens": max_batch_tokens, "instruction": instruction, "prompt": prompt,
            "chunking": chunking, "cache": cache, "allow_special_tokens": allow_special_tokens,
            "check": False,
        }  # fmt: skip
        loaded = load(
            str(name_or_path), device, dtype, max_length, max_batch_tokens, prompt, allow_special_tokens
        )
        reranker = cls(loaded.model, loaded.encoder, loaded.max_batch_tokens, loaded_with, loaded.calibration)
        if check:
            reranker._check_answers()
        return reranker

    def __reduce__(self) -> tuple[Any, tuple[dict[str, Any], Calibration | None]]:
        return _reload, (self._loaded_with, self.calibration)

    def __repr__(self) -> str:
        return f"ProRankReranker({self.name!r})"

    @property
    def prompt(self) -> Prompt:
        """What the model is asked."""
        return self._encoder.prompt

    @property
    def max_length(self) -> int:
        """Most tokens of query and document together."""
        return self._encoder.max_length

    # Scoring

    def score(
        self, query: str, texts: Sequence[str], instruction: str | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n,) raw scores of texts for a query, in the caller's order: log-odds, unbounded.

        Args:
            query: the user's question.
            texts: documents.
            instruction: in place of the reranker's.
            progress: show a progress bar.

        Raises:
            ConfigError: a query or text that is no str.
            ModelError: a score that is not finite.
        """
        scores, _ = self._score_texts([(query, _listed(texts))], instruction, progress)
        return scores

    def score_spans(
        self, query: str, texts: Sequence[str], instruction: str | None = None, progress: bool = False
    ) -> list[SpanScore]:
        """`score`, with the characters each score is due to: a window, or without chunking the whole text."""
        scores, winners = self._score_texts([(query, _listed(texts))], instruction, progress)
        return [
            SpanScore(score, span.start_char, span.end_char)
            for score, span in zip(scores.tolist(), winners, strict=True)
        ]

    def score_pairs(
        self, pairs: Iterable[tuple[str, str]], instruction: str | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """(n,) raw scores of (query, text) pairs, in the caller's order. Pairs of a query share its work."""
        listed = list(pairs)
        rows_of: dict[str, list[int]] = {}
        for row, pair in enumerate(listed):
            if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
                raise ConfigError(f"pairs must be (query, text), found {pair!r:.80}")
            query = pair[0]
            rows_of.setdefault(_text(query), []).append(row)
        groups = [(query, [listed[row][1] for row in rows]) for query, rows in rows_of.items()]
        scores = np.empty(len(listed), np.float32)
        order = [row for rows in rows_of.values() for row in rows]
        scores[order], _ = self._score_texts(groups, instruction, progress)
        return scores

    def rerank(
        self,
        query: str,
        documents: Sequence[Document],
        k: int | None = None,
        instruction: str | None = None,
        score_threshold: float | None = None,
        retrieval_scores: Sequence[float] | None = None,
        fusion_weight: float = 0.5,
    ) -> list[ScoredDocument]:
        """Documents as copies with their scores, best first, ties in the caller's order.

        With chunking, ``metadata["relevance_span"]`` says which characters of the text won.

        Args:
            query: the user's question.
            documents: candidates.
            k: most documents wanted; None for all.
            instruction: in place of the reranker's.
            score_threshold: documents whose raw score is lower are left out.
            retrieval_scores: of a first stage, one a document: ranks by a weighted sum of both, each scaled
                to [0, 1] over these documents, and returns that sum. Without, raw scores are returned.
            fusion_weight: the reranker's share of that sum.
        """
        if k is not None and (isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0):
            raise ConfigError(f"k must be None or a whole number of at least 0, found {k!r}")
        if score_threshold is not None and not isinstance(score_threshold, (int, float, np.number)):
            raise ConfigError(f"score_threshold must be None or a number, found {score_threshold!r}")
        candidates = _documents(documents)
        spans = self.score_spans(query, [document.text for document in candidates], instruction)
        raw = np.array([span.score for span in spans], np.float64)
        ranked_by = raw if retrieval_scores is None else fuse(raw, retrieval_scores, fusion_weight)
        ranked = []
        for row in np.argsort(-ranked_by, kind="stable").tolist():
            if score_threshold is None or raw[row] >= score_threshold:
                copied = candidates[row].copy()
                if self.chunking is not None:
                    marked = {**copied.metadata, SPAN_KEY: [spans[row].start, spans[row].end]}
                    copied = Document(copied.id, copied.text, marked)
                ranked.append(ScoredDocument(copied, float(ranked_by[row])))
        return ranked[:k]

    async def arerank(
        self, query: str, documents: Sequence[Document], k: int | None = None, **options: Any
    ) -> list[ScoredDocument]:
        """`rerank` in a thread, so that the event loop goes on; calls that come together share passes."""
        return await asyncio.to_thread(self.rerank, query, documents, k, **options)

    # Probabilities

    def probabilities(self, scores: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """(n,) raw scores as probabilities, by the calibration or the plain sigmoid; the order stays."""
        return (self.calibration or Sigmoid())(np.asarray(scores))

    def calibrate(
        self, pairs: Sequence[tuple[str, str]], labels: Sequence[int], method: Method = "temperature"
    ) -> float:
        """Fit `calibration` to labelled pairs and return the expected calibration error on them.

        Args:
            pairs: (query, text).
            labels: 1 for relevant, 0 for not.
            method: ``"temperature"``, ``"platt"`` or ``"isotonic"``.
        """
        scores = self.score_pairs(pairs)
        self.calibration = fit_calibration(scores, labels, method)
        return expected_calibration_error(self.calibration(scores), labels)

    def format_rate(self, pairs: Sequence[tuple[str, str]]) -> float:
        """Mean probability that the model answers in the prompt's terms at all: p("0") + p("1").

        Raises:
            ConfigError: there are no pairs.
        """
        if not pairs:
            raise ConfigError("a format rate needs at least one pair, found none")
        rows = []
        for query, text in pairs:
            head = self._encoder.head(query, self.instruction)
            rows.append(self._encoder.row(head, self._encoder.documents([text])[0]))
        parts = [rows[start : start + _ROWS_OF_LOGITS] for start in range(0, len(rows), _ROWS_OF_LOGITS)]
        return float(np.mean(np.concatenate([self._model.answer_mass(part) for part in parts])))

    def save(self, path: str | Path) -> None:
        """Write the model with its prompt, length and calibration to a folder that `from_pretrained` loads.

        Raises:
            ConfigError: the folder is there already and not empty.
        """
        calibration = None if self.calibration is None else self.calibration.to_json()
        save(self.name, Path(path), Settings(self.prompt, self.max_length, calibration))

    # Inside

    def _score_texts(
        self, groups: Sequence[tuple[str, list[str]]], instruction: str | None, progress: bool
    ) -> tuple[NDArray[np.float32], list[Span]]:
        """Scores and winning windows of all texts, group after group."""
        windows: list[list[Span]] = []
        pieces: list[tuple[str, list[str]]] = []
        for query, texts in groups:
            spans = [self._windows(_text(text)) for text in texts]
            windows += spans
            cut = [
                text if len(of_text) == 1 else text[span.start_char : span.end_char]
                for text, of_text in zip(texts, spans, strict=True)
                for span in of_text
            ]
            pieces.append((_text(query), cut))
        scores = self._score_pieces(pieces, instruction or self.instruction, progress)
        counts = [len(of_text) for of_text in windows]
        if self.chunking is None:
            return scores, [of_text[0] for of_text in windows]
        documents, winners = aggregate_scores(scores, counts, self.chunking)
        return documents, [w[i] for w, i in zip(windows, winners.tolist(), strict=True)]

    def _windows(self, text: str) -> list[Span]:
        if self.chunking is None:
            return [Span(0, 0, 0, len(text))]
        offsets = self._encoder.tokenizer.offsets(text, self._encoder.trusted)
        return split_spans(offsets, self.chunking, len(text))

    def _score_pieces(
        self, groups: Sequence[tuple[str, list[str]]], instruction: str | None, progress: bool
    ) -> NDArray[np.float32]:
        """Scores of texts that fit, each distinct pair computed once, and not at all if it is cached."""
        known: dict[tuple[int, str], float] = {}
        keys: dict[tuple[int, str], bytes] = {}
        if self.cache is not None:
            keys = {
                (group, text): key(self._digest(), instruction or "", query, text)
                for group, (query, texts) in enumerate(groups)
                for text in texts
            }
            found = self.cache.get_many(list(keys.values()))
            known = {pair: score for pair, score in zip(keys, found, strict=True) if score is not None}
        new = [
            [text for text in dict.fromkeys(texts) if (g, text) not in known]
            for g, (_, texts) in enumerate(groups)
        ]
        with _bar(sum(map(len, new)), progress) as advance:
            rows = [
                RowGroup(self._rows(query, texts, instruction), advance)
                for (query, _), texts in zip(groups, new, strict=True)
            ]
            results = self._score_rows(rows)
        fresh = {
            (g, text): score
            for g, (texts, result) in enumerate(zip(new, results, strict=True))
            for text, score in zip(texts, result.tolist(), strict=True)
        }
        if not np.isfinite(list(fresh.values())).all():
            raise ModelError(
                f"{self.name} gives scores that are not finite; its weights are damaged or overflow"
            )
        if self.cache is not None and fresh:
            self.cache.put_many([keys[pair] for pair in fresh], list(fresh.values()))
        known.update(fresh)
        return np.array([known[g, text] for g, (_, texts) in enumerate(groups) for text in texts], np.float32)

    def _rows(self, query: str, texts: Sequence[str], instruction: str | None) -> list[list[int]]:
        if not (instruction is None or isinstance(instruction, str)):
            raise ConfigError(f"instruction must be None or str, found {type(instruction).__name__}")
        head = self._encoder.head(query, instruction)
        return [self._encoder.row(head, ids) for ids in self._encoder.documents(texts)]

    def _digest(self) -> str:
        """Everything a score depends on but query, instruction and document."""
        if self._fingerprint is None:
            encoder = self._encoder
            parts = {
                "weights": weights_digest(find_folder(self.name)),
                "dtype": str(self._loaded_with["dtype"]),
                "prompt": encoder.prompt.to_json(),
                "max_length": encoder.max_length,
                "trusted": encoder.trusted,
            }
            self._fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return self._fingerprint

    def _check_answers(self) -> None:
        rate = self.format_rate(_PROBE)
        if not np.isfinite(rate):
            raise ModelError(f"{self.name} gives scores that are not finite; its weights are damaged")
        if rate < _UNTRAINED_BELOW:
            answers = " or ".join(
                repr(answer) for answer in (self.prompt.positive, self.prompt.negative) if answer
            )
            _LOG.warning(
                "%s answers %s with a probability of %.4f only: it was not trained for this prompt, "
                "and its scores may mean little",
                self.name, answers, rate,
            )  # fmt: skip


def _joined(scheduler: Scheduler) -> Any:
    """The scheduler as a function of several calls' groups."""

    def run(calls: Sequence[list[RowGroup]]) -> list[list[NDArray[np.float32]]]:
        results = iter(scheduler.score([group for groups in calls for group in groups]))
        return [[next(results) for _ in groups] for groups in calls]

    return run


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Any]:
    """What to call with the number of pairs done."""
    if not shown:
        yield lambda n: None
        return
    with require("tqdm.auto", "rerank", "A progress bar").tqdm(
        total=total, desc="reranking", unit="pair"
    ) as bar:
        yield bar.update


def _reload(arguments: dict[str, Any], calibration: Calibration | None) -> ProRankReranker:
    reranker = ProRankReranker.from_pretrained(**arguments)
    reranker.calibration = calibration
    return reranker


def _listed(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise ConfigError(f"texts must be a list of str, found one {type(texts).__name__}; pass [text]")
    try:
        return list(texts)
    except TypeError as error:
        raise ConfigError(f"texts must be a list of str, found {type(texts).__name__}") from error


def _documents(documents: Sequence[Document]) -> list[Document]:
    try:
        listed = list(documents)
    except TypeError as error:
        raise ConfigError(f"documents must be a list, found {type(documents).__name__}") from error
    if wrong := [found for found in listed if not isinstance(found, Document)]:
        raise ConfigError(f"documents must be Document, found {type(wrong[0]).__name__}; `score` takes texts")
    return listed


def _text(text: str) -> str:
    if not isinstance(text, str):
        raise ConfigError(f"queries and documents must be str, found {type(text).__name__}")
    return text
