"""Pairs to rows of ids, cut as the reference cuts them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.rerank.prompt import Prompt
from prorank_plugins.rerank.tokens import PieceTokenizer

_LEAST_LENGTH = 16


@dataclass(frozen=True)
class Labels:
    """Token ids of the answers; ``negative`` is None for prompts with one answer."""

    positive: int
    negative: int | None


def find_labels(prompt: Prompt, tokenizer: PieceTokenizer) -> Labels:
    """The ids of the prompt's answers.

    Raises:
        ModelError: an answer is not a single token, so that no single logit stands for it.
    """
    positive = _single_token(prompt.positive, tokenizer)
    negative = None if prompt.negative is None else _single_token(prompt.negative, tokenizer)
    return Labels(positive, negative)


def _single_token(answer: str, tokenizer: PieceTokenizer) -> int:
    ids = tokenizer.encode(answer, trusted=True)
    bare = tokenizer.number(answer)
    if len(ids) != 1 and bare is not None:
        # SentencePiece puts a space before every text; the answer follows the prompt without one.
        return bare
    if len(ids) != 1:
        raise ModelError(
            f"the answer {answer!r} is {len(ids)} tokens {ids} in this model's tokenizer, expected 1; "
            "give a prompt with other answers"
        )
    return ids[0]


class PairEncoder:
    """Turns queries and documents into rows of ids.

    The rules of mxbai-rerank 0.1.6: ``max_length`` bounds query and document, the template excluded; the
    query (with its instruction) is cut to three quarters of it, the document to what is left.

    Args:
        prompt: the pieces.
        tokenizer: of the model.
        max_length: most tokens of query, separator and document together.
        model_length: most tokens of a whole row; ``max_length`` is lowered to leave room for the template.
        allow_special_tokens: read control tokens in queries and documents as such, as the reference does.

    Raises:
        ConfigError: ``max_length`` is too small.
        ModelError: the template alone fills the model's context.
    """

    def __init__(
        self,
        prompt: Prompt,
        tokenizer: PieceTokenizer,
        max_length: int,
        model_length: int,
        allow_special_tokens: bool = False,
    ) -> None:
        if isinstance(max_length, bool) or not isinstance(max_length, int) or max_length < _LEAST_LENGTH:
            raise ConfigError(f"max_length must be an int of at least {_LEAST_LENGTH}, found {max_length!r}")
        self.prompt, self.tokenizer, self.trusted = prompt, tokenizer, allow_special_tokens
        self.prefix = tokenizer.encode(prompt.prefix, trusted=True)
        self.separator = tokenizer.encode(prompt.separator, trusted=True)
        task = tokenizer.encode(prompt.task, trusted=True)
        suffix = tokenizer.encode(prompt.suffix, trusted=True)
        self.tail = [*(self.separator if prompt.task else []), *task, *suffix]
        self.template_length = len(self.prefix) + len(self.tail)
        self.model_length = model_length
        self.max_length = min(max_length, model_length - self.template_length)
        if self.max_length < _LEAST_LENGTH:
            raise ModelError(
                f"the prompt's template takes {self.template_length} of the model's {model_length} "
                "positions, which leaves no room for a query and a document"
            )

    def head(self, query: str, instruction: str | None) -> list[int]:
        """Ids before the document: prefix, query with instruction, separator."""
        ids = self.tokenizer.encode(self.prompt.head_text(query, instruction), self.trusted)
        return [*self.prefix, *ids[: self.max_length * 3 // 4], *self.separator]

    def documents(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of documents, uncut."""
        return self.tokenizer.encode_documents(
            [self.prompt.document_text(text) for text in texts], self.trusted
        )

    def room(self, head: Sequence[int]) -> int:
        """Most document tokens that fit after a head."""
        return max(0, self.max_length - (len(head) - len(self.prefix)))

    def row(self, head: Sequence[int], document: Sequence[int]) -> list[int]:
        """The whole row for one document."""
        return [*head, *document[: self.room(head)], *self.tail]
