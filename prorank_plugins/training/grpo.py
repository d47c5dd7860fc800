"""Losses of the warm-up, for answers of one token: GRPO from drawn answers, its exact limit, and baselines.

The policy is one row of logits a prompt. GRPO (Shao et al., "DeepSeekMath", 2024) draws a group of G answers
a prompt and raises the log-probability of those that earned more than their group. With one-token answers
all G come from the same row, so a group costs one forward pass instead of G, and every length normalisation
of the GRPO family (grpo, bnpo, dapo, dr_grpo) is the same number.

The row also *is* the distribution of rewards: as G grows, the loss of the group tends to `exact_loss`, which
draws nothing. Finite groups differ from it in expectation too, not only by noise: a group whose answers all
earned the same has no gradient, which is frequent once a prompt is nearly decided.

Shapes: n prompts, G answers drawn for each, V tokens. Judgements index the columns of a reward table: 0, 1,
and 2 for every other token. A prompt with a positive answer only has two judgements: each token that is not
its answer is judgement 0 (so the format reward is constant there) and the third column has probability 0.

Temperature divides the logits before the softmax, in draws and losses alike: the policy that is improved is
the one that answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.encoding import Labels

Scale: TypeAlias = Literal["group", "batch", "none"]
"""What advantages are divided by; Dr. GRPO (Liu et al., 2025) is ``"none"``."""

_MOST_LOG_RATIO = 20.0
"""Bound on log-ratios: beyond it exp overflows soon and 0 · inf would make every gradient NaN."""


class PolicyLoss(NamedTuple):
    """A loss, and how often clipping took its gradient away.

    Attributes:
        loss: scalar with gradient.
        clip_share: scalar in [0, 1] without gradient; 0 while the policy is the one that answered.
    """

    loss: torch.Tensor
    clip_share: torch.Tensor


# The policy


def token_log_probs(logits: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
    """(n, V) log-probabilities ``log softmax(logits / temperature)`` in float32 or wider.

    Raises:
        ConfigError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ConfigError(f"temperature is {temperature}, expected a number above 0")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return torch.log_softmax(wide / temperature, dim=-1)


def judgement_log_probs(logits: torch.Tensor, labels: Labels, temperature: float = 1.0) -> torch.Tensor:
    """(n, 3) log-probabilities of the judgements 0, 1 and None.

    The sum over other tokens is taken on the logits: ``1 - p0 - p1`` would be rounding noise once the model
    has learned the format. A probability of 0 has the lowest finite float as logarithm.

    Args:
        logits: (n, V).
        labels: ids of the prompt's answers.
        temperature: divides the logits.
    """
    log_probs = token_log_probs(logits, temperature)
    lowest = torch.finfo(log_probs.dtype).min
    positive = log_probs[:, labels.positive]
    answers = [labels.positive] if labels.negative is None else [labels.positive, labels.negative]
    ids = torch.tensor(answers, device=logits.device)
    others = log_probs.index_fill(1, ids, lowest).logsumexp(1)
    if labels.negative is None:
        return torch.stack([others, positive, torch.full_like(positive, lowest)], dim=1)
    return torch.stack([log_probs[:, labels.negative], positive, others], dim=1)


def draw_answers(
    logits: torch.Tensor,
    group_size: int,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> torch.Tensor:
    """(n, group_size) token ids drawn with replacement from ``softmax(logits / temperature)``.

    Args:
        logits: (n, V), one row a prompt.
        group_size: G, answers a prompt.
        generator: source of randomness on the logits' device; the same state draws the same answers.
        temperature: divides the logits.

    Raises:
        ConfigError: a group size below 1 or a temperature that is not above 0.
    """
    if group_size < 1:
        raise ConfigError(f"group_size is {group_size}, expected at least 1 (2 or more to learn anything)")
    probabilities = token_log_probs(logits.detach(), temperature).exp()
    return torch.multinomial(probabilities, group_size, replacement=True, generator=generator)


def answer_log_probs(log_probs: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """(n, G) log-probabilities of the drawn tokens ``ids`` out of (n, V) ``log_probs``."""
    return log_probs.gather(1, ids)


def judgement_of(ids: torch.Tensor, labels: Labels) -> torch.Tensor:
    """(n, G) judgements of tokens as columns of a reward table: 0, 1, or 2 for every other token."""
    other = torch.full_like(ids, 0 if labels.negative is None else 2)
    judgements = other.masked_fill(ids == labels.positive, 1)
    if labels.negative is not None:
        judgements = judgements.masked_fill(ids == labels.negative, 0)
    return judgements


# GRPO on drawn answers


def advantages(rewards: torch.Tensor, scale: Scale = "group", eps: float = 1e-4) -> torch.Tensor:
    """``A = (r - mean of the group) / (std + eps)``, without gradient.

    The deviation divides by G - 1 (``"group"``) or nG - 1 (``"batch"``, around the mean of the batch), as TRL
    1.16 does; where that is nothing to divide by, it counts as 0. Groups of equal rewards get 0.

    Args:
        rewards: (n, G).
        scale: divide by the group's deviation, by the batch's, or by nothing.
        eps: added to the deviation; TRL's value.

    Raises:
        ConfigError: an unknown scale.
    """
    rewards = rewards.detach()
    centred = rewards - rewards.mean(1, keepdim=True)
    # The mean of equal numbers may differ from them by rounding, which eps alone would blow up.
    centred = centred.masked_fill(has_equal_rewards(rewards)[:, None], 0.0)
    if _checked(scale) == "none":
        return centred
    if scale == "group":
        return centred / (_sample_std(rewards) + eps)
    return centred / (_sample_std(rewards.flatten()[None]) + eps)


def has_equal_rewards(rewards: torch.Tensor) -> torch.Tensor:
    """(n,) bool: groups in which every answer earned the same, which teach nothing."""
    return rewards.amax(1) == rewards.amin(1)


def group_loss(
    log_probs: torch.Tensor,
    old_log_probs: torch.Tensor,
    advantages: torch.Tensor,
    clip_eps: float = 0.2,
) -> PolicyLoss:
    """``-mean min(ρ·A, clip(ρ, 1 - ε, 1 + ε)·A)`` with ``ρ = p / p_old`` of each drawn answer.

    Args:
        log_probs: (n, G) of the drawn answers under the policy, with gradient.
        old_log_probs: (n, G) of the same answers when they were drawn; its detached self on the first pass.
        advantages: (n, G).
        clip_eps: ε.

    Returns:
        The loss and the share of answers whose gradient the clip removed. ρ itself is held below e^20.
    """
    weights = advantages.detach()
    log_ratio = log_probs - old_log_probs.detach()
    ratio = log_ratio.clamp(max=_MOST_LOG_RATIO).exp()
    loss = -torch.minimum(ratio * weights, ratio.clamp(1 - clip_eps, 1 + clip_eps) * weights).mean()
    return PolicyLoss(loss, _is_clipped(ratio.detach(), weights, clip_eps).float().mean())


def sampled_kl(log_probs: torch.Tensor, ref_log_probs: torch.Tensor) -> torch.Tensor:
    """(n, G) estimates ``q/p - log(q/p) - 1`` of KL(p‖q) from answers drawn from p, each at least 0.

    "k3" of Schulman ("Approximating KL divergence", 2020), what GRPO and TRL penalise. `kl_divergence` is
    its expectation and costs nothing more here.

    Args:
        log_probs: (n, G) log p of the drawn answers, with gradient.
        ref_log_probs: (n, G) log q of the same answers.
    """
    log_ratio = (ref_log_probs.detach() - log_probs).clamp(max=_MOST_LOG_RATIO)
    return log_ratio.exp() - log_ratio - 1


# Without drawing


def expected_rewards(log_probs: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``μ = Σ_a p(a)·r(a)`` and standard deviation of the reward, both (n,), without gradient.

    Args:
        log_probs: (n, 3) of the judgements.
        table: (n, 3) what each earns.
    """
    probabilities = log_probs.detach().exp()
    mean = (probabilities * table).sum(1)
    # Around the mean, not E r² - μ²: that difference is rounding noise for a decided prompt.
    variance = (probabilities * (table - mean[:, None]) ** 2).sum(1)
    return mean, variance.sqrt()


def expected_advantages(
    log_probs: torch.Tensor, table: torch.Tensor, scale: Scale = "group", eps: float = 1e-4
) -> torch.Tensor:
    """(n, 3) advantage of each judgement: `advantages` of an infinite group.

    Args:
        log_probs: (n, 3) of the judgements under the policy that answers.
        table: (n, 3) what each earns.
        scale: see `advantages`; the batch's deviation includes how much prompts differ in μ.
        eps: added to the deviation.

    Raises:
        ConfigError: an unknown scale.
    """
    mean, std = expected_rewards(log_probs, table)
    centred = table - mean[:, None]
    if _checked(scale) == "none":
        return centred
    if scale == "group":
        return centred / (std[:, None] + eps)
    return centred / (_batch_std(mean, std) + eps)


def exact_loss(
    logits: torch.Tensor,
    labels: Labels,
    table: torch.Tensor,
    scale: Scale = "group",
    *,
    eps: float = 1e-4,
    temperature: float = 1.0,
    old_log_probs: torch.Tensor | None = None,
    clip_eps: float = 0.2,
) -> PolicyLoss:
    """``-Σ_a p(a)·A(a)`` over the three judgements, mean over prompts: GRPO as G → ∞.

    A comes from the policy that answered and carries no gradient. With the accuracy reward alone and the
    group's deviation it is gradient ascent on ``2·arcsin(√p_y)`` (up to eps), between REINFORCE (p_y) and
    cross-entropy (log p_y).

    With ``old_log_probs`` it is the expectation of the clipped objective, ``-Σ_a p_old·min(ρ·A, clip(ρ)·A)``,
    with ρ of whole judgements: tokens outside the set share one ratio, in a group each has its own.

    Args:
        logits: (n, V) with gradient.
        labels: ids of the prompt's answers.
        table: (n, 3) what each judgement earns.
        scale: see `advantages`.
        eps: added to the deviation.
        temperature: divides the logits.
        old_log_probs: (n, 3) `judgement_log_probs` of the policy that answered, when it is not this one.
        clip_eps: ε.

    Returns:
        The loss (0 in value while the policy is the one that answered; its gradient is not) and the share of
        the old policy's answers whose gradient the clip removed.

    Raises:
        ConfigError: an unknown scale or a temperature that is not above 0.
    """
    log_probs = judgement_log_probs(logits, labels, temperature)
    old = (log_probs if old_log_probs is None else old_log_probs).detach()
    weights = expected_advantages(old, table, scale, eps)
    # p_old·min(ρA, clip(ρ)A) with p_old multiplied in, so that no ratio is formed that could overflow.
    now, before = log_probs.exp(), old.exp()
    kept = torch.clamp(now, before * (1 - clip_eps), before * (1 + clip_eps))
    loss = -torch.minimum(now * weights, kept * weights).sum(1).mean()
    ratio = (log_probs.detach() - old).exp()
    clipped = (_is_clipped(ratio, weights, clip_eps) * before).sum(1).mean()
    return PolicyLoss(loss, clipped)


def kl_divergence(log_probs: torch.Tensor, ref_log_probs: torch.Tensor) -> torch.Tensor:
    """(n,) ``KL(p‖q) = Σ_v p(v)·(log p(v) - log q(v))`` in nats, over the whole vocabulary.

    Args:
        log_probs: (n, V) log p, with gradient.
        ref_log_probs: (n, V) log q of the model that training started from.
    """
    return (log_probs.exp() * (log_probs - ref_log_probs.detach())).sum(1)


# What warm-up is compared with


def reinforce_loss(log_probs: torch.Tensor, rewards: torch.Tensor, baseline: bool = True) -> torch.Tensor:
    """``-mean (r - b)·log p`` over drawn answers (Williams, 1992).

    With the group's mean as b the gradient is that of `group_loss` with scale ``"none"``. As the mean
    contains the answer itself, its expectation is (1 - 1/G) times the gradient of the expected reward.

    Args:
        log_probs: (n, G) of the drawn answers, with gradient.
        rewards: (n, G).
        baseline: subtract the group's mean; without it b = 0.
    """
    weights = advantages(rewards, "none") if baseline else rewards.detach()
    return -(weights * log_probs).mean()


def sft_loss(logits: torch.Tensor, labels: Labels, truth: torch.Tensor) -> torch.Tensor:
    """Mean ``-log p(correct answer)`` in nats, over the whole vocabulary: supervised fine-tuning.

    A prompt with a positive answer only has no token to imitate for label 0: every other token is correct.

    Args:
        logits: (n, V) with gradient.
        labels: ids of the prompt's answers.
        truth: (n,) 1 for relevant and 0 for not, int64.
    """
    correct = judgement_log_probs(logits, labels).gather(1, truth[:, None])
    return -correct.mean()


# What to watch


def warmup_metrics(
    logits: torch.Tensor,
    labels: Labels,
    truth: torch.Tensor,
    table: torch.Tensor,
    by_function: Mapping[str, torch.Tensor],
    *,
    ids: torch.Tensor | None = None,
    temperature: float = 1.0,
    kl: torch.Tensor | None = None,
    clip_share: torch.Tensor | float = 0.0,
) -> dict[str, float]:
    """Plain numbers about one step, under the names that TRL uses where it has them.

    * ``reward``, ``reward_std``, ``rewards/<name>/mean``: total and by function (without weight); of the
      drawn answers (the deviation over their number - 1), or in expectation if none were drawn.
    * ``frac_reward_zero_std``: share of prompts whose rewards do not vary.
    * ``format_rate``: mean p(0) + p(1) of the model at temperature 1.
    * ``accuracy``: share of prompts whose likelier answer of the set is the label; a tie is an error.
    * ``sampled_accuracy``: share of drawn answers that equal the label, or its expectation.
    * ``entropy``: of the row that answers are drawn from, in nats.
    * ``kl``, if given, and ``clip_ratio/region_mean``.

    Args:
        logits: (n, V).
        labels: ids of the prompt's answers.
        truth: (n,) 1 for relevant and 0 for not, int64.
        table: (n, 3) weighted rewards.
        by_function: name → (n, 3).
        ids: (n, G) drawn tokens, None for the exact loss.
        temperature: of the draws.
        kl: KL from the reference model, any shape.
        clip_share: of the loss.
    """
    with torch.no_grad():
        rows = token_log_probs(logits, temperature)
        plain = judgement_log_probs(logits, labels).exp()
        correct = torch.nn.functional.one_hot(truth, 3).float()
        if ids is None:
            answers = judgement_log_probs(logits, labels, temperature)
            mean, std = expected_rewards(answers, table)
            still, reward_std = torch.isclose(std, torch.zeros_like(std)), _batch_std(mean, std)
            shares = answers.exp()
        else:
            judgements = judgement_of(ids, labels)
            rewards = table.gather(1, judgements)
            still, reward_std = has_equal_rewards(rewards), _sample_std(rewards.flatten()[None]).squeeze()
            shares = torch.nn.functional.one_hot(judgements, 3).float().mean(1)
        values = {
            "reward": (shares * table).sum(1).mean(),
            "reward_std": reward_std,
            **{f"rewards/{name}/mean": (shares * t).sum(1).mean() for name, t in by_function.items()},
            "frac_reward_zero_std": still.float().mean(),
            "format_rate": plain[:, :2].sum(1).mean(),
            "accuracy": (plain.gather(1, truth[:, None]) > plain.gather(1, 1 - truth[:, None]))
            .float()
            .mean(),
            "sampled_accuracy": (shares * correct).sum(1).mean(),
            "entropy": torch.special.entr(rows.exp()).sum(1).mean(),
        }
        if kl is not None:
            values["kl"] = kl.mean()
    # One transfer from the device instead of one a number.
    numbers = torch.stack(list(values.values())).tolist()
    return dict(zip(values, numbers, strict=True)) | {"clip_ratio/region_mean": float(clip_share)}


def _checked(scale: Scale) -> Scale:
    if scale not in get_args(Scale):
        raise ConfigError(f"unknown scale {scale!r}; expected one of {', '.join(get_args(Scale))}")
    return scale


def _batch_std(mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Deviation over a batch of (n,) prompts' rewards: within prompts and between them."""
    return (std.square() + (mean - mean.mean()).square()).mean().sqrt()


def _sample_std(rewards: torch.Tensor) -> torch.Tensor:
    """(n, 1) deviation of each row over its length - 1; 0 for a single number."""
    if rewards.shape[1] < 2:
        return torch.zeros_like(rewards[:, :1])
    return rewards.std(1, correction=1, keepdim=True)


def _is_clipped(ratio: torch.Tensor, weights: torch.Tensor, clip_eps: float) -> torch.Tensor:
    """Where the minimum takes the clipped term: ρ has already moved further than ε the way A pushes."""
    return ((ratio < 1 - clip_eps) & (weights < 0)) | ((ratio > 1 + clip_eps) & (weights > 0))
