"""The prompt as data: pieces of text that are tokenised apart and joined as ids.

Joining text first gives other tokens: byte-level BPE merges a full stop with the line break after it.
The released ProRank weights were run with the pieces apart, and so they are here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from prorank_plugins.core.errors import ConfigError


@dataclass(frozen=True)
class Prompt:
    """What a model is asked about a query and a document, and which answers mean what.

    The row of ids is ``prefix · head · separator · document · separator · task · suffix``, where the head is
    the instruction (if any), the separator and the query as one piece of text. ``·`` joins ids.

    Attributes:
        prefix: everything before the pair, chat markup included.
        suffix: everything after the task; the answer is the next token.
        task: the question, after the document; empty for prompts that ask before it.
        query, document, instruction: templates with one ``{query}``, ``{document}``, ``{instruction}`` each.
        separator: between the pieces, a line break.
        default_instruction: used when the caller gives none.
        positive: the answer that means relevant; one token.
        negative: the answer that means not relevant; None scores by the positive answer alone.
    """

    prefix: str
    suffix: str
    task: str
    query: str = "query: {query}"
    document: str = "document: {document}"
    instruction: str = "instruction: {instruction}"
    separator: str = "\n"
    default_instruction: str | None = None
    positive: str = "1"
    negative: str | None = "0"

    def __post_init__(self) -> None:
        for name in ("query", "document", "instruction"):
            template = getattr(self, name)
            if not isinstance(template, str) or template.count("{" + name + "}") != 1:
                raise ConfigError(f"the template {name}={template!r} must hold {{{name}}} exactly once")
        if not self.positive or self.positive == self.negative:
            raise ConfigError(
                f"the answers {self.positive!r} and {self.negative!r} must differ and not be empty"
            )

    def head_text(self, query: str, instruction: str | None) -> str:
        """Instruction and query as one text."""
        text = _fill(self.query, "query", query)
        instruction = instruction or self.default_instruction
        if not instruction:
            return text
        return _fill(self.instruction, "instruction", instruction) + self.separator + text

    def document_text(self, document: str) -> str:
        """The document in its template."""
        return _fill(self.document, "document", document)

    def to_json(self) -> dict[str, Any]:
        """The prompt as JSON data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Prompt:
        """The prompt that `to_json` wrote.

        Raises:
            ConfigError: a field is missing, unknown or no text.
        """
        if not isinstance(data, Mapping):
            raise ConfigError(f"a prompt is an object of named texts, found {type(data).__name__}")
        known = {field.name for field in fields(cls)}
        if unknown := sorted(set(data) - known):
            raise ConfigError(
                f"a prompt has no field {unknown[0]!r}; its fields are {', '.join(sorted(known))}"
            )
        texts = {
            n: v for n, v in data.items() if v is not None or n not in ("default_instruction", "negative")
        }
        if wrong := [name for name, value in texts.items() if not isinstance(value, str)]:
            raise ConfigError(f"the prompt's {wrong[0]} must be text, found {type(data[wrong[0]]).__name__}")
        try:
            return cls(**data)
        except TypeError as error:
            raise ConfigError(f"the prompt is incomplete ({error})") from error


def _fill(template: str, name: str, value: str) -> str:
    # Not str.format: braces elsewhere in a template of the user's stay what they are.
    return template.replace("{" + name + "}", value)


PRORANK = Prompt(
    prefix=(
        "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\n"
    ),
    task=(
        "You are a search relevance expert who evaluates how well documents match search queries. For each "
        "query-document pair, carefully analyze the semantic relationship between them, then provide your "
        "binary relevance judgment (0 for not relevant, 1 for relevant).\nRelevance:"
    ),
    suffix="<|im_end|>\n<|im_start|>assistant\n",
)
"""The prompt of mixedbread-ai/mxbai-rerank-base-v2 and -large-v2."""

QWEN3_RERANKER = Prompt(
    prefix=(
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the "
        'Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
    ),
    task="",
    suffix="<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n",
    query="<Query>: {query}",
    document="<Document>: {document}",
    instruction="<Instruct>: {instruction}",
    default_instruction="Given a web search query, retrieve relevant passages that answer the query",
    positive="yes",
    negative="no",
)
"""The prompt of the Qwen3-Reranker models."""

BGE_GEMMA = Prompt(
    prefix="<bos>",
    task=(
        "Given a query A and a passage B, determine whether the passage contains an answer to the query by "
        "providing a prediction of either 'Yes' or 'No'."
    ),
    suffix="",
    query="A: {query}",
    document="B: {document}",
    positive="Yes",
    negative=None,
)
"""The prompt of BAAI/bge-reranker-v2-gemma, scored by the logit of "Yes" alone."""

PRESETS = {"prorank": PRORANK, "qwen3-reranker": QWEN3_RERANKER, "bge-gemma": BGE_GEMMA}


def preset_for(name: str) -> Prompt:
    """The prompt that a model's name asks for; ProRank's where nothing else is known."""
    lowered = name.lower()
    if "qwen3-reranker" in lowered:
        return QWEN3_RERANKER
    if "bge-reranker" in lowered and "gemma" in lowered:
        return BGE_GEMMA
    return PRORANK
