"""Endless streams of training batches that resume exactly where they were.

::

    batches = BalancedBatches(examples, batch_size=32, seed=7)
    batch = next(batches)
    saved = batches.state()            # a few numbers, whatever the size of the data
    batches.restore(saved)             # also on a new stream with the same data and settings
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.cursors import checked_cursors, cursors_of, whole_number
from prorank_plugins.training.examples import RankingGroup, RelevanceExample
from prorank_plugins.training.shuffling import Drawn, Passes
from prorank_plugins.training.supply import Supply
from prorank_plugins.training.texts import normalized

# Parts of the seeds that keep independent draws apart.
_ANY, _NEGATIVE, _POSITIVE, _MIX, _GROUPS, _DOCUMENTS = range(6)

_DEFAULT_WINDOW = 10_000


class BalancedBatches(Iterator[list[RelevanceExample]]):
    """Batches of judged pairs with a fixed share of relevant ones.

    Relevant and other pairs are drawn in shuffled passes of their own, so the rarer label is repeated
    earlier. Where the share of a batch is no whole number, batches vary by one and the share of all
    batches is exact. Within a batch the order is random.

    Args:
        examples: a list, or for data larger than memory something without a length that gives the same
            pairs in every loop (such as `read_examples`).
        batch_size: pairs a batch.
        balance: the share of label 1, from 0 to 1; None takes pairs as they come.
        seed: at least 0; the same seed gives the same batches.
        window: pairs of one label that are shuffled together when ``examples`` has no length.

    Raises:
        ConfigError: a setting out of range, an item that is no `RelevanceExample`, or no pair of a label
            that is wanted. For data without a length the last two are raised when they are met.
    """

    def __init__(
        self,
        examples: Iterable[RelevanceExample],
        batch_size: int,
        balance: float | None = 0.5,
        seed: int = 0,
        window: int = _DEFAULT_WINDOW,
    ) -> None:
        self._batch_size = whole_number("batch_size", batch_size, 1)
        self._seed = whole_number("seed", seed, 0)
        self._share = None if balance is None else _share(balance)
        self._batch = 0
        source = Supply(examples, "examples", RelevanceExample, whole_number("window", window, 1))
        self._passes: dict[str, Passes[RelevanceExample]] = {}
        if self._share is None:
            self._passes["any"] = source.passes(lambda example: True, (self._seed, _ANY), "examples")
        for label, part, wanted in ((1, _POSITIVE, self._share or 0), (0, _NEGATIVE, 1 - (self._share or 0))):
            if self._share is not None and wanted > 0:
                self._passes[f"label {label}"] = source.passes(
                    _label_is(label), (self._seed, part), f"examples of label {label}"
                )
        self._settings = {
            "kind": "BalancedBatches",
            "batch_size": self._batch_size,
            "balance": self._share,
            "seed": self._seed,
            **source.settings,
        }

    def __next__(self) -> list[RelevanceExample]:
        if self._share is None:
            drawn = self._passes["any"].take(self._batch_size)
        else:
            n_positives = self._positives_before(self._batch + 1) - self._positives_before(self._batch)
            counts = {"label 1": n_positives, "label 0": self._batch_size - n_positives}
            drawn = [one for label, passes in self._passes.items() for one in passes.take(counts[label])]
        order = np.random.default_rng([self._seed, _MIX, self._batch]).permutation(len(drawn))
        self._batch += 1
        return [drawn[i].item for i in order.tolist()]

    def _positives_before(self, batch: int) -> int:
        """Relevant pairs in the batches before this one."""
        assert self._share is not None
        # Rounded, since 0.29 · 100 is a little less than 29 in floating point.
        return math.floor(round(self._share * self._batch_size, 9) * batch)

    def state(self) -> dict[str, Any]:
        """Where the stream is, as JSON data of fixed size."""
        return {**self._settings, "batch": self._batch, "cursors": cursors_of(self._passes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was called: the batches that follow are the same.

        Raises:
            ConfigError: a state of other settings or of data of another size, or no state at all.
        """
        cursors = checked_cursors(state, self._settings, self._passes)
        self._batch = whole_number("batch of the state", state.get("batch"), 0)
        for name, (epoch, position) in cursors.items():
            self._passes[name].seek(epoch, position)


class GroupBatches(Iterator[list[RankingGroup]]):
    """Batches of ranking groups cut down to one relevant document and some others.

    The relevant document comes first. Which documents are taken is drawn anew in every pass. Groups
    without a relevant document are passed over, unless they carry teacher scores: then any of their
    documents are drawn.

    Args:
        groups: a list, or for data larger than memory something without a length that gives the same
            groups in every loop (such as `read_groups`).
        batch_size: groups a batch.
        n_documents: documents a group, fewer where it has fewer: one relevant and ``n_documents - 1`` of
            grade 0. None keeps groups whole.
        seed: at least 0; the same seed gives the same batches.
        in_batch_negatives: documents of grade 0 added to each group, at most: relevant documents of the
            batch's other queries, never one that is relevant to this query or in the group already, up
            to case and white space.
        window: groups that are shuffled together when ``groups`` has no length.

    Raises:
        ConfigError: a setting out of range, an item that is no `RankingGroup`, no group that can be used,
            or teacher scores together with in-batch negatives, which have none. For data without a length
            the last three are raised when they are met.
    """

    def __init__(
        self,
        groups: Iterable[RankingGroup],
        batch_size: int,
        n_documents: int | None,
        seed: int = 0,
        in_batch_negatives: int = 0,
        window: int = _DEFAULT_WINDOW,
    ) -> None:
        self._batch_size = whole_number("batch_size", batch_size, 1)
        self._n_documents = None if n_documents is None else whole_number("n_documents", n_documents, 1)
        self._seed = whole_number("seed", seed, 0)
        self._n_added = whole_number("in_batch_negatives", in_batch_negatives, 0)
        source = Supply(groups, "groups", RankingGroup, whole_number("window", window, 1))
        self._passes = {
            "groups": source.passes(
                self._is_usable, (self._seed, _GROUPS), "groups with a relevant document or teacher scores"
            )
        }
        self._settings = {
            "kind": "GroupBatches",
            "batch_size": self._batch_size,
            "n_documents": self._n_documents,
            "in_batch_negatives": self._n_added,
            "seed": self._seed,
            **source.settings,
        }

    def __next__(self) -> list[RankingGroup]:
        chosen = [self._cut(drawn) for drawn in self._passes["groups"].take(self._batch_size)]
        if self._n_added:
            return _with_in_batch_negatives(chosen, self._n_added)
        return [one.cut for one in chosen]

    def _is_usable(self, group: RankingGroup) -> bool:
        if group.teacher_scores is not None and self._n_added:
            raise ConfigError(
                f"the group of {group.query!r} has teacher scores, but in-batch negatives have none; "
                "expected in_batch_negatives=0 or groups without teacher_scores"
            )
        return group.teacher_scores is not None or any(grade > 0 for grade in group.grades)

    def _cut(self, drawn: Drawn[RankingGroup]) -> _Chosen:
        group = drawn.item
        # By epoch and row, so that a group's draw depends neither on its batch nor on what came before.
        rng = np.random.default_rng([self._seed, _DOCUMENTS, drawn.epoch, drawn.row])
        if self._n_documents is None:
            return _Chosen(group, group, rng)
        relevant = [i for i, grade in enumerate(group.grades) if grade > 0]
        others = [i for i, grade in enumerate(group.grades) if grade == 0]
        first = [relevant[int(rng.integers(len(relevant)))]] if relevant else []
        rest = rng.permutation(len(others))[: self._n_documents - len(first)]
        return _Chosen(group, _subset(group, [*first, *(others[i] for i in rest.tolist())]), rng)

    def state(self) -> dict[str, Any]:
        """Where the stream is, as JSON data of fixed size."""
        return {**self._settings, "cursors": cursors_of(self._passes)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go to where `state` was called: the batches that follow are the same.

        Raises:
            ConfigError: a state of other settings or of data of another size, or no state at all.
        """
        for name, (epoch, position) in checked_cursors(state, self._settings, self._passes).items():
            self._passes[name].seek(epoch, position)


@dataclass(frozen=True)
class _Chosen:
    """A group, the part of it that goes into the batch, and the generator that chose it."""

    group: RankingGroup
    cut: RankingGroup
    rng: np.random.Generator


def _with_in_batch_negatives(chosen: list[_Chosen], n_added: int) -> list[RankingGroup]:
    # One query may come in several groups; what is relevant in one of them is so in all.
    relevant: dict[str, set[str]] = {}
    for one in chosen:
        relevant.setdefault(normalized(one.group.query), set()).update(map(normalized, one.group.positives))
    offered = {normalized(text): text for one in chosen for text in one.cut.positives}
    batch = []
    for one in chosen:
        barred = relevant[normalized(one.group.query)].union(map(normalized, one.cut.documents))
        pool = [text for key, text in offered.items() if key not in barred]
        added = [pool[i] for i in one.rng.permutation(len(pool))[:n_added].tolist()]
        documents, grades = [*one.cut.documents, *added], [*one.cut.grades, *([0.0] * len(added))]
        batch.append(RankingGroup(one.group.query, documents, grades))
    return batch


def _subset(group: RankingGroup, rows: list[int]) -> RankingGroup:
    scores = group.teacher_scores
    return RankingGroup(
        group.query,
        [group.documents[i] for i in rows],
        [group.grades[i] for i in rows],
        None if scores is None else [scores[i] for i in rows],
    )


def _share(balance: Any) -> float:
    try:
        share = math.nan if isinstance(balance, (bool, str, bytes)) else float(balance)
    except (TypeError, ValueError):
        share = math.nan
    if not 0 <= share <= 1:
        raise ConfigError(
            f"balance is {balance!r}; expected None or the share of label 1 in a batch, from 0 to 1"
        )
    return share


def _label_is(label: int) -> Callable[[RelevanceExample], bool]:
    return lambda example: example.label == label
