"""What judgements earn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.examples import RelevanceExample
from prorank_plugins.training.rewards import (
    DEFAULT_REWARDS,
    JUDGEMENTS,
    accuracy_reward,
    format_reward,
    reward_table,
)

RELEVANT = RelevanceExample("capital of France", "Paris is its capital.", 1)
IRRELEVANT = RelevanceExample("capital of France", "A cat sat on a mat.", 0)


def test_the_two_rewards_of_prorank_by_hand():
    table = reward_table([RELEVANT, IRRELEVANT])
    assert JUDGEMENTS == (0, 1, None)
    # In the set: 1. Right as well: 2. Anything else: 0.
    assert table.total.tolist() == [[1, 2, 0], [2, 1, 0]]
    assert table.by_function["format"].tolist() == [[1, 1, 0], [1, 1, 0]]
    assert table.by_function["accuracy"].tolist() == [[0, 1, 0], [1, 0, 0]]


def test_weights_act_on_the_total_only():
    table = reward_table([RELEVANT], {"format": (format_reward, 0.25), "accuracy": (accuracy_reward, 2)})
    assert table.total.tolist() == [[0.25, 2.25, 0]]
    assert table.by_function["format"].tolist() == [[1, 1, 0]]


def test_a_reward_of_ones_own_sees_the_judgement_and_the_example():
    seen = []

    def short_documents(judgement, example):
        seen.append((judgement, example))
        return len(example.document) if judgement == 1 else -0.5

    table = reward_table([IRRELEVANT], {"short": (short_documents, -1.0)})
    assert table.total.tolist() == [[0.5, -19, 0.5]]
    assert seen == [(0, IRRELEVANT), (1, IRRELEVANT), (None, IRRELEVANT)]


def test_no_examples_make_an_empty_table():
    table = reward_table([])
    assert table.total.shape == table.by_function["format"].shape == (0, 3)


def test_a_table_moves_to_a_device_as_a_whole():
    moved = reward_table([RELEVANT]).to("meta")
    assert {table.device.type for table in (moved.total, *moved.by_function.values())} == {"meta"}


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "1", [1], 1j, 10**400])
def test_a_reward_that_is_no_finite_number_names_its_function(value):
    with pytest.raises(ConfigError, match="the reward 'mine' returned for judgement None"):
        reward_table([RELEVANT], {"mine": (lambda judgement, _: value if judgement is None else 0, 1.0)})


@pytest.mark.parametrize("value", [True, np.float32(0.5), np.bool_(True), torch.tensor(0.25)])
def test_numbers_of_any_library_are_rewards(value):
    assert reward_table([RELEVANT], {"mine": (lambda *_: value, 1.0)}).total.tolist() == [[float(value)] * 3]


def test_a_weight_that_is_no_finite_number_is_refused():
    with pytest.raises(ConfigError, match="the weight of the reward 'format' is nan"):
        reward_table([RELEVANT], {"format": (format_reward, math.nan)})


def test_no_rewards_are_refused():
    with pytest.raises(ConfigError, match="rewards are empty"):
        reward_table([RELEVANT], {})


@given(st.lists(st.integers(0, 1), max_size=8), st.floats(-8, 8, width=32), st.floats(-8, 8, width=32))
def test_the_table_agrees_with_plain_loops(truth, w_format, w_accuracy):
    examples = [RelevanceExample("q", "d", label) for label in truth]
    weighted = {
        name: (DEFAULT_REWARDS[name][0], w) for name, w in (("format", w_format), ("accuracy", w_accuracy))
    }
    table = reward_table(examples, weighted)
    for row, label in zip(table.total.tolist(), truth, strict=True):
        expected = [w_format * (j is not None) + w_accuracy * (j == label) for j in (0, 1, None)]
        assert row == pytest.approx(expected, rel=1e-6)
