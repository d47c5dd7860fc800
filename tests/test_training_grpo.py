"""The warm-up's losses: by hand, against plain loops, and the group against its limit."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.training import grpo

ZERO_ONE = Labels(positive=1, negative=0)
YES = Labels(positive=2, negative=None)
FORMAT_AND_ACCURACY = torch.tensor([1.0, 2.0, 0.0])
"""What the judgements 0, 1, None of a relevant document earn."""


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def gradient(loss_of, logits):
    """The loss and its gradient with respect to ``logits``."""
    leaf = logits.clone().requires_grad_()
    loss = loss_of(leaf)
    loss.backward()
    return float(loss.detach()), leaf.grad


numbers = st.floats(-6, 6)


@st.composite
def rows(draw, width=5, most=4):
    n = draw(st.integers(1, most))
    return doubles([[draw(numbers) for _ in range(width)] for _ in range(n)])


@st.composite
def logits_and_tables(draw, n_others=1):
    """Logits with the tokens "0", "1" and others, another policy's, and a reward table."""
    logits = draw(rows(2 + n_others))
    n = len(logits)
    other = doubles([[draw(numbers) for _ in range(2 + n_others)] for _ in range(n)])
    table = doubles([[draw(st.integers(-3, 3)) for _ in range(3)] for _ in range(n)])
    return logits, other, table


# The policy


def test_judgement_probabilities_by_hand():
    logits = doubles([[0.1, 0.2, 0.3, 0.4]]).log()
    by_two = grpo.judgement_log_probs(logits, Labels(positive=3, negative=1)).exp()
    torch.testing.assert_close(by_two, doubles([[0.2, 0.4, 0.4]]))
    by_one = grpo.judgement_log_probs(logits, YES).exp()
    torch.testing.assert_close(by_one, doubles([[0.7, 0.3, 0.0]]))


@given(rows(), st.floats(0.25, 4))
def test_judgements_share_the_whole_probability(logits, temperature):
    for labels in (ZERO_ONE, YES):
        total = grpo.judgement_log_probs(logits, labels, temperature).exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total))


def test_other_tokens_keep_a_probability_below_rounding():
    # 1 - p0 - p1 would be 0 in float32.
    log_probs = grpo.judgement_log_probs(torch.tensor([[0.0, 40.0, -20.0, -20.0]]), ZERO_ONE)
    assert float(log_probs[0, 2]) == pytest.approx(-60 + math.log(2), rel=1e-6)


def test_a_vocabulary_of_two_has_no_other_token():
    log_probs, grad = gradient(
        lambda x: grpo.judgement_log_probs(x, ZERO_ONE).exp().sum(), torch.tensor([[1.0, 2.0]])
    )
    assert log_probs == pytest.approx(1)
    assert torch.isfinite(grad).all()


def test_half_precision_is_widened_before_the_softmax():
    assert grpo.token_log_probs(torch.zeros(1, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_draws_follow_the_tempered_row_and_the_generator():
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(2000, 3)
    ids = grpo.draw_answers(logits, 10, torch.Generator().manual_seed(5), temperature=0.5)
    expected = torch.tensor([0.25, 0.09, 0.04]) / 0.38
    shares = torch.bincount(ids.flatten(), minlength=3) / ids.numel()
    assert ids.shape == (2000, 10)
    torch.testing.assert_close(shares, expected, rtol=0, atol=4 * math.sqrt(0.25 / 20_000))
    again = grpo.draw_answers(logits, 10, torch.Generator().manual_seed(5), temperature=0.5)
    assert torch.equal(ids, again)


def test_drawing_leaves_no_graph():
    assert not grpo.draw_answers(torch.zeros(1, 3, requires_grad=True), 2).requires_grad


def test_tokens_become_columns_of_the_table():
    ids = torch.tensor([[0, 1, 2, 3], [3, 3, 1, 0]])
    assert grpo.judgement_of(ids, ZERO_ONE).tolist() == [[0, 1, 2, 2], [2, 2, 1, 0]]
    assert grpo.judgement_of(ids, YES).tolist() == [[0, 0, 1, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("temperature", [0, -1, math.nan])
def test_a_temperature_that_is_not_positive_is_refused(temperature):
    with pytest.raises(ConfigError, match="expected a number above 0"):
        grpo.draw_answers(torch.zeros(1, 3), 2, temperature=temperature)


def test_an_empty_group_is_refused():
    with pytest.raises(ConfigError, match="group_size is 0"):
        grpo.draw_answers(torch.zeros(1, 3), 0)


# Advantages


def test_advantages_by_hand():
    rewards = doubles([[2, 0, 1, 1], [1, 1, 1, 1]])
    # Deviations over G - 1: sqrt(2 / 3) in the first group; over 7 of the batch: sqrt(2 / 7).
    by_group = grpo.advantages(rewards, "group", eps=0.5)
    torch.testing.assert_close(by_group[0], doubles([1, -1, 0, 0]) / (math.sqrt(2 / 3) + 0.5))
    by_batch = grpo.advantages(rewards, "batch", eps=0.5)
    torch.testing.assert_close(by_batch[0], doubles([1, -1, 0, 0]) / (math.sqrt(2 / 7) + 0.5))
    torch.testing.assert_close(grpo.advantages(rewards, "none")[0], doubles([1, -1, 0, 0]))
    for scaled in (by_group, by_batch):
        assert scaled[1].tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_a_single_answer_has_no_advantage(scale):
    assert grpo.advantages(torch.tensor([[3.0]]), scale).tolist() == [[0.0]]


def test_equal_rewards_that_their_mean_misses_by_rounding_have_no_advantage():
    rewards = torch.full((1, 7), 0.1)
    assert grpo.advantages(rewards, eps=1e-12).abs().max() == 0


def test_an_unknown_scale_is_refused():
    with pytest.raises(ConfigError, match="unknown scale 'prompt'; expected one of group, batch, none"):
        grpo.advantages(torch.zeros(1, 2), "prompt")
    with pytest.raises(ConfigError, match="unknown scale"):
        grpo.exact_loss(torch.zeros(1, 3), ZERO_ONE, torch.zeros(1, 3), "prompt")


@given(rows(), st.sampled_from(["group", "batch", "none"]), st.integers(-50, 50), st.permutations(range(5)))
def test_advantages_sum_to_zero_ignore_an_offset_and_follow_the_answers(rewards, scale, offset, order):
    found = grpo.advantages(rewards, scale)
    torch.testing.assert_close(found.sum(1), torch.zeros(len(rewards), dtype=found.dtype))
    torch.testing.assert_close(grpo.advantages(rewards + offset, scale), found, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(grpo.advantages(rewards[:, order], scale), found[:, order])


@given(rows(), st.sampled_from(["group", "batch"]), st.floats(0.1, 10))
def test_scaled_advantages_ignore_the_unit_of_rewards(rewards, scale, unit):
    if float(rewards.std(1).min()) < 1e-3:
        return
    found = grpo.advantages(rewards * unit, scale, eps=0)
    torch.testing.assert_close(found, grpo.advantages(rewards, scale, eps=0), rtol=1e-6, atol=1e-9)


# The group's loss


def test_the_group_loss_by_hand():
    # Ratios 1.5 and 0.5 with ε = 0.2: gains are capped at 1.2 and losses at 0.8.
    log_probs, old = doubles([[0.6, 0.2, 0.6, 0.2]]).log(), doubles([[0.4] * 4]).log()
    weights = doubles([[1, 1, -1, -1]])
    loss, clip_share = grpo.group_loss(log_probs, old, weights, 0.2)
    assert float(loss) == pytest.approx(-(1.2 + 0.5 - 1.5 - 0.8) / 4)
    assert float(clip_share) == 0.5


def loop_group_loss(log_probs, old, weights, clip_eps):
    total, clipped = 0.0, 0
    for i in range(len(weights)):
        for j in range(len(weights[i])):
            ratio = math.exp(log_probs[i][j] - old[i][j])
            held = min(max(ratio, 1 - clip_eps), 1 + clip_eps)
            total -= min(ratio * weights[i][j], held * weights[i][j])
            # By signs: products of the smallest numbers round to equal ones.
            clipped += held < ratio if weights[i][j] > 0 else weights[i][j] < 0 and held > ratio
    n = len(weights) * len(weights[0])
    return total / n, clipped / n


@given(rows(), st.data(), st.sampled_from([0.1, 0.2, 0.5]))
def test_the_group_loss_agrees_with_plain_loops(log_probs, data, clip_eps):
    old, weights = (
        doubles([[data.draw(numbers) for _ in range(5)] for _ in range(len(log_probs))]) for _ in range(2)
    )
    loss, clip_share = grpo.group_loss(log_probs, old, weights, clip_eps)
    expected = loop_group_loss(log_probs.tolist(), old.tolist(), weights.tolist(), clip_eps)
    assert (float(loss), float(clip_share)) == pytest.approx(expected, rel=1e-9, abs=1e-6)


def test_on_the_first_pass_the_gradient_is_that_of_reinforce_with_the_same_weights():
    logits = torch.tensor([[0.3, -0.2, 0.9], [1.0, 0.0, -1.0]], dtype=torch.float64)
    ids = torch.tensor([[0, 1, 2, 1], [2, 0, 0, 1]])
    rewards = doubles([[1, 2, 0, 2], [0, 1, 1, 2]])

    def of(logits, loss):
        return loss(grpo.answer_log_probs(grpo.token_log_probs(logits), ids))

    weights = grpo.advantages(rewards, "none")
    _, by_group = gradient(lambda x: of(x, lambda p: grpo.group_loss(p, p, weights).loss), logits)
    _, by_reinforce = gradient(lambda x: of(x, lambda p: grpo.reinforce_loss(p, rewards)), logits)
    torch.testing.assert_close(by_group, by_reinforce)


def test_a_ratio_that_would_overflow_has_finite_loss_and_gradient():
    weights = torch.tensor([[1.0, -1.0, 0.0]])
    loss, grad = gradient(
        lambda p: grpo.group_loss(p, torch.full((1, 3), -500.0), weights).loss, torch.zeros(1, 3)
    )
    assert math.isfinite(loss)
    assert torch.isfinite(grad).all()


# The exact loss


def test_the_exact_loss_by_hand():
    logits = doubles([[0.45, 0.45, 0.10]]).log()
    # μ = 1.35, Var = .45 · .35² + .45 · .65² + .1 · 1.35² = .4275
    _, grad = gradient(
        lambda x: grpo.exact_loss(x, ZERO_ONE, FORMAT_AND_ACCURACY[None].double(), eps=0).loss, logits
    )
    expected = [p * (r - 1.35) / math.sqrt(0.4275) for p, r in ((0.45, 1), (0.45, 2), (0.10, 0))]
    torch.testing.assert_close(-grad[0], doubles(expected))


TABLE = [
    # p(0), p(1), other; exact; (mean, deviation, share of equal groups) for G = 4, 8, 16, 64
    ((0.45, 0.45, 0.10), 0.447, (0.332, 0.137, 0.08), (0.402, 0.068, 0.0), (0.426, 0.039, 0.0),
     (0.442, 0.015, 0.0)),
    ((0.10, 0.20, 0.70), 0.372, (0.224, 0.187, 0.24), (0.298, 0.147, 0.06), (0.338, 0.096, 0.0),
     (0.364, 0.043, 0.0)),
    ((0.05, 0.94, 0.01), 0.225, (0.083, 0.157, 0.78), (0.128, 0.162, 0.61), (0.171, 0.138, 0.37),
     (0.219, 0.059, 0.02)),
    ((0.01, 0.989, 0.001), 0.101, (0.017, 0.078, 0.95), (0.026, 0.086, 0.92), (0.039, 0.089, 0.84),
     (0.071, 0.073, 0.49)),
    ((0.90, 0.09, 0.01), 0.271, (0.119, 0.177, 0.66), (0.177, 0.171, 0.43), (0.225, 0.135, 0.19),
     (0.262, 0.059, 0.0)),
]  # fmt: skip


@pytest.mark.parametrize("row", TABLE, ids=lambda row: str(row[0]))
def test_finite_groups_shrink_the_push_on_decided_prompts(row):
    """The push on the correct logit: exact to 3 digits, in groups by drawing."""
    probabilities, exact, *by_size = row
    logits = torch.tensor([probabilities]).log()
    _, grad = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, FORMAT_AND_ACCURACY[None]).loss, logits)
    assert -float(grad[0, 1]) == pytest.approx(exact, abs=6e-4)
    generator, n = torch.Generator().manual_seed(7), 10_000
    for size, (mean, deviation, equal) in zip((4, 8, 16, 64), by_size, strict=True):
        ids = grpo.draw_answers(logits.expand(n, 3), size, generator)
        rewards = FORMAT_AND_ACCURACY[grpo.judgement_of(ids, ZERO_ONE)]
        push = (grpo.advantages(rewards) * (ids == 1)).mean(1)
        assert float(push.mean()) == pytest.approx(mean, abs=4 * deviation / n**0.5 + 2e-3)
        assert float(push.std()) == pytest.approx(deviation, abs=6e-3)
        assert float(grpo.has_equal_rewards(rewards).float().mean()) == pytest.approx(equal, abs=0.02)


@given(st.floats(0.01, 0.99), st.integers(0, 1))
def test_with_the_accuracy_reward_alone_it_ascends_twice_the_arcsine_of_the_root(p, label):
    others = [(1 - p) * 0.3, (1 - p) * 0.7]
    logits = doubles([[p, *others] if label == 0 else [others[0], p, others[1]]]).log()
    table = torch.nn.functional.one_hot(torch.tensor([label]), 3).double()

    def arcsine(x):
        return -2 * torch.asin(x.softmax(1)[0, label].sqrt())

    _, wanted = gradient(arcsine, logits)
    _, found = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, eps=0).loss, logits)
    torch.testing.assert_close(found, wanted)
    # eps only shortens the step, by σ / (σ + eps).
    sigma, eps = math.sqrt(p * (1 - p)), 1e-4
    _, shortened = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, eps=eps).loss, logits)
    torch.testing.assert_close(shortened, wanted * sigma / (sigma + eps))


@given(logits_and_tables(n_others=4))
def test_without_scaling_it_ascends_the_expected_reward(drawn):
    logits, _, table = drawn

    def expected_reward(x):
        return -(grpo.judgement_log_probs(x, ZERO_ONE).exp() * table).sum(1).mean()

    _, wanted = gradient(expected_reward, logits)
    _, found = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, "none").loss, logits)
    torch.testing.assert_close(found, wanted)


@given(logits_and_tables(n_others=3), st.sampled_from(["group", "batch", "none"]), numbers)
def test_the_exact_loss_ignores_offsets_of_logits_and_rewards(drawn, scale, offset):
    logits, _, table = drawn
    loss, grad = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, scale).loss, logits)
    assert loss == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(grad.sum(1), torch.zeros(len(logits), dtype=grad.dtype))
    _, moved = gradient(lambda x: grpo.exact_loss(x + offset, ZERO_ONE, table + 3, scale).loss, logits)
    torch.testing.assert_close(moved, grad, rtol=1e-5, atol=1e-8)


def loop_exact_loss(probabilities, old, table, scale, eps, clip_eps):
    """Three judgements in plain loops."""
    n = len(table)
    means = [sum(old[i][a] * table[i][a] for a in range(3)) for i in range(n)]
    centre = sum(means) / n
    whole = sum(old[i][a] * (table[i][a] - centre) ** 2 for i in range(n) for a in range(3)) / n
    total = clipped = 0.0
    for i in range(n):
        own = sum(old[i][a] * (table[i][a] - means[i]) ** 2 for a in range(3))
        divisor = {"group": math.sqrt(own) + eps, "batch": math.sqrt(whole) + eps, "none": 1}[scale]
        for a in range(3):
            weight = (table[i][a] - means[i]) / divisor
            ratio = probabilities[i][a] / old[i][a]
            held = min(max(ratio, 1 - clip_eps), 1 + clip_eps)
            total -= old[i][a] * min(ratio * weight, held * weight)
            clipped += old[i][a] * (held * weight < ratio * weight)
    return total / n, clipped / n


@given(logits_and_tables(), st.sampled_from(["group", "batch", "none"]), st.sampled_from([0.1, 0.3]))
def test_the_clipped_exact_loss_agrees_with_plain_loops(drawn, scale, clip_eps):
    logits, old_logits, table = drawn
    old = grpo.judgement_log_probs(old_logits, ZERO_ONE)
    loss, share = grpo.exact_loss(logits, ZERO_ONE, table, scale, old_log_probs=old, clip_eps=clip_eps)
    now = logits.softmax(1).tolist()
    expected = loop_exact_loss(now, old.exp().tolist(), table.tolist(), scale, 1e-4, clip_eps)
    assert float(loss) == pytest.approx(expected[0], rel=1e-6, abs=1e-8)
    if all(abs(w) > 1e-9 for w in grpo.expected_advantages(old, table, scale).flatten().tolist()):
        assert float(share) == pytest.approx(expected[1], abs=1e-9)


@given(logits_and_tables(n_others=3), st.sampled_from(["group", "batch", "none"]))
def test_the_policy_that_answered_makes_the_clipped_loss_the_plain_one(drawn, scale):
    logits, _, table = drawn
    old = grpo.judgement_log_probs(logits, ZERO_ONE)
    _, plain = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, scale).loss, logits)
    _, clipped = gradient(
        lambda x: grpo.exact_loss(x, ZERO_ONE, table, scale, old_log_probs=old).loss, logits
    )
    torch.testing.assert_close(clipped, plain)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("shift", [0.0, 0.5], ids=["first pass", "second pass, clipped"])
def test_a_large_group_approaches_the_exact_loss(scale, shift):
    old_logits = doubles([[0.5, 0.0, -0.5], [-1.0, 0.3, 0.8]])
    logits = old_logits + shift * doubles([[-1, 1, 0], [0, -1, 1]])
    table = doubles([[1, 2, 0], [2, 1, 0]])
    old_rows = grpo.token_log_probs(old_logits)
    ids = grpo.draw_answers(old_logits, 100_000, torch.Generator().manual_seed(3))
    rewards = table.gather(1, grpo.judgement_of(ids, ZERO_ONE))
    weights = grpo.advantages(rewards, scale)
    share = {}

    def by_group(x):
        log_probs = grpo.answer_log_probs(grpo.token_log_probs(x), ids)
        loss, share["group"] = grpo.group_loss(log_probs, old_rows.gather(1, ids), weights)
        return loss

    def by_limit(x):
        old = grpo.judgement_log_probs(old_logits, ZERO_ONE)
        loss, share["exact"] = grpo.exact_loss(x, ZERO_ONE, table, scale, old_log_probs=old)
        return loss

    loss, grad = gradient(by_group, logits)
    limit, limit_grad = gradient(by_limit, logits)
    assert loss == pytest.approx(limit, abs=0.01)
    torch.testing.assert_close(grad, limit_grad, rtol=0, atol=0.01)
    assert float(share["group"]) == pytest.approx(float(share["exact"]), abs=0.01)
    assert (float(share["exact"]) > 0) == (shift > 0)


@pytest.mark.parametrize("labels", [ZERO_ONE, YES], ids=["two answers", "one answer"])
@pytest.mark.parametrize("size", [1e2, 1e4])
@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_certain_prompts_have_finite_losses_and_gradients(labels, size, scale):
    logits = size * torch.tensor([[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1]])
    table = torch.tensor([[1.0, 2, 0], [2, 1, 0], [1, 1, 1]])
    old = grpo.judgement_log_probs(logits.roll(1, 0), labels)
    truth = torch.tensor([1, 0, 1])
    for loss_of in (
        lambda x: grpo.exact_loss(x, labels, table, scale).loss,
        lambda x: grpo.exact_loss(x, labels, table, scale, old_log_probs=old).loss,
        lambda x: grpo.sft_loss(x, labels, truth),
    ):
        loss, grad = gradient(loss_of, logits)
        assert math.isfinite(loss)
        assert torch.isfinite(grad).all()


def test_a_prompt_with_one_answer_learns_by_that_answer_alone():
    # p = (.7, .3): accuracy reward of a relevant document.
    logits = doubles([[0.1, 0.2, 0.3, 0.4]]).log()
    table = doubles([[0, 1, 0]])
    _, grad = gradient(lambda x: grpo.exact_loss(x, YES, table, eps=0).loss, logits)
    push = math.sqrt(0.3 * 0.7)
    torch.testing.assert_close(-grad[0], push * doubles([-1 / 7, -2 / 7, 1, -4 / 7]))


def test_temperature_is_part_of_the_policy_that_improves():
    logits, table = doubles([[1.0, 2.0, 0.5]]), doubles([[1, 2, 0]])
    _, grad = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table, temperature=2.0).loss, logits)
    _, halved = gradient(lambda x: grpo.exact_loss(x, ZERO_ONE, table).loss, logits / 2)
    torch.testing.assert_close(grad, halved / 2)


# KL, REINFORCE, SFT


def test_the_kl_divergence_by_hand():
    p, q = doubles([[0.5, 0.5], [1.0, 1e-9]]).log(), doubles([[0.25, 0.75], [0.5, 0.5]]).log()
    expected = doubles([0.5 * math.log(2) + 0.5 * math.log(2 / 3), math.log(2)])
    torch.testing.assert_close(grpo.kl_divergence(p, q), expected, rtol=1e-6, atol=1e-7)


@given(rows(), st.data())
def test_the_kl_divergence_is_positive_and_the_mean_of_its_estimate(logits, data):
    p = grpo.token_log_probs(logits)
    q = grpo.token_log_probs(doubles([[data.draw(numbers) for _ in range(5)] for _ in range(len(logits))]))
    exact = grpo.kl_divergence(p, q)
    estimates = grpo.sampled_kl(p, q)  # here of every token, once
    assert float(exact.min()) >= -1e-12
    assert float(estimates.min()) >= 0
    torch.testing.assert_close((p.exp() * estimates).sum(1), exact)
    torch.testing.assert_close(grpo.kl_divergence(p, p), torch.zeros_like(exact))


def test_reinforce_by_hand():
    log_probs, rewards = doubles([[0.5, 0.25]]).log(), doubles([[2, 1]])
    assert float(grpo.reinforce_loss(log_probs, rewards, baseline=False)) == pytest.approx(2 * math.log(2))
    with_baseline = -(0.5 * math.log(0.5) - 0.5 * math.log(0.25)) / 2
    assert float(grpo.reinforce_loss(log_probs, rewards)) == pytest.approx(with_baseline)


def test_sft_is_the_cross_entropy_of_the_correct_token():
    logits = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    truth = torch.tensor([0, 1, 1, 0, 1, 0])
    expected = torch.nn.functional.cross_entropy(logits, torch.where(truth == 1, 5, 3))
    torch.testing.assert_close(grpo.sft_loss(logits, Labels(positive=5, negative=3), truth), expected)


def test_sft_of_a_prompt_with_one_answer_by_hand():
    logits = doubles([[0.1, 0.2, 0.3, 0.4]]).log().expand(2, 4)
    loss = grpo.sft_loss(logits, YES, torch.tensor([1, 0]))
    assert float(loss) == pytest.approx(-(math.log(0.3) + math.log(0.7)) / 2)


# Metrics


def test_metrics_of_drawn_answers_by_hand():
    logits = torch.tensor([[0.5, 0.3, 0.1, 0.1], [0.2, 0.6, 0.1, 0.1]]).log()
    truth, table = torch.tensor([1, 1]), FORMAT_AND_ACCURACY.expand(2, 3)
    by_function = {
        "format": torch.tensor([1.0, 1, 0]).expand(2, 3),
        "accuracy": torch.tensor([0.0, 1, 0]).expand(2, 3),
    }
    ids = torch.tensor([[0, 1, 3, 1], [1, 1, 1, 1]])
    found = grpo.warmup_metrics(
        logits, ZERO_ONE, truth, table, by_function, ids=ids, kl=torch.tensor([0.1, 0.3]), clip_share=0.25
    )
    entropies = [-sum(p * math.log(p) for p in row) for row in logits.exp().tolist()]
    assert found == pytest.approx(
        {
            "reward": (1 + 2 + 0 + 2 + 8) / 8,
            "reward_std": math.sqrt((1 + 0 + 4 * 6 - 13**2 / 8) / 7),
            "rewards/format/mean": 7 / 8,
            "rewards/accuracy/mean": 6 / 8,
            "frac_reward_zero_std": 0.5,
            "format_rate": 0.8,
            "accuracy": 0.5,
            "sampled_accuracy": 6 / 8,
            "entropy": sum(entropies) / 2,
            "kl": 0.2,
            "clip_ratio/region_mean": 0.25,
        }
    )
    assert {type(value) for value in found.values()} == {float}


def test_metrics_without_draws_are_expectations():
    logits = torch.tensor([[0.5, 0.3, 0.2], [1e-30, 1.0, 1e-30]]).log()
    truth, table = torch.tensor([1, 0]), torch.tensor([[1.0, 2, 0], [2, 1, 0]])
    found = grpo.warmup_metrics(logits, ZERO_ONE, truth, table, {"total": table})
    assert found["reward"] == found["rewards/total/mean"] == pytest.approx((0.5 + 0.6 + 1) / 2)
    assert found["sampled_accuracy"] == pytest.approx(0.15)
    assert found["frac_reward_zero_std"] == 0.5
    assert found["accuracy"] == 0.0
    assert "kl" not in found


@given(rows(), st.sampled_from([ZERO_ONE, YES]))
def test_metrics_of_many_draws_approach_the_expectations(logits, labels):
    truth = torch.arange(len(logits)) % 2
    table = doubles([[1, 2, 0], [2, 1, 0]])[1 - truth]
    ids = grpo.draw_answers(logits, 4000, torch.Generator().manual_seed(0), temperature=1.5)
    drawn = grpo.warmup_metrics(logits, labels, truth, table, {"r": table}, ids=ids, temperature=1.5)
    exact = grpo.warmup_metrics(logits, labels, truth, table, {"r": table}, temperature=1.5)
    for name in ("reward", "reward_std", "rewards/r/mean", "sampled_accuracy"):
        assert drawn[name] == pytest.approx(exact[name], abs=0.08)
    for name in ("format_rate", "accuracy", "entropy"):
        assert drawn[name] == exact[name]
