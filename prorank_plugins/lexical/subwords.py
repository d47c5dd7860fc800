"""Subword terms from a SentencePiece model, trained on the user's corpus or loaded from a file.

For languages without a stemmer, for code, and for text with spelling mistakes. Kudo and Richardson,
"SentencePiece" (EMNLP 2018); the model is a unigram language model (Kudo, ACL 2018).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require
from prorank_plugins.lexical import words

_WORD_START = "▁"


class SubwordTerms:
    """Pieces of a SentencePiece model as terms, after NFKC and case folding.

    Args:
        model: the serialised model, as in a ``.model`` file.

    Raises:
        ConfigError: ``model`` is not a SentencePiece model.
        MissingExtraError: sentencepiece is not installed.
    """

    def __init__(self, model: bytes) -> None:
        self.model = model
        library = require("sentencepiece", "rerank", "The SentencePiece analyzer")
        try:
            self._processor = library.SentencePieceProcessor(model_proto=model)
        except (RuntimeError, OSError) as error:
            raise ConfigError(f"{len(model)} bytes given are not a SentencePiece model: {error}") from error

    def __reduce__(self) -> tuple[type[SubwordTerms], tuple[bytes]]:
        return SubwordTerms, (self.model,)

    @classmethod
    def load(cls, path: str) -> SubwordTerms:
        """Read a ``.model`` file.

        Raises:
            ConfigError: the file is missing or not a SentencePiece model.
        """
        try:
            model = Path(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read the SentencePiece model {path}: {error}") from error
        return cls(model)

    @classmethod
    def train(cls, texts: Iterable[str], vocabulary_size: int = 8000) -> SubwordTerms:
        """Train a unigram model. Repeatable: the same texts give the same model.

        Args:
            texts: the corpus, or a sample of it.
            vocabulary_size: most pieces wanted; a small corpus yields fewer.

        Raises:
            ConfigError: no text, or too little of it.
        """
        library = require("sentencepiece", "rerank", "The SentencePiece analyzer")
        lines = (line for text in texts for line in _fold(text).splitlines() if line.strip())
        model = io.BytesIO()
        try:
            library.SentencePieceTrainer.train(
                sentence_iterator=lines,
                model_writer=model,
                vocab_size=vocabulary_size,
                hard_vocab_limit=False,
                character_coverage=1.0,
                max_sentence_length=1 << 20,
                normalization_rule_name="identity",
                num_threads=1,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise ConfigError(
                f"SentencePiece could not train on these texts ({error}); give more text or a smaller "
                f"vocabulary_size than {vocabulary_size}"
            ) from error
        return cls(model.getvalue())

    def terms(self, text: str) -> list[str]:
        """Pieces of ``text`` in order; the bare word-start mark is left out."""
        pieces: list[str] = self._processor.encode(_fold(text), out_type=str)
        return [piece for piece in pieces if piece != _WORD_START]

    def description(self) -> dict[str, Any]:
        """The digest of the model; the index stores the model itself beside it."""
        return {"kind": "subwords", "sha256": hashlib.sha256(self.model).hexdigest()}


def _fold(text: str) -> str:
    return words.fold_case(words.normalise(text))
