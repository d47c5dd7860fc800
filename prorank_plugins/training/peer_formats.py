"""The folders of other libraries, which run the same weights with the same prompt.

They are checked as far as that needs nothing but transformers: the tokens that it sees, the scores of a
classifier.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from pathlib import Path
from typing import Any

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.prompt import PRORANK
from prorank_plugins.training import chat_template
from prorank_plugins.training.export_source import (
    Source,
    write_config,
    write_json,
    write_tokenizer,
    write_weights,
)
from prorank_plugins.training.score_head import write_classifier

_LOG = logging.getLogger(__name__)

_MXBAI_LENGTH = 8192
_PROBE = ("capital of France", "Paris is a city")


def write_mxbai(source: Source, folder: Path) -> None:
    """Write what ``MxbaiRerankV2`` of mxbai-rerank loads.

    Raises:
        ConfigError: the model has another prompt, length, kind of positions or of tokenizer than it allows.
    """
    _refuse_another_prompt(source)
    rope = _rope_type(source, "mxbai-rerank")
    # The library lowers its limit to what fits into max_position_embeddings.
    positions = source.encoder.model_length
    if source.encoder.max_length < min(_MXBAI_LENGTH, positions - source.encoder.template_length):
        if rope != "default":
            raise ConfigError(
                f"mxbai-rerank would read {_MXBAI_LENGTH} tokens, this model's max_length is "
                f"{source.encoder.max_length}, and its positions are scaled ({rope}): set max_length to "
                f"{_MXBAI_LENGTH}"
            )
        positions = source.longest_row
    dtype = write_weights(source.tensors(), folder)
    write_config(source, folder, dtype, max_position_embeddings=positions)
    write_tokenizer(source, folder, positions)
    source.settings.write(folder)
    _check_pieces(source, folder)


def write_sentence_transformers(source: Source, folder: Path) -> None:
    """Write what ``CrossEncoder`` of sentence-transformers loads.

    Raises:
        ConfigError: the model has another kind of positions than it allows.
    """
    _rope_type(source, "sentence-transformers")
    dtype = write_weights(source.tensors(), folder)
    write_config(source, folder, dtype)
    write_tokenizer(source, folder, source.longest_row)
    (folder / chat_template.FILE).write_text(chat_template.chat_template(source.settings.prompt), "utf-8")
    source.settings.write(folder)
    kinds = {
        "": "sentence_transformers.base.modules.transformer.Transformer",
        "1_LogitScore": "sentence_transformers.cross_encoder.modules.logit_score.LogitScore",
    }
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    write_json(modules, folder / "modules.json")
    method = {"method": "forward", "method_output_name": "logits"}
    transformer = {
        "transformer_task": "text-generation", "module_output_name": "causal_logits",
        "modality_config": {"text": method, "message": {**method, "format": "flat"}},
    }  # fmt: skip
    write_json(transformer, folder / "sentence_bert_config.json")
    model: dict[str, Any] = {
        "model_type": "CrossEncoder", "activation_fn": "torch.nn.modules.linear.Identity", "prompts": {},
        "default_prompt_name": None,
    }  # fmt: skip
    write_json(model, folder / "config_sentence_transformers.json")
    answers = {"true_token_id": source.labels.positive, "false_token_id": source.labels.negative}
    (folder / "1_LogitScore").mkdir()
    write_json(answers | {"module_input_name": "causal_logits"}, folder / "1_LogitScore" / "config.json")
    _warn_of_joining(source, folder)


def write_vllm(source: Source, folder: Path) -> None:
    """Write what vLLM serves: a sequence classifier with a chat template.

    Raises:
        ConfigError: see `write_classifier`.
    """
    write_classifier(source, folder)
    (folder / chat_template.FILE).write_text(chat_template.chat_template(source.settings.prompt), "utf-8")
    _warn_of_joining(source, folder)


def _refuse_another_prompt(source: Source) -> None:
    differing = [
        field.name
        for field in fields(PRORANK)
        if getattr(PRORANK, field.name) != getattr(source.settings.prompt, field.name)
    ]
    if differing:
        raise ConfigError(
            f"mxbai-rerank has one prompt, and this model's differs in {', '.join(differing)}; train with "
            "the prompt PRORANK, use it with this package, or try sentence-transformers"
        )


def _rope_type(source: Source, peer: str) -> str:
    """How rotary positions are scaled, ``"default"`` for not at all.

    Raises:
        ConfigError: the model has none.
    """
    library = require("transformers", "train", "An export")
    config = library.AutoConfig.from_pretrained(str(source.folder), trust_remote_code=False)
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if not found and not getattr(config, "rope_theta", None):
        raise ConfigError(
            f"{peer} pads on the left and leaves positions to the model; {config.model_type!r} models, "
            "whose positions are not rotary, would count the padding. Use it with this package"
        )
    return str(found.get("rope_type", found.get("type", "default")))


def _tokenizer(folder: Path) -> Any:
    library = require("transformers", "train", "An export")
    return library.AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)


def _check_pieces(source: Source, folder: Path) -> None:
    """Compare the tokens that transformers sees in the pieces with those of this package."""
    theirs, ours, prompt = _tokenizer(folder), source.encoder.tokenizer, source.settings.prompt
    query, document = _PROBE
    pieces = [
        prompt.prefix, prompt.separator, prompt.task, prompt.suffix, prompt.head_text(query, "find it"),
        prompt.document_text(document),
    ]  # fmt: skip
    answers = {prompt.positive: source.labels.positive, prompt.negative or "": source.labels.negative}
    same = all(
        theirs(piece, add_special_tokens=False)["input_ids"] == ours.encode(piece, trusted=True)
        for piece in pieces
    )
    if not same or any(
        theirs(text, add_special_tokens=False)["input_ids"][0] != id for text, id in answers.items()
    ):
        raise ConfigError(
            "transformers sees other tokens in this model's prompt than this package does; mxbai-rerank "
            "would give other scores. Export it for sentence-transformers"
        )


def _warn_of_joining(source: Source, folder: Path) -> None:
    """Say so where not even a pair without punctuation has the same tokens joined."""
    query, document = _PROBE
    messages = [{"role": "query", "content": query}, {"role": "document", "content": document}]
    theirs = _tokenizer(folder).apply_chat_template(messages, tokenize=True, return_dict=True)["input_ids"]
    (ids,) = source.encoder.documents([document])
    if list(theirs) != source.encoder.row(source.encoder.head(query, None), ids):
        _LOG.warning(
            "this tokenizer sees other tokens in the joined prompt than in its pieces: scores in the other "
            "library will differ from those of ProRankReranker for all pairs"
        )
