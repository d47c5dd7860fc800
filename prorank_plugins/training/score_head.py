"""A reranker as a sequence classifier with one output: the score as a linear layer.

``logit("1") - logit("0") = h · (W["1"] - W["0"])`` where the output embedding W is all there is after the
last state h. The model is asked whether that is so: the classifier must give the language model's scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from prorank_plugins.core.errors import ConfigError, ModelError
from prorank_plugins.core.extras import require
from prorank_plugins.rerank.causal_lm import load_causal_lm
from prorank_plugins.training.export_source import Source, write_config, write_tokenizer, write_weights

_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_PROBES = (("capital of France", "Paris is the capital of France."), ("fruit", "bananas"), ("?", ""))
_TOLERANCE = 1e-4


def write_classifier(source: Source, folder: Path) -> None:
    """Write the model of ``source`` as transformers' ``...ForSequenceClassification`` with one label.

    Raises:
        ConfigError: the family has no such class, or its score is not linear in the last state.
    """
    names = require("transformers.models.auto.modeling_auto", "train", "An export")
    family = source.config.get("model_type")
    architecture = names.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.get(family)
    if architecture is None:
        raise ConfigError(f"transformers has no sequence classifier for {family!r} models")
    padding = source.encoder.tokenizer.number(source.special_tokens()["pad_token"])
    if source.encoder.tail[-1:] == [padding]:
        raise ConfigError(
            "the padding token is the prompt's last token, at which the score is read; give the model "
            "another pad_token"
        )
    dtype = write_weights(_with_score(source), folder)
    write_config(
        source, folder, dtype,
        architectures=[architecture], pad_token_id=padding,
        id2label={"0": "LABEL_0"}, label2id={"LABEL_0": 0},
    )  # fmt: skip
    write_tokenizer(source, folder, source.encoder.model_length)
    _check(source, folder, architecture)


def _with_score(source: Source) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights with a ``score`` of one row in place of the output embedding."""
    head: torch.Tensor | None = None
    for name, tensor in source.tensors():
        if name == _HEAD or (name == _EMBEDDING and head is None):
            head = tensor
        if name != _HEAD:
            yield name, tensor
    if head is None:
        raise _not_linear(source, f"its weights hold no {_EMBEDDING}")
    row = head[source.labels.positive].float().clone()
    if source.labels.negative is not None:
        row = row - head[source.labels.negative].float()
    # Not rounded to the type of the others: the difference of two close rows would lose most of its digits.
    yield "score.weight", row[None]


@torch.no_grad()
def _check(source: Source, folder: Path, architecture: str) -> None:
    """Compare the scores of the classifier with those of the language model."""
    library = require("transformers", "train", "An export")
    rows = []
    for query, document in _PROBES:
        (ids,) = source.encoder.documents([document])
        rows.append(source.encoder.row(source.encoder.head(query, None), ids))
    model: Any = load_causal_lm(source.folder, torch.float32, torch.device("cpu"))
    logits = _last(model, rows)
    expected = logits[:, source.labels.positive]
    if source.labels.negative is not None:
        expected = expected - logits[:, source.labels.negative]
    del model
    try:
        model, report = library.AutoModelForSequenceClassification.from_pretrained(
            str(folder), dtype=torch.float32, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"transformers cannot load {architecture} ({error})") from error
    if missing := sorted(report["missing_keys"]):
        raise _not_linear(source, f"{architecture} has {missing[0]}")
    found = torch.cat([model.eval()(input_ids=torch.tensor([row])).logits[:, 0] for row in rows])
    difference = float((found - expected).abs().max())
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise _not_linear(source, f"{architecture} gives scores that differ by {difference:.2g}")


def _last(model: Any, rows: Sequence[Sequence[int]]) -> torch.Tensor:
    """(n_rows, vocabulary) logits after each row."""
    return torch.stack([model(input_ids=torch.tensor([row]), use_cache=False).logits[0, -1] for row in rows])


def _not_linear(source: Source, reason: str) -> ConfigError:
    return ConfigError(
        f"the score of a {source.config.get('model_type')!r} model is not a linear layer on its last state "
        f"({reason}); it cannot become a sequence classifier. Use it with this package, or try "
        "sentence-transformers"
    )
