"""Train your own ProRank: prompt warm-up, score learning, distillation, and what they need.

Importing this loads nothing heavy: each name below is imported when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prorank_plugins.training.candidates import candidate_groups
    from prorank_plugins.training.config import LoraOptions, StepReport, TrainingConfig
    from prorank_plugins.training.curves import TrainingCurves, show_training
    from prorank_plugins.training.distillation import distill
    from prorank_plugins.training.examples import RankingGroup, RelevanceExample
    from prorank_plugins.training.exporting import export
    from prorank_plugins.training.language_modelling import LanguageModellingConfig, continue_language_model
    from prorank_plugins.training.mining import mine_negatives
    from prorank_plugins.training.model import TrainableModel, open_model
    from prorank_plugins.training.reading import read_examples, read_groups, write_examples, write_groups
    from prorank_plugins.training.recording import read_reports, record
    from prorank_plugins.training.score_config import DistillationConfig, ScoreLearningConfig
    from prorank_plugins.training.score_learning import learn_scores
    from prorank_plugins.training.sources import (
        groups_from_beir,
        groups_from_documents,
        groups_from_triples,
    )
    from prorank_plugins.training.warmup import warm_up
    from prorank_plugins.training.warmup_config import WarmupConfig

_HOMES = {
    "candidates": ("candidate_groups",),
    "config": ("LoraOptions", "StepReport", "TrainingConfig"),
    "curves": ("TrainingCurves", "show_training"),
    "distillation": ("distill",),
    "examples": ("RankingGroup", "RelevanceExample"),
    "exporting": ("export",),
    "language_modelling": ("LanguageModellingConfig", "continue_language_model"),
    "mining": ("mine_negatives",),
    "model": ("TrainableModel", "open_model"),
    "reading": ("read_examples", "read_groups", "write_examples", "write_groups"),
    "recording": ("read_reports", "record"),
    "score_config": ("DistillationConfig", "ScoreLearningConfig"),
    "score_learning": ("learn_scores",),
    "sources": ("groups_from_beir", "groups_from_documents", "groups_from_triples"),
    "warmup": ("warm_up",),
    "warmup_config": ("WarmupConfig",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "DistillationConfig",
    "LanguageModellingConfig",
    "LoraOptions",
    "RankingGroup",
    "RelevanceExample",
    "ScoreLearningConfig",
    "StepReport",
    "TrainableModel",
    "TrainingConfig",
    "TrainingCurves",
    "WarmupConfig",
    "candidate_groups",
    "continue_language_model",
    "distill",
    "export",
    "groups_from_beir",
    "groups_from_documents",
    "groups_from_triples",
    "learn_scores",
    "mine_negatives",
    "open_model",
    "read_examples",
    "read_groups",
    "read_reports",
    "record",
    "show_training",
    "warm_up",
    "write_examples",
    "write_groups",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not kept in the module's globals: a submodule of the same name would take its place on import.
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
