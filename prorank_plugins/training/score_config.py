"""What `learn_scores` and `distill` can be told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.config import TrainingConfig, check_count, check_number


@dataclass(frozen=True, kw_only=True)
class ScoreLearningConfig(TrainingConfig):
    """Settings of `learn_scores`; those of `TrainingConfig` and more.

    Attributes:
        loss: name → weight, of `prorank_plugins.training.losses.LOSSES`; one name alone counts 1.
            Losses that look at differences only (all but ``bce`` and ``mse``) let the scores drift;
            some ``bce`` keeps 0 the place where a document is as likely relevant as not.
        n_documents: documents of a group in a step: one relevant, the others drawn from the rest.
        in_batch_negatives: relevant documents of other queries that a group gets as further negatives.
        temperature: of ``contrastive``.
    """

    loss: str | Mapping[str, float] = field(default_factory=lambda: {"contrastive": 1.0, "bce": 0.3})
    batch_size: int = 8
    n_documents: int = 4
    in_batch_negatives: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("n_documents", self.n_documents)
        if self.in_batch_negatives:
            check_count("in_batch_negatives", self.in_batch_negatives)
        if self.n_documents + self.in_batch_negatives < 2:
            raise ConfigError("a group needs at least 2 documents to be ranked; raise n_documents")
        check_number("temperature", self.temperature, above=0.0)
        from prorank_plugins.training.losses import check_losses  # needs torch

        check_losses(self.weights)

    @property
    def weights(self) -> Mapping[str, float]:
        """The losses by name with their weights."""
        return {self.loss: 1.0} if isinstance(self.loss, str) else self.loss


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(ScoreLearningConfig):
    """Settings of `distill`: `ScoreLearningConfig` with the margins of the teacher's scores as the loss."""

    loss: str | Mapping[str, float] = field(default_factory=lambda: {"margin_mse": 1.0})
