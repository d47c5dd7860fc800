"""The training losses are those of TRL 1.16 and sentence-transformers 6.2 on the same numbers.

Both are driven without a model: their own code gets the logits or scores of the test.
"""

import collections
import types
from typing import NamedTuple

import pytest

pytest.importorskip("torch")

import torch

from prorank_plugins.rerank.encoding import Labels
from prorank_plugins.training import grpo
from prorank_plugins.training.losses import combined_loss

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("default")]

TOLERANCE = 1e-5


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=TOLERANCE, atol=TOLERANCE)


# TRL

N_PROMPTS, GROUP, VOCABULARY = 6, 8, 12
ZERO_ONE = Labels(positive=4, negative=3)


class Rows(torch.nn.Module):
    """A policy that knows one row of logits a prompt."""

    is_gradient_checkpointing = False

    def __init__(self, logits):
        super().__init__()
        self.logits = torch.nn.Parameter(logits.clone())


def trl_trainer(old, reference, ids, rewards, *, scale, beta, iterations, loss_type):
    """TRL's trainer around given answers and rewards; its advantages, losses and metrics are its own."""
    trl = pytest.importorskip("trl.trainer.grpo_trainer")

    class Trainer(trl.GRPOTrainer):
        def __init__(self):
            """Only what the two methods under test read; no model, data or accelerator."""

        def _generate(self, prompts):
            return [[p] for p in prompts], ids.reshape(-1, 1).tolist(), None, prompts, None, {}, None, None

        def _calculate_rewards(self, *_):
            return rewards

        def _get_per_token_logps_and_entropies(self, model, input_ids, *_, **__):
            rows = model.logits[input_ids[:, 0]].log_softmax(1)
            entropies = -(rows.exp() * rows).sum(1, keepdim=True)
            return rows.gather(1, input_ids[:, 1:]), entropies, None

    trainer = Trainer()
    trainer.args = types.SimpleNamespace(
        per_device_train_batch_size=ids.numel(),
        steps_per_generation=1,
        gradient_accumulation_steps=1,
        gradient_checkpointing_kwargs=None,
        use_bias_correction_kl=False,
        delta=None,
        report_to=[],
    )
    trainer.accelerator = types.SimpleNamespace(
        device=torch.device("cpu"),
        num_processes=1,
        process_index=0,
        is_main_process=True,
        sync_gradients=True,
        gather=lambda x: x,
        reduce=lambda x, reduction: x,
    )
    trainer.model, trainer.ref_model = Rows(old), Rows(reference)
    trainer._tokenizer = types.SimpleNamespace(pad_token_id=0)
    trainer.state = types.SimpleNamespace(global_step=0)
    trainer._metrics = {"train": collections.defaultdict(list)}
    trainer._logs = collections.defaultdict(list) | {"rewards": collections.defaultdict(list)}
    trainer._pending_extra_logs, trainer._pending_metrics = {}, {}
    trainer.reward_func_names, trainer.reward_funcs = ["format", "accuracy"], [None, None]
    trainer.reward_weights = torch.tensor([0.5, 2.0])
    trainer.scale_rewards, trainer.beta, trainer.num_iterations = scale, beta, iterations
    trainer.loss_type, trainer.num_generations = loss_type, ids.shape[1]
    trainer.epsilon_low = trainer.epsilon_high = 0.2
    trainer.current_gradient_accumulation_steps = trainer.max_completion_length = 1
    trainer.importance_sampling_level = "token"
    trainer.multi_objective_aggregation = "sum_then_normalize"
    trainer.top_entropy_quantile = 1.0
    for name in ("environment_factories", "environments", "tools", "pad_to_multiple_of"):
        setattr(trainer, name, None)
    trainer.off_policy_mask_threshold = None
    for name in ("mask_truncated_completions", "use_vllm", "vllm_importance_sampling_correction", "_is_vlm"):
        setattr(trainer, name, False)
    trainer.aux_loss_enabled = trainer._entropy_bonus_enabled = trainer.log_multimodal = False
    return trainer


@pytest.fixture(scope="module")
def rollouts():
    """Policies when the answers were drawn, after a step, and at the start; answers, rewards, labels."""
    generator = torch.Generator().manual_seed(11)
    old = 1.5 * torch.randn(N_PROMPTS, VOCABULARY, generator=generator)
    old[:, 3:5] += 2.0
    old[0, 4] += 12.0  # decided: its group earns the same
    now = old + 0.4 * torch.randn(old.shape, generator=generator)
    reference = old + 0.5 * torch.randn(old.shape, generator=generator)
    ids = grpo.draw_answers(old, GROUP, generator)
    truth = torch.tensor([1, 0, 1, 0, 1, 1])
    by_function = {
        "format": torch.tensor([1.0, 1, 0]).expand(N_PROMPTS, 3),
        "accuracy": torch.nn.functional.one_hot(truth, 3).float(),
    }
    return old, now, reference, ids, truth, by_function


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("beta", [0.0, 0.04])
@pytest.mark.parametrize("iterations", [1, 2])
@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_the_group_loss_is_that_of_trl(rollouts, scale, beta, iterations, loss_type):
    old, now, reference, ids, truth, by_function = rollouts
    now = now if iterations == 2 else old
    table = 0.5 * by_function["format"] + 2.0 * by_function["accuracy"]
    judgements = grpo.judgement_of(ids, ZERO_ONE)
    per_function = torch.stack(
        [values.gather(1, judgements).flatten() for values in by_function.values()], dim=1
    )

    trainer = trl_trainer(
        old, reference, ids, per_function, scale=scale, beta=beta, iterations=iterations, loss_type=loss_type
    )
    inputs = [{"prompt": prompt} for prompt in range(N_PROMPTS) for _ in range(GROUP)]
    generated = trainer._generate_and_score_completions(inputs)
    assert ("old_per_token_logps" in generated) == (iterations == 2)
    policy = Rows(now)
    trl_loss = trainer._compute_loss(policy, generated)
    trl_loss.backward()

    rewards = table.gather(1, judgements)
    weights = grpo.advantages(rewards, scale)
    close(weights.flatten(), generated["advantages"])

    logits = now.clone().requires_grad_()
    log_probs = grpo.answer_log_probs(grpo.token_log_probs(logits), ids)
    old_log_probs = grpo.answer_log_probs(grpo.token_log_probs(old), ids)
    loss, clip_share = grpo.group_loss(log_probs, old_log_probs, weights, clip_eps=0.2)
    kl = grpo.sampled_kl(log_probs, grpo.answer_log_probs(grpo.token_log_probs(reference), ids))
    if beta:
        loss = loss + beta * kl.mean()
    loss.backward()
    close(loss, trl_loss)
    close(logits.grad, policy.logits.grad)

    metrics = grpo.warmup_metrics(
        logits, ZERO_ONE, truth, table, by_function, ids=ids, kl=kl if beta else None, clip_share=clip_share
    )
    theirs = {name: values[-1] for name, values in trainer._metrics["train"].items()}
    shared = {"reward", "reward_std", "rewards/format/mean", "rewards/accuracy/mean", "entropy"}
    shared |= {"clip_ratio/region_mean"} | ({"kl"} if beta else set())
    if scale != "batch":  # TRL then looks at the deviation of the batch
        shared.add("frac_reward_zero_std")
    assert shared <= set(theirs) & set(metrics)
    assert {name: metrics[name] for name in shared} == pytest.approx(
        {name: theirs[name] for name in shared}, rel=TOLERANCE, abs=TOLERANCE
    )
    assert metrics["frac_reward_zero_std"] > 0
    assert (metrics["clip_ratio/region_mean"] > 0) == (iterations == 2)


# sentence-transformers


def cross_encoder_losses():
    return pytest.importorskip("sentence_transformers.cross_encoder.losses")


def cross_encoder(scores):
    """A CrossEncoder that scores (row, column), both as text, by the matrix ``scores``."""
    library = pytest.importorskip("sentence_transformers.cross_encoder")

    class Matrix(library.CrossEncoder):
        num_labels = 1
        device = torch.device("cpu")

        def __init__(self):
            torch.nn.Module.__init__(self)

        def preprocess(self, pairs, **_):
            return {"cells": torch.tensor([[int(query), int(document)] for query, document in pairs])}

        def forward(self, inputs):
            return {"scores": scores[inputs["cells"][:, 0], inputs["cells"][:, 1]][:, None]}

    return Matrix()


def assert_same(name, scores, grades, mask, teacher, theirs_of, **options):
    """Value and gradient of our loss against ``theirs_of`` a CrossEncoder."""
    leaves = [scores.clone().requires_grad_() for _ in range(2)]
    loss, _ = combined_loss({name: 1.0}, leaves[0], grades, mask, teacher, **options)
    loss.backward()
    expected = theirs_of(cross_encoder(leaves[1]))
    expected.backward()
    close(loss, expected)
    close(leaves[0].grad, leaves[1].grad)
    assert float(expected.detach()) > 0


class Batch(NamedTuple):
    scores: torch.Tensor
    grades: torch.Tensor
    mask: torch.Tensor
    teacher: torch.Tensor


@pytest.fixture(params=[1.0, 30.0], ids=["small", "large"])
def ragged(request):
    """Groups of 6, 4, 2 and 5 graded documents with a teacher's scores."""
    generator = torch.Generator().manual_seed(4)
    scores = request.param * torch.randn(4, 6, generator=generator)
    mask = torch.arange(6)[None] < torch.tensor([6, 4, 2, 5])[:, None]
    grades = torch.randint(0, 4, (4, 6), generator=generator).float()
    grades[:, 0], grades[:, 1] = 2.0, 0.0
    teacher = request.param * torch.randn(4, 6, generator=generator)
    return Batch(scores, grades, mask, teacher)


def listwise(loss, values, mask):
    """Call a listwise loss of sentence-transformers on the cells of the mask."""
    rows = [str(i) for i in range(len(mask))]
    documents = [[str(j) for j in row.nonzero().flatten().tolist()] for row in mask]
    return loss([rows, documents], [value[kept] for value, kept in zip(values, mask, strict=True)])


def pointwise(loss, values, mask):
    rows, columns = mask.nonzero(as_tuple=True)
    return loss([[str(i) for i in rows.tolist()], [str(j) for j in columns.tolist()]], values[mask])


def test_bce_is_the_binary_cross_entropy_loss(ragged):
    losses = cross_encoder_losses()
    binary = (ragged.grades > 0).float()
    assert_same(
        "bce", *ragged, lambda model: pointwise(losses.BinaryCrossEntropyLoss(model), binary, ragged.mask)
    )


def test_mse_is_the_mse_loss(ragged):
    losses = cross_encoder_losses()
    assert_same("mse", *ragged, lambda model: pointwise(losses.MSELoss(model), ragged.teacher, ragged.mask))


@pytest.mark.parametrize(("name", "theirs"), [("ranknet", "RankNetLoss"), ("listnet", "ListNetLoss")])
def test_listwise_losses_are_the_same(ragged, name, theirs):
    loss = getattr(cross_encoder_losses(), theirs)
    assert_same(name, *ragged, lambda model: listwise(loss(model), ragged.grades, ragged.mask))


@pytest.mark.parametrize("k", [None, 1, 3, 10])
def test_lambda_is_the_default_lambda_loss(ragged, k):
    losses = cross_encoder_losses()
    assert_same(
        "lambda",
        *ragged,
        lambda model: listwise(losses.LambdaLoss(model, k=k), ragged.grades, ragged.mask),
        k=k,
    )


@pytest.mark.parametrize("n_negatives", [1, 3])
def test_margin_mse_is_the_margin_mse_loss(n_negatives):
    generator = torch.Generator().manual_seed(5)
    scores, teacher = torch.randn(2, 4, 1 + n_negatives, generator=generator)
    grades = torch.zeros_like(scores)
    grades[:, 0] = 1.0
    columns = [[str(c)] * 4 for c in range(1 + n_negatives)]
    losses = cross_encoder_losses()
    assert_same(
        "margin_mse",
        scores,
        grades,
        torch.ones_like(scores, dtype=torch.bool),
        teacher,
        lambda model: losses.MarginMSELoss(model)([list("0123"), *columns], list(teacher)),
    )


@pytest.mark.parametrize("n_hard", [0, 2])
@pytest.mark.parametrize("temperature", [1.0, 0.25])
def test_contrastive_is_the_multiple_negatives_ranking_loss_of_raw_scores(n_hard, temperature):
    """With each query's relevant document, its hard negatives, and all documents of the other queries."""
    n, columns = 4, 1 + n_hard
    scores = 3 * torch.randn(n, n * columns, generator=torch.Generator().manual_seed(6))
    grades = torch.zeros_like(scores)
    grades[range(n), [i * columns for i in range(n)]] = 1.0
    texts = [[str(i * columns + c) for i in range(n)] for c in range(columns)]
    losses = cross_encoder_losses()
    assert_same(
        "contrastive",
        scores,
        grades,
        torch.ones_like(scores, dtype=torch.bool),
        None,
        lambda model: losses.MultipleNegativesRankingLoss(
            model, num_negatives=None, scale=1 / temperature, activation_fn=torch.nn.Identity()
        )([list("0123"), *texts], None),
        temperature=temperature,
    )


def test_groups_without_two_kinds_count_in_listnet_of_sentence_transformers_only(ragged):
    """The one difference found: equal grades are a uniform target there, and nothing to learn here."""
    scores, grades, mask, _ = ragged
    losses = cross_encoder_losses()
    alike = torch.where(torch.arange(4)[:, None] < 2, grades, 1.0)
    ours, _ = combined_loss({"listnet": 1.0}, scores, alike, mask)
    first, _ = combined_loss({"listnet": 1.0}, scores[:2], grades[:2], mask[:2])
    theirs = listwise(losses.ListNetLoss(cross_encoder(scores)), alike, mask)
    close(ours, first)
    assert float(theirs) > float(ours) / 2 + 0.1
    for name, theirs in (("ranknet", losses.RankNetLoss), ("lambda", losses.LambdaLoss)):
        ours, _ = combined_loss({name: 1.0}, scores, alike, mask)
        close(ours, listwise(theirs(cross_encoder(scores)), alike, mask))
