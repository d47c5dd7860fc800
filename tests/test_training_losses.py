"""The losses of score learning: by hand, against plain loops, and the laws that they keep."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")

import torch

from prorank_plugins.core.errors import ConfigError
from prorank_plugins.training.losses import LOSSES, ScoredGroups, check_losses, combined_loss

SHIFT_INVARIANT = ["contrastive", "preference", "ranknet", "listnet", "lambda", "margin_mse"]
each_loss = pytest.mark.parametrize("name", LOSSES)


def batch_of(groups, **options):
    """Groups of (score, grade, teacher score) as a padded batch whose padding would be noticed."""
    width = max(map(len, groups))
    padding = (math.nan, 3.0, math.nan)
    columns = [
        torch.tensor([[document[c] for document in [*group, *[padding] * (width - len(group))]]
                      for group in groups], dtype=torch.float64)
        for c in range(3)
    ]  # fmt: skip
    mask = torch.tensor([[i < len(group) for i in range(width)] for group in groups])
    return ScoredGroups(columns[0].requires_grad_(), columns[1], mask, columns[2], **options)


def value(name, groups, **options):
    return float(LOSSES[name](batch_of(groups, **options)).detach())


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


# Plain loops: each gives a loss from lists of (score, grade, teacher score)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


def preferred(group):
    return [(a, b) for a in group for b in group if a[1] > b[1]]


def loop_bce(groups):
    return mean(-log_sigmoid(s if grade > 0 else -s) for group in groups for s, grade, _ in group)


def loop_mse(groups):
    return mean((s - t) ** 2 for group in groups for s, _, t in group)


def loop_margin_mse(groups):
    errors = []
    for group in groups:
        pairs = [(a, b) for a in group for b in group if a[1] > 0 == b[1]]
        pairs = pairs or [(group[i], group[j]) for i in range(len(group)) for j in range(i + 1, len(group))]
        errors += [((a[0] - b[0]) - (a[2] - b[2])) ** 2 for a, b in pairs]
    return mean(errors)


def loop_contrastive(groups, temperature=1.0):
    by_group = []
    for group in groups:
        negatives = [s / temperature for s, grade, _ in group if grade == 0]
        positives = [s / temperature for s, grade, _ in group if grade > 0]
        if positives and negatives:
            by_group.append(mean(math.log(sum(math.exp(s - p) for s in [p, *negatives])) for p in positives))
    return mean(by_group)


def loop_preference(groups):
    by_group = [[-log_sigmoid(a[0] - b[0]) for a, b in preferred(group)] for group in groups]
    return mean(mean(losses) for losses in by_group if losses)


def loop_ranknet(groups):
    return mean(-log_sigmoid(a[0] - b[0]) / math.log(2) for group in groups for a, b in preferred(group))


def loop_lambda(groups, k=None):
    losses = []
    for group in groups:
        cut = k or len(group)
        rank = {doc: r for r, doc in enumerate(sorted(group, key=lambda doc: -doc[0]), 1)}
        ideal = sorted((2**grade - 1 for _, grade, _ in group), reverse=True)[:cut]
        best = sum(gain / math.log2(1 + r) for r, gain in enumerate(ideal, 1))
        for a, b in preferred(group):
            if min(rank[a], rank[b]) > cut:
                continue
            d = abs(rank[a] - rank[b])
            rho = abs(1 / math.log2(1 + rank[a]) - 1 / math.log2(1 + rank[b]))
            delta = 1 / math.log2(1 + d) - 1 / math.log2(2 + d)
            weight = (rho + 10 * delta) * (2 ** a[1] - 2 ** b[1]) / best
            losses.append(-weight * log_sigmoid(a[0] - b[0]) / math.log(2))
    return mean(losses)


def loop_listnet(groups):
    by_group = []
    for group in groups:
        if not preferred(group):
            continue
        weights = [math.exp(grade) for _, grade, _ in group]
        total = math.log(sum(math.exp(s) for s, _, _ in group))
        log_shares = [s - total for s, _, _ in group]
        by_group.append(-sum(w * x for w, x in zip(weights, log_shares, strict=True)) / sum(weights))
    return mean(by_group)


LOOPS = {
    "bce": loop_bce,
    "contrastive": loop_contrastive,
    "preference": loop_preference,
    "ranknet": loop_ranknet,
    "listnet": loop_listnet,
    "lambda": loop_lambda,
    "mse": loop_mse,
    "margin_mse": loop_margin_mse,
}

quarters = st.integers(-40, 40).map(lambda i: i / 4)


@st.composite
def judged_groups(draw, most=4):
    """Up to four groups of up to five documents; scores of a group differ, so that ranks are certain."""
    groups = []
    for _ in range(draw(st.integers(1, most))):
        scores = draw(st.lists(quarters, min_size=1, max_size=5, unique=True))
        groups.append([(s, float(draw(st.integers(0, 3))), draw(quarters)) for s in scores])
    return groups


@each_loss
@given(groups=judged_groups())
def test_each_loss_agrees_with_plain_loops(name, groups):
    assert value(name, groups) == pytest.approx(LOOPS[name](groups), rel=1e-9, abs=1e-12)


@given(judged_groups(), st.sampled_from([0.25, 2.0]), st.integers(1, 6))
def test_temperature_and_cutoff_agree_with_plain_loops(groups, temperature, k):
    found = value("contrastive", groups, temperature=temperature)
    assert found == pytest.approx(loop_contrastive(groups, temperature), rel=1e-9, abs=1e-12)
    assert value("lambda", groups, k=k) == pytest.approx(loop_lambda(groups, k), rel=1e-9, abs=1e-12)


# By hand

GROUP = [(2.0, 1.0, 3.0), (1.0, 0.0, 1.0), (-1.0, 0.0, 0.5)]
"""A relevant document with score 2 above two irrelevant ones."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("bce", (math.log(1 + math.e**-2) + math.log(1 + math.e) + math.log(1 + math.e**-1)) / 3),
        ("contrastive", math.log(1 + math.e**-1 + math.e**-3)),
        ("preference", (math.log(1 + math.e**-1) + math.log(1 + math.e**-3)) / 2),
        ("ranknet", (math.log2(1 + math.e**-1) + math.log2(1 + math.e**-3)) / 2),
        ("mse", (1 + 0 + 1.5**2) / 3),
        ("margin_mse", ((1 - 2) ** 2 + (3 - 2.5) ** 2) / 2),
        # The target is (e, 1, 1) / (e + 2), log softmax of the scores s - 2 - log(1 + e^-1 + e^-3).
        ("listnet", math.log(1 + math.e**-1 + math.e**-3) + (1 + 3) / (math.e + 2)),
    ],
)
def test_one_group_by_hand(name, expected):
    assert value(name, [GROUP]) == pytest.approx(expected, rel=1e-12)


def test_the_lambda_loss_of_two_documents_by_hand():
    # maxDCG = 1, ranks 2 and 1: ρ = 1 - 1/log₂3 and δ the same, at μ = 10; the pair is one bit off.
    pair = [(0.0, 1.0, 0.0), (1e-9, 0.0, 0.0)]
    assert value("lambda", [pair]) == pytest.approx(11 * (1 - 1 / math.log2(3)), rel=1e-6)


def test_relevant_documents_are_not_negatives_of_each_other():
    two = [(5.0, 1.0, 0.0), (2.0, 2.0, 0.0), (1.0, 0.0, 0.0)]
    expected = (math.log(1 + math.e**-4) + math.log(1 + math.e**-1)) / 2
    assert value("contrastive", [two]) == pytest.approx(expected)


def test_preference_weighs_queries_and_ranknet_weighs_pairs():
    one_pair = [(0.0, 1.0, 0.0), (0.0, 0.0, 0.0)]
    two_pairs = [(1.0, 1.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)]
    even, ahead = math.log(2), math.log(1 + math.e**-1)
    assert value("preference", [one_pair, two_pairs]) == pytest.approx((even + ahead) / 2)
    assert value("ranknet", [one_pair, two_pairs]) == pytest.approx((even + 2 * ahead) / 3 / math.log(2))
    assert value("ranknet", [two_pairs]) == pytest.approx(value("preference", [two_pairs]) / math.log(2))


def test_a_graded_list_without_zeros_still_has_preferences():
    graded = [(1.0, 2.0, 0.0), (0.0, 1.0, 0.0)]
    assert value("preference", [graded]) == pytest.approx(math.log(1 + math.e**-1))
    assert value("contrastive", [graded]) == 0


def test_unjudged_groups_distil_by_all_their_margins():
    unjudged = [(1.0, 0.0, 4.0), (0.0, 0.0, 1.0), (2.0, 0.0, 0.0)]
    assert value("margin_mse", [unjudged]) == pytest.approx(
        ((1 - 3) ** 2 + (-1 - 4) ** 2 + (-2 - 1) ** 2) / 3
    )


# Groups without anything to compare

IRRELEVANT = [(3.0, 0.0, 1.0), (1.0, 0.0, 0.0)]
RELEVANT = [(3.0, 1.0, 1.0), (1.0, 1.0, 0.0)]
LONE = [(3.0, 1.0, 1.0)]


@pytest.mark.parametrize("name", ["contrastive", "preference", "ranknet", "listnet", "lambda"])
def test_groups_without_two_kinds_are_left_out_and_alone_give_zero_with_a_graph(name):
    assert value(name, [GROUP, IRRELEVANT, RELEVANT, LONE]) == pytest.approx(value(name, [GROUP]))
    batch = batch_of([IRRELEVANT, RELEVANT, LONE])
    scores = torch.zeros_like(batch.scores, requires_grad=True)
    loss, _ = combined_loss({name: 1.0}, scores, batch.grades, batch.mask)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(scores.grad, torch.zeros_like(scores))


@each_loss
def test_a_batch_of_padding_alone_gives_zero_with_a_graph(name):
    scores = torch.zeros(2, 3, requires_grad=True)
    nothing = torch.zeros(2, 3)
    loss, _ = combined_loss({name: 1.0}, scores, nothing, nothing.bool(), nothing)
    loss.backward()
    assert float(loss.detach()) == 0
    assert torch.equal(scores.grad, nothing)


# Laws


def moved(groups, change):
    return [[(change(g, s), grade, t) for s, grade, t in group] for g, group in enumerate(groups)]


@pytest.mark.parametrize("name", SHIFT_INVARIANT)
@given(groups=judged_groups(), offsets=st.lists(quarters, min_size=4, max_size=4))
def test_losses_of_differences_ignore_an_offset_of_each_group(name, groups, offsets):
    shifted = moved(groups, lambda g, s: s + offsets[g])
    assert value(name, shifted) == pytest.approx(value(name, groups), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", sorted(set(LOSSES) - set(SHIFT_INVARIANT)))
def test_losses_of_single_documents_hold_the_offset(name):
    assert value(name, moved([GROUP], lambda _, s: s + 1)) != pytest.approx(value(name, [GROUP]), rel=1e-3)


@given(judged_groups(), st.sampled_from([0.5, 2.0, 4.0]))
def test_contrastive_sees_scores_over_temperature_only(groups, unit):
    scaled = moved(groups, lambda _, s: s * unit)
    found = value("contrastive", scaled, temperature=unit)
    assert found == pytest.approx(value("contrastive", groups), rel=1e-9, abs=1e-12)


@each_loss
@given(groups=judged_groups(), random=st.randoms(use_true_random=False))
def test_the_order_of_documents_and_groups_does_not_matter(name, groups, random):
    shuffled = [random.sample(group, len(group)) for group in groups]
    random.shuffle(shuffled)
    assert value(name, shuffled) == pytest.approx(value(name, groups), rel=1e-9, abs=1e-12)


@each_loss
@given(groups=judged_groups())
def test_losses_are_positive_and_fall_along_their_gradient(name, groups):
    batch = batch_of(groups)
    leaf = batch.scores.detach().clone().requires_grad_()
    loss = LOSSES[name](ScoredGroups(leaf, batch.grades, batch.mask, batch.teacher_scores))
    loss.backward()
    assert float(loss.detach()) >= 0
    assert torch.isfinite(leaf.grad).all()
    assert not leaf.grad[~batch.mask].any()
    if float(leaf.grad.abs().max()) > 1e-6 and name != "lambda":  # whose weights may change with the ranks
        step = leaf.detach() - 1e-4 * leaf.grad
        moved_on = LOSSES[name](ScoredGroups(step, batch.grades, batch.mask, batch.teacher_scores))
        assert float(moved_on) < float(loss.detach())


@each_loss
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_scores_have_finite_losses_and_gradients(name, size):
    signs = torch.tensor([[1.0, -1, 1, -1], [-1, 1, -1, 1], [1, 1, -1, 0]])
    grades = torch.tensor([[1.0, 0, 0, 2], [3, 0, 0, 0], [0, 0, 0, 0]])
    mask = torch.tensor([[True] * 4, [True, True, True, False], [True] * 4])
    scores = (size * signs).requires_grad_()
    loss, parts = combined_loss({name: 1.0}, scores, grades, mask, -size * signs)
    loss.backward()
    assert math.isfinite(parts[name])
    assert torch.isfinite(scores.grad).all()


def test_lambda_takes_grades_of_any_size():
    scores = torch.tensor([[0.0, 1.0, 2.0]])
    grades = torch.tensor([[1000.0, 500.0, 0.0]])
    loss, _ = combined_loss({"lambda": 1.0}, scores, grades, torch.ones(1, 3, dtype=torch.bool))
    assert 0 < float(loss) < 100


def test_half_precision_scores_are_widened():
    scores = torch.zeros(1, 2, dtype=torch.bfloat16, requires_grad=True)
    batch = ScoredGroups(scores, torch.tensor([[1, 0]]), torch.ones(1, 2, dtype=torch.bool))
    assert batch.scores.dtype == batch.grades.dtype == torch.float32


# Mixtures


def test_a_mixture_is_the_weighted_sum_of_its_parts():
    batch = batch_of([GROUP, RELEVANT])
    loss, parts = combined_loss(
        {"contrastive": 1.0, "bce": 0.3, "mse": 0},
        batch.scores,
        batch.grades,
        batch.mask,
        batch.teacher_scores,
    )
    assert float(loss.detach()) == pytest.approx(parts["contrastive"] + 0.3 * parts["bce"])
    assert parts == pytest.approx({name: value(name, [GROUP, RELEVANT]) for name in parts})
    assert list(parts) == ["contrastive", "bce", "mse"]
    assert {type(part) for part in parts.values()} == {float}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (
            {"hinge": 1.0},
            "unknown loss 'hinge'; expected one of bce, contrastive, preference, ranknet, listnet, lambda",
        ),
        ({"bce": math.nan}, "the weight of the loss 'bce' is nan"),
        ({"bce": -1.0}, "expected a number of at least 0"),
        ({"bce": math.inf}, "the weight of the loss 'bce' is inf"),
        ({"bce": True}, "the weight of the loss 'bce' is True"),
        ({"bce": 0.0, "mse": 0}, "no loss has a weight above 0"),
        ({}, "no loss has a weight above 0"),
    ],
)
def test_mixtures_that_cannot_be_minimised_are_refused(weights, message):
    with pytest.raises(ConfigError, match=message):
        check_losses(weights)


@pytest.mark.parametrize("name", ["mse", "margin_mse"])
def test_distillation_without_a_teacher_is_refused(name):
    with pytest.raises(ConfigError, match=f"the loss '{name}' needs a teacher's scores"):
        combined_loss({name: 1.0}, torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": torch.zeros(2)}, r"scores have shape \(2,\)"),
        ({"grades": torch.zeros(1, 3)}, r"grades has shape \(1, 3\)"),
        ({"mask": torch.zeros(2, 2, dtype=torch.bool)}, r"mask has shape \(2, 2\)"),
        ({"mask": torch.zeros(1, 2)}, "mask is torch.float32"),
        ({"teacher_scores": torch.zeros(1, 1)}, "teacher_scores has shape"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"k": 0}, "k is 0"),
    ],
)
def test_batches_that_do_not_fit_together_are_refused(changed, message):
    fitting = {
        "scores": torch.zeros(1, 2),
        "grades": torch.zeros(1, 2),
        "mask": torch.ones(1, 2, dtype=torch.bool),
    }
    with pytest.raises(ConfigError, match=message):
        ScoredGroups(**fitting | changed)
