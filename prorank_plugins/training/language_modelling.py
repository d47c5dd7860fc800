"""Continue a model as a causal language model on plain text, before it is taught to rerank.

For a base that was not made to predict the next token, such as an encoder that is turned into a decoder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.config import StepReport, TrainingConfig, check_count
from prorank_plugins.training.loop import Begun, Run
from prorank_plugins.training.model import TrainableModel, open_model


@dataclass(frozen=True, kw_only=True)
class LanguageModellingConfig(TrainingConfig):
    """Settings of `continue_language_model`; those of `TrainingConfig` and more.

    Attributes:
        window: tokens of a row, at least 2.
        begin_with: a token that every row begins with, such as ``"[CLS]"``; None for none.
    """

    window: int = 128
    begin_with: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("window", self.window)
        if self.window < 2:
            raise ConfigError("a window of 1 token has no next token to predict; give at least 2")


def continue_language_model(
    model: Any, texts: Iterable[str], config: LanguageModellingConfig | None = None
) -> Iterator[StepReport]:
    """Train a model to predict the next token of texts.

    A generator like `warm_up`, which goes on with the trained model.

    Args:
        model: a folder, a hub name, a `ProRankReranker` or a `TrainableModel` from `open_model`.
        texts: long texts; each is cut into windows, and what is left at its end is left out.
        config: settings; None for the defaults.

    Raises:
        ConfigError: settings that cannot be, or no text as long as a window.
        ModelError: the model cannot be loaded.
        TrainingError: while running: a loss that is not finite, or a disk that is full.
    """
    config = config or LanguageModellingConfig()
    trained = open_model(model, config)
    batches = Windows(trained, texts, config)
    run = Run(trained, config, batches, _NextToken(), "language modelling", batches.fingerprint())
    return run.reports()


class Windows:
    """Endless batches of windows in an order drawn anew in each pass; see `loop.Batches`."""

    def __init__(self, model: TrainableModel, texts: Iterable[str], config: LanguageModellingConfig) -> None:
        tokenizer = model.encoder.tokenizer
        self._first: list[int] = []
        if config.begin_with is not None:
            number = tokenizer.number(config.begin_with)
            if number is None:
                raise ConfigError(f"begin_with={config.begin_with!r} is no token of {model.name}")
            self._first = [number]
        longest = model.encoder.model_length
        if config.window > longest:
            raise ConfigError(f"{model.name} has {longest} positions, fewer than window={config.window}")
        size = config.window - len(self._first)
        windows = []
        for text in texts:
            ids = np.array(tokenizer.encode(text, trusted=False), np.int32)
            windows.append(ids[: len(ids) // size * size].reshape(-1, size))
        self._windows = np.concatenate(windows) if windows else np.empty((0, size), np.int32)
        if not len(self._windows):
            raise ConfigError(f"no text has {size} tokens; lower window, or join the texts")
        self._seed, self._batch_size = config.seed, config.batch_size
        self._pass, self._place = 0, 0

    def __next__(self) -> list[list[int]]:
        """The next batch of rows."""
        rows: list[list[int]] = []
        while len(rows) < self._batch_size:
            order = np.random.default_rng((self._seed, self._pass)).permutation(len(self._windows))
            taken = order[self._place : self._place + self._batch_size - len(rows)]
            rows += [[*self._first, *window.tolist()] for window in self._windows[taken]]
            self._place += len(taken)
            if self._place == len(order):
                self._pass, self._place = self._pass + 1, 0
        return rows

    def state(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"pass": self._pass, "place": self._place}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was taken."""
        self._pass, self._place = int(state["pass"]), int(state["place"])

    def fingerprint(self) -> str:
        """Tells this text from other text."""
        return hashlib.sha256(self._windows.tobytes()).hexdigest()


class _NextToken:
    """Cross-entropy of each next token; an `Objective`."""

    passes = 1
    whole = False

    def begin(self, model: TrainableModel, items: Sequence[list[int]]) -> Begun:
        return {"rows": list(items)}

    def sizes(self, begun: Begun) -> list[int]:
        return [len(row) for row in begun["rows"]]

    def loss(self, model: TrainableModel, begun: Begun) -> tuple[torch.Tensor, dict[str, float]]:
        ids = torch.tensor(begun["rows"], device=model.device)
        logits = model.network.everywhere(ids)[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        return loss, {"perplexity": float(loss.detach().exp())}
