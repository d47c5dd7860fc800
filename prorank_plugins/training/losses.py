"""Losses of score learning, on the padded matrix of a batch's scores.

A score is ``s = logit("1") - logit("0")``. Losses that look at differences inside a group alone
(`contrastive`, `preference`, `ranknet`, `listnet`, `lambda_loss`, `margin_mse`) do not see an offset of the
scores, which therefore drifts; `bce` and `mse` hold it, and mixing some `bce` in keeps 0 the even odds.

Every loss is a function of `ScoredGroups` and the mean over what it compares: documents, pairs or groups, as
each says. A group without anything to compare (equal grades; for `contrastive`, one kind of document only)
is left out; a batch of such groups has loss 0, with a graph, so that a training step goes through.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F

from prorank_plugins.core.errors import ConfigError

_LAMBDA_MU = 10.0
"""Weight of NDCG-Loss2 in NDCG-Loss2++, as in sentence-transformers."""


@dataclass(frozen=True, eq=False)
class ScoredGroups:
    """A batch of queries with their documents: one row a group, padded to the longest.

    What stands at padded places is never read.

    Attributes:
        scores: (n_groups, width) raw scores with gradient; kept in float32 or wider.
        grades: (n_groups, width) judgements, at least 0; above 0 is relevant. Kept in the scores' dtype.
        mask: (n_groups, width) bool, True for documents and False for padding.
        teacher_scores: (n_groups, width) scores of a stronger model, or None. Kept in the scores' dtype.
        temperature: of `contrastive`: divides the scores.
        k: of `lambda_loss`: the cutoff of the nDCG it bounds; None for all documents.

    Raises:
        ConfigError: shapes that differ, a mask that is not bool, a temperature not above 0 or k below 1.
    """

    scores: torch.Tensor
    grades: torch.Tensor
    mask: torch.Tensor
    teacher_scores: torch.Tensor | None = None
    temperature: float = 1.0
    k: int | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.scores.shape)
        if len(shape) != 2:
            raise ConfigError(f"scores have shape {shape}, expected (n_groups, width)")
        if self.mask.dtype != torch.bool:
            raise ConfigError(f"mask is {self.mask.dtype}, expected torch.bool: True for real documents")
        for name in ("mask", "grades", "teacher_scores"):
            values = getattr(self, name)
            if values is not None and values.shape != self.scores.shape:
                raise ConfigError(f"{name} has shape {tuple(values.shape)}, expected that of scores, {shape}")
        dtype = torch.promote_types(self.scores.dtype, torch.float32)
        for name in ("scores", "grades", "teacher_scores"):
            values = getattr(self, name)
            if values is not None:
                object.__setattr__(self, name, values.to(dtype).masked_fill(~self.mask, 0.0))
        if not self.temperature > 0:
            raise ConfigError(f"temperature is {self.temperature}, expected a number above 0")
        if self.k is not None and self.k < 1:
            raise ConfigError(f"k is {self.k}, expected at least 1, or None for all documents")

    @property
    def positives(self) -> torch.Tensor:
        """(n_groups, width) bool: the relevant documents."""
        return self.mask & (self.grades > 0)

    @property
    def negatives(self) -> torch.Tensor:
        """(n_groups, width) bool: the documents that are not relevant."""
        return self.mask & (self.grades <= 0)

    @property
    def preferred(self) -> torch.Tensor:
        """(n_groups, width, width) bool at [g, i, j]: document i has a higher grade than document j."""
        both = self.mask[:, :, None] & self.mask[:, None, :]
        return both & (self.grades[:, :, None] > self.grades[:, None, :])


LossFunction: TypeAlias = Callable[[ScoredGroups], torch.Tensor]
"""A scalar with gradient from a batch of scored groups."""


# One document at a time


def bce(batch: ScoredGroups) -> torch.Tensor:
    """``-mean [y·log σ(s) + (1 - y)·log σ(-s)]`` over documents, with y = 1 for grades above 0.

    Keeps s the log-odds of relevance. The mean is over all documents of the batch, as the
    BinaryCrossEntropyLoss of sentence-transformers takes it.
    """
    losses = F.binary_cross_entropy_with_logits(
        batch.scores, batch.positives.to(batch.scores.dtype), reduction="none"
    )
    return _mean(losses, batch.mask)


def mse(batch: ScoredGroups) -> torch.Tensor:
    """``mean (s - t)²`` over documents, against the teacher's raw scores t.

    Raises:
        ConfigError: the batch has no teacher scores.
    """
    return _mean((batch.scores - _teacher(batch, "mse")).square(), batch.mask)


# One relevant document against the irrelevant ones


def contrastive(batch: ScoredGroups) -> torch.Tensor:
    """InfoNCE: ``-log [e^(s_p/T) / (e^(s_p/T) + Σ_n e^(s_n/T))]`` for each relevant document p of a group.

    n runs over the irrelevant documents of the group, never over its other relevant ones. Mean over the
    relevant documents of a group, then over groups. With one relevant document a group it is the
    MultipleNegativesRankingLoss of sentence-transformers with ``activation_fn=Identity()``,
    ``scale=1 / T``; its defaults (sigmoid, scale 10) are another loss, bounded below by ``log(1 + n·e^-10)``.
    Source: van den Oord et al., "Representation learning with contrastive predictive coding", 2018.
    """
    scores = batch.scores / batch.temperature
    lowest = torch.finfo(scores.dtype).min
    against = scores.masked_fill(~batch.negatives, lowest).logsumexp(1, keepdim=True)
    compared = batch.positives & batch.negatives.any(1, keepdim=True)
    # The lowest float minus a score may overflow where a group has no negatives.
    margins = torch.where(compared, scores - against, 0.0)
    return _mean_of_groups(-F.logsigmoid(margins), compared)


def margin_mse(batch: ScoredGroups) -> torch.Tensor:
    """``mean [(s_i - s_j) - (t_i - t_j)]²`` over pairs of a relevant i and an irrelevant j of a group.

    A group that does not have both gives all its pairs: the teacher's margin needs no judgement. The mean is
    over all pairs of the batch, as the MarginMSELoss of sentence-transformers takes it.
    Source: Hofstätter et al., "Improving efficient neural ranking models with cross-architecture knowledge
    distillation", 2020.

    Raises:
        ConfigError: the batch has no teacher scores.
    """
    errors = batch.scores - _teacher(batch, "margin_mse")
    judged = batch.positives[:, :, None] & batch.negatives[:, None, :]
    every = (batch.mask[:, :, None] & batch.mask[:, None, :]).triu(1)
    pairs = torch.where(judged.any((1, 2), keepdim=True), judged, every)
    return _mean(_differences(errors).square(), pairs)


# Every pair of different grades


def preference(batch: ScoredGroups) -> torch.Tensor:
    """``-mean log σ(s_i - s_j)`` over pairs in which i has the higher grade, in nats.

    The Bradley-Terry likelihood of the observed preferences. Mean over the pairs of a group, then over
    groups: each query counts the same. `ranknet` is the same loss with other conventions; where all groups
    have as many pairs, it is ``preference / ln 2``.
    """
    return _mean_of_groups(-F.logsigmoid(_differences(batch.scores)), batch.preferred)


def ranknet(batch: ScoredGroups) -> torch.Tensor:
    """``-mean log₂ σ(s_i - s_j)`` over all pairs of the batch in which i has the higher grade, in bits.

    With the RankNetLoss of sentence-transformers: the mean is over pairs, so that a group of many pairs
    weighs more. Source: Burges et al., "Learning to rank using gradient descent", ICML 2005.
    """
    return _mean(-F.logsigmoid(_differences(batch.scores)), batch.preferred) / math.log(2)


def lambda_loss(batch: ScoredGroups) -> torch.Tensor:
    """NDCG-Loss2++: ``-mean (ρ_ij + μ·δ_ij)·|G_i - G_j|·log₂ σ(s_i - s_j)`` over pairs, i of higher grade.

    With ranks by score from 1 (ties in the given order) and ``D_r = log₂(1 + r)``:
    ``G = (2^grade - 1) / maxDCG@k``, ``ρ_ij = |1/D_i - 1/D_j|`` and, with ``d = |rank_i - rank_j|``,
    ``δ_ij = |1/D_d - 1/D_(d+1)|``; μ = 10. Only pairs with a document in the top k count. The mean is over
    all pairs of the batch, as the default LambdaLoss of sentence-transformers takes it.
    Source: Wang et al., "The LambdaLoss framework for ranking metric optimization", CIKM 2018.
    """
    pairs, weights = _lambda_weights(batch)
    return _mean(-weights * F.logsigmoid(_differences(batch.scores)), pairs) / math.log(2)


@torch.no_grad()
def _lambda_weights(batch: ScoredGroups) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs in reach of the top k and their weights, both (n_groups, width, width)."""
    width = batch.scores.shape[1]
    k = width if batch.k is None else batch.k
    order = batch.scores.masked_fill(~batch.mask, -math.inf).argsort(dim=1, descending=True, stable=True)
    ranks = order.argsort(1) + 1
    discounts = torch.log2(1.0 + torch.arange(width + 2, device=ranks.device, dtype=batch.scores.dtype))
    # Gains and their sum are divided by 2^(highest grade), so that no grade overflows.
    top = batch.grades.amax(1, keepdim=True) if width else batch.grades
    gains = (torch.exp2(batch.grades - top) - torch.exp2(-top)).masked_fill(~batch.mask, 0.0)
    ideal = (gains.sort(1, descending=True).values / discounts[1 : width + 1])[:, :k].sum(1, keepdim=True)
    gains = gains / ideal.clamp(min=torch.finfo(gains.dtype).tiny)
    inverse = 1 / discounts[ranks]
    rho = _differences(inverse).abs()
    # Equal ranks are one document with itself, which is no pair.
    apart = _differences(ranks).abs().clamp(min=1)
    delta = 1 / discounts[apart] - 1 / discounts[apart + 1]
    reach = (ranks[:, :, None] <= k) | (ranks[:, None, :] <= k)
    return batch.preferred & reach, (rho + _LAMBDA_MU * delta) * _differences(gains).abs()


# The whole list


def listnet(batch: ScoredGroups) -> torch.Tensor:
    """``-Σ_i softmax(grades)_i · log softmax(s)_i``, mean over groups whose grades differ.

    The top-one cross-entropy; a loss of 0 is not reachable, since the target is never certain. The
    ListNetLoss of sentence-transformers also counts groups of equal grades, whose scores it pulls together.
    Source: Cao et al., "Learning to rank: from pairwise approach to listwise approach", ICML 2007.
    """
    lowest = torch.finfo(batch.scores.dtype).min
    target = batch.grades.masked_fill(~batch.mask, lowest).softmax(1)
    log_shares = batch.scores.masked_fill(~batch.mask, lowest).log_softmax(1).masked_fill(~batch.mask, 0.0)
    differ = batch.preferred.any(2).any(1)
    return _mean(-(target * log_shares).sum(1), differ)


LOSSES: dict[str, LossFunction] = {
    "bce": bce,
    "contrastive": contrastive,
    "preference": preference,
    "ranknet": ranknet,
    "listnet": listnet,
    "lambda": lambda_loss,
    "mse": mse,
    "margin_mse": margin_mse,
}
"""The losses by the names that configurations use."""


def check_losses(weights: Mapping[str, float]) -> None:
    """Refuse a mixture of losses that cannot be minimised.

    Raises:
        ConfigError: no losses, an unknown name, or weights that are not finite, below 0 or all 0.
    """
    for name, weight in weights.items():
        if name not in LOSSES:
            raise ConfigError(f"unknown loss {name!r}; expected one of {', '.join(LOSSES)}")
        number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not number or not 0 <= weight < math.inf:
            raise ConfigError(
                f"the weight of the loss {name!r} is {weight!r}; expected a number of at least 0"
            )
    if not any(weights.values()):
        raise ConfigError(
            f"no loss has a weight above 0 in {dict(weights)!r}; "
            "give at least one, such as {'contrastive': 1.0}"
        )


def combined_loss(
    weights: Mapping[str, float],
    scores: torch.Tensor,
    grades: torch.Tensor,
    mask: torch.Tensor,
    teacher_scores: torch.Tensor | None = None,
    *,
    temperature: float = 1.0,
    k: int | None = None,
) -> tuple[torch.Tensor, dict[str, float]]:
    """``Σ_name weight · loss`` and each loss by name, without its weight.

    Args:
        weights: name in `LOSSES` → weight, such as ``{"contrastive": 1.0, "bce": 0.3}``.
        scores: (n_groups, width), see `ScoredGroups`, as the other arguments.
        grades: (n_groups, width).
        mask: (n_groups, width) bool.
        teacher_scores: (n_groups, width) or None.
        temperature: of ``contrastive``.
        k: of ``lambda``.

    Returns:
        a scalar with gradient, and plain floats.

    Raises:
        ConfigError: see `check_losses` and `ScoredGroups`, or ``mse`` and ``margin_mse`` without a teacher.
    """
    check_losses(weights)
    batch = ScoredGroups(scores, grades, mask, teacher_scores, temperature, k)
    parts = torch.stack([LOSSES[name](batch) for name in weights])
    factors = torch.tensor(list(weights.values()), dtype=parts.dtype, device=parts.device)
    return (parts * factors).sum(), dict(zip(weights, parts.detach().tolist(), strict=True))


def _teacher(batch: ScoredGroups, name: str) -> torch.Tensor:
    if batch.teacher_scores is None:
        raise ConfigError(
            f"the loss {name!r} needs a teacher's scores for every group of the batch and found none; "
            "give RankingGroup.teacher_scores, or choose a loss of the grades"
        )
    return batch.teacher_scores.detach()


def _differences(values: torch.Tensor) -> torch.Tensor:
    """(n_groups, width, width) ``values[g, i] - values[g, j]``."""
    return values[:, :, None] - values[:, None, :]


def _mean(losses: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Mean of the losses that are kept; 0 with a graph where none is."""
    return losses.masked_fill(~kept, 0.0).sum() / kept.sum().clamp(min=1)


def _mean_of_groups(losses: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Mean over groups of the mean of a group's kept losses; groups that keep none are left out."""
    losses, kept = losses.flatten(1), kept.flatten(1)
    counts = kept.sum(1)
    return _mean(losses.masked_fill(~kept, 0.0).sum(1) / counts.clamp(min=1), counts > 0)
