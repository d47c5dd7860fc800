"""Stage 1, prompt warm-up: GRPO teaches the model to answer a prompt in its terms, and correctly.

Li et al., arXiv:2506.03487: "steers SLMs to understand task prompts and generate more accurate
coarse-grained binary relevance scores", by a format and an accuracy reward. The paper's weights, group size
and learning rates are not known to us; the defaults are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch

from prorank_plugins.training import grpo
from prorank_plugins.training.config import StepReport
from prorank_plugins.training.examples import RankingGroup, RelevanceExample
from prorank_plugins.training.fingerprint import data_fingerprint
from prorank_plugins.training.loop import Begun, Run
from prorank_plugins.training.model import TrainableModel, open_model
from prorank_plugins.training.rewards import reward_table
from prorank_plugins.training.sampling import BalancedBatches
from prorank_plugins.training.validation import Validation
from prorank_plugins.training.warmup_config import WarmupConfig


def warm_up(
    model: Any,
    examples: Iterable[RelevanceExample],
    config: WarmupConfig | None = None,
    *,
    dev: Sequence[RankingGroup] | None = None,
) -> Iterator[StepReport]:
    """Train a model to answer relevance questions in the prompt's terms.

    A generator: nothing happens before the first report is asked for, except that arguments are checked
    and the model is loaded; training ends with the last report or when no more are asked for. What is
    trained ends up in ``config.output_dir``; a `TrainableModel` is trained in place.

    Args:
        model: a folder, a hub name, a `ProRankReranker` or a `TrainableModel` from `open_model`.
        examples: judged pairs; a list, or anything that can be read again and again.
        config: settings; None for the defaults.
        dev: groups to measure nDCG@10 on every ``evaluate_every`` steps.

    Returns:
        one `StepReport` a step, with ``reward``, ``format_rate``, ``accuracy``, ``kl``, ``entropy``,
        ``frac_reward_zero_std`` and more; see `prorank_plugins.training.grpo.warmup_metrics`.

    Raises:
        ConfigError: settings or examples that cannot be.
        ModelError: the model cannot be loaded, or lacks the answers as single tokens.
        TrainingError: while running: a loss that is not finite, or a disk that is full.
    """
    config = config or WarmupConfig()
    batches = BalancedBatches(examples, config.batch_size, config.balance, config.seed)
    trained = open_model(model, config)
    objective = _Warmup(trained, config)
    validation = None if dev is None else Validation(dev)
    run = Run(trained, config, batches, objective, "warm-up", data_fingerprint(examples), validation)
    return run.reports()


class _Warmup:
    """The loss of stage 1; an `Objective`."""

    def __init__(self, model: TrainableModel, config: WarmupConfig) -> None:
        self._config = config
        self.passes = config.iterations
        self.whole = config.scale_rewards == "batch" and config.loss == "grpo"
        self._reference = model.reference() if config.kl_beta > 0 else None

    def begin(self, model: TrainableModel, items: Sequence[RelevanceExample]) -> Begun:
        rows = [model.rows(example.query, [example.document])[0] for example in items]
        table = reward_table(items, self._config.rewards)
        begun: dict[str, Any] = {
            "rows": rows,
            "truth": torch.tensor([example.label for example in items], device=model.device),
            "table": table.total.to(model.device),
            **{f"reward {name}": value.to(model.device) for name, value in table.by_function.items()},
        }
        if self.passes > 1:
            begun |= self._answers(model, begun)
        return begun

    def sizes(self, begun: Begun) -> list[int]:
        return [len(row) for row in begun["rows"]]

    @torch.no_grad()
    def _answers(self, model: TrainableModel, begun: Begun) -> dict[str, Any]:
        """What the policy answers before its first step on this batch."""
        logits, config = model.logits(begun["rows"]), self._config
        if config.estimator == "exact":
            return {"old": grpo.judgement_log_probs(logits, model.labels, config.temperature)}
        ids = grpo.draw_answers(logits, config.group_size, None, config.temperature)
        rows = grpo.token_log_probs(logits, config.temperature)
        return {"ids": ids, "old": grpo.answer_log_probs(rows, ids)}

    def loss(self, model: TrainableModel, begun: Begun) -> tuple[torch.Tensor, dict[str, float]]:
        config, labels = self._config, model.labels
        logits = model.logits(begun["rows"])
        log_probs = grpo.token_log_probs(logits, config.temperature)
        ids = begun.get("ids")
        if ids is None and config.estimator == "group" and config.loss != "sft":
            ids = grpo.draw_answers(logits.detach(), config.group_size, None, config.temperature)
        policy = self._policy_loss(logits, log_probs, labels, begun, ids)
        loss, kl = policy.loss, None
        if self._reference is not None:
            # At the temperature of the policy, as TRL has it.
            reference = grpo.token_log_probs(self._reference(begun["rows"]), config.temperature)
            kl = grpo.kl_divergence(log_probs, reference)
            loss = loss + config.kl_beta * kl.mean()
        names = [name for name in begun if name.startswith("reward ")]
        by_function = {name.removeprefix("reward "): begun[name] for name in names}
        metrics = grpo.warmup_metrics(
            logits, labels, begun["truth"], begun["table"], by_function,
            ids=ids, temperature=config.temperature, kl=kl, clip_share=policy.clip_share,
        )  # fmt: skip
        return loss, metrics

    def _policy_loss(
        self, logits: torch.Tensor, log_probs: torch.Tensor, labels: Any, begun: Begun, ids: Any
    ) -> grpo.PolicyLoss:
        config, table = self._config, begun["table"]
        if config.loss == "sft":
            return _unclipped(grpo.sft_loss(logits, labels, begun["truth"]))
        scale: grpo.Scale = "none" if config.loss == "reinforce" else config.scale_rewards
        if ids is None:
            return grpo.exact_loss(
                logits, labels, table, scale,
                temperature=config.temperature, old_log_probs=begun.get("old"), clip_eps=config.clip_eps,
            )  # fmt: skip
        rewards = table.gather(1, grpo.judgement_of(ids, labels))
        drawn = grpo.answer_log_probs(log_probs, ids)
        if config.loss == "reinforce":
            return _unclipped(grpo.reinforce_loss(drawn, rewards))
        old = begun.get("old", drawn.detach())
        return grpo.group_loss(drawn, old, grpo.advantages(rewards, scale), config.clip_eps)


def _unclipped(loss: torch.Tensor) -> grpo.PolicyLoss:
    return grpo.PolicyLoss(loss, torch.zeros(()))
