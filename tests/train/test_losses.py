"""Losses against autograd of what they must equal, in float64, and against figures by hand."""

# ruff: noqa: N802, N803, N806, N815 - shape letters end a tensor's name
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from lopd_store.errors import UsageError
from lopd_train.logprobs import output_layer, target_logprobs
from lopd_train.losses import (
    REDUCTIONS,
    LossOptions,
    Reduction,
    advantages,
    importance_weights,
    mean_advantage,
    opd_loss,
    reduction_weights,
    sft_loss,
)
from tests import models

SEEDS = st.integers(0, 2**32 - 1)
CLIPS = st.sampled_from([0.05, 1.0, 10.0, math.inf])
PAPER = LossOptions(importance="none")
QUICK = settings(deadline=None, max_examples=60)  # a busy machine is no failure


@dataclass(frozen=True)
class Case:
    """Logits of a batch in float64, what was sampled, and what others say of it."""

    logits_BTV: torch.Tensor
    targets_BT: torch.Tensor
    trained_BT: torch.Tensor
    teacher_N: torch.Tensor
    rollout_N: torch.Tensor
    weights_N: torch.Tensor

    @property
    def logprobs_N(self) -> torch.Tensor:
        every_BTV = self.logits_BTV.log_softmax(-1)
        return every_BTV.gather(-1, self.targets_BT[..., None])[..., 0][self.trained_BT]

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        (found,) = torch.autograd.grad(loss, self.logits_BTV)
        return found


def made(seed: int) -> Case:
    """Random shapes, masks, weights, and teachers from near to 30 nats away."""
    random = torch.Generator().manual_seed(seed)
    rows, tokens, words = (int(torch.randint(1, 9, (), generator=random)) for _ in range(3))
    logits_BTV = torch.randn(rows, tokens, words, generator=random, dtype=torch.float64) * 3
    trained_BT = torch.rand(rows, tokens, generator=random) < 0.7
    trained_BT[0, 0] = True
    count = int(trained_BT.sum())
    spread = 10 ** float(torch.rand((), generator=random) * 3 - 1.5)
    case = Case(
        logits_BTV=logits_BTV.requires_grad_(),
        targets_BT=torch.randint(words, (rows, tokens), generator=random),
        trained_BT=trained_BT,
        teacher_N=torch.zeros(0),
        rollout_N=torch.zeros(0),
        weights_N=torch.rand(count, generator=random, dtype=torch.float64),
    )
    own_N = case.logprobs_N.detach()
    noise = torch.randn(2, count, generator=random, dtype=torch.float64)
    return Case(
        case.logits_BTV,
        case.targets_BT,
        trained_BT,
        teacher_N=own_N + noise[0] * spread,
        rollout_N=own_N + noise[1] * 0.5,
        weights_N=case.weights_N,
    )


@QUICK
@given(SEEDS)
def test_the_papers_gradient_is_that_of_half_the_squared_error(seed: int) -> None:
    case = made(seed)
    options = LossOptions(importance="none", advantage_clip=math.inf)
    found = case.gradient(
        opd_loss(case.logprobs_N, case.teacher_N, case.weights_N, options=options).loss
    )
    squares_N = 0.5 * (case.teacher_N - case.logprobs_N) ** 2
    expected = case.gradient((case.weights_N * squares_N).sum())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@QUICK
@given(SEEDS, CLIPS.filter(math.isfinite))
def test_clipped_it_is_that_of_a_huber_loss(seed: int, tau: float) -> None:
    case = made(seed)
    options = LossOptions(importance="none", advantage_clip=tau)
    found = opd_loss(case.logprobs_N, case.teacher_N, case.weights_N, options=options)
    huber_N = torch.nn.functional.huber_loss(
        case.logprobs_N, case.teacher_N, delta=tau, reduction="none"
    )
    expected = case.gradient((case.weights_N * huber_N).sum())
    torch.testing.assert_close(case.gradient(found.loss), expected, rtol=1e-9, atol=1e-12)
    outside_N = (case.teacher_N - case.logprobs_N).abs() > tau
    assert float(found.clipped) == pytest.approx(float(outside_N.double().mean()))


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
@pytest.mark.parametrize("tau", [0.5, 10.0])
def test_real_models_have_the_gradient_of_the_huber_loss_in_every_parameter(
    architecture: str, tau: float, tmp_path: Path
) -> None:
    policy = loaded(models.save_model(tmp_path, architecture, tokenizer=False)).double()
    ids_BT, trained_BT = batch(seed=7)
    random = torch.Generator().manual_seed(8)
    own_N = full_logprobs(policy, ids_BT)[trained_BT]
    teacher_N = own_N.detach() + torch.randn(own_N.shape, generator=random, dtype=own_N.dtype) * 4
    weights_N = torch.rand(own_N.shape, generator=random, dtype=own_N.dtype)
    huber_N = torch.nn.functional.huber_loss(own_N, teacher_N, delta=tau, reduction="none")
    expected = torch.autograd.grad((weights_N * huber_N).sum(), list(policy.parameters()))

    options = LossOptions(importance="none", advantage_clip=tau)
    logprobs_N = chunked_logprobs(policy, ids_BT, trained_BT)
    surrogate = opd_loss(logprobs_N, teacher_N, weights_N, options=options)
    found = torch.autograd.grad(surrogate.loss, list(policy.parameters()))
    assert 0 < float(surrogate.clipped) < 1 or tau == 10.0
    largest = max(float(gradient.abs().max()) for gradient in expected)
    for name, ours, theirs in zip(dict(policy.named_parameters()), found, expected, strict=True):
        gap = float((ours - theirs).abs().max())
        assert gap <= 1e-6 * largest, f"{name}: {gap}"


def test_a_student_that_is_its_teacher_has_next_to_no_advantage_and_gradient(
    tmp_path: Path,
) -> None:
    policy = loaded(models.save_model(tmp_path, "qwen2", tokenizer=False))
    ids_BT, trained_BT = batch(seed=3)
    teacher_N = full_logprobs(policy, ids_BT)[trained_BT].detach()  # by another way: log_softmax
    weights_N = torch.full_like(teacher_N, 1 / len(teacher_N))
    logprobs_N = chunked_logprobs(policy, ids_BT, trained_BT)
    found = opd_loss(logprobs_N, teacher_N, weights_N, options=PAPER)
    assert float(found.advantages_N.abs().max()) <= 1e-4
    norm = torch.stack(
        [g.norm() for g in torch.autograd.grad(found.loss, list(policy.parameters()))]
    ).norm()
    print(f"student = teacher, log-probs by two ways: gradient norm {float(norm):.3g}")  # noqa: T201
    assert float(norm) <= 1e-4


@pytest.mark.parametrize("foretold", [False, True], ids=["made again", "made along"])
def test_identical_logprobs_have_a_gradient_of_exactly_zero(foretold: bool, tmp_path: Path) -> None:  # noqa: FBT001
    policy = loaded(models.save_model(tmp_path, "qwen2", tokenizer=False))
    ids_BT, trained_BT = batch(seed=3)
    teacher_N = chunked_logprobs(policy, ids_BT, trained_BT).detach()
    weights_N = torch.full_like(teacher_N, 1 / len(teacher_N))

    def slopes(logprobs_C: torch.Tensor, rows: slice) -> torch.Tensor:
        return opd_loss(logprobs_C, teacher_N[rows], weights_N[rows], options=PAPER).slopes_N

    logprobs_N = chunked_logprobs(policy, ids_BT, trained_BT, slopes if foretold else None)
    found = opd_loss(logprobs_N, teacher_N, weights_N, options=PAPER)
    assert not found.advantages_N.any()
    found.loss.backward()
    assert all(p.grad is not None and not p.grad.any() for p in policy.parameters())


@QUICK
@given(SEEDS, CLIPS, st.booleans(), st.sampled_from([None, 0.2]), st.booleans())
def test_slopes_are_the_gradient_by_the_logprobs(
    seed: int,
    tau: float,
    centre: bool,  # noqa: FBT001
    ppo: float | None,
    weighted: bool,  # noqa: FBT001
) -> None:
    case = made(seed)
    options = LossOptions(
        importance="token" if weighted else "none",
        advantage_clip=tau,
        centre=centre,
        ppo_clip=ppo if weighted else None,
    )
    logprobs_N = case.logprobs_N.detach().requires_grad_()
    found = opd_loss(
        logprobs_N,
        case.teacher_N,
        case.weights_N,
        options=options,
        rollout_N=case.rollout_N,
        baseline=0.3 if centre else 0.0,
    )
    (gradient,) = torch.autograd.grad(found.loss, logprobs_N)
    assert torch.equal(found.slopes_N, gradient)
    assert not found.slopes_N.requires_grad
    assert not found.advantages_N.requires_grad


@QUICK
@given(SEEDS, st.sampled_from([0.05, 0.2, 0.9]))
def test_ppo_has_the_gradient_of_the_textbook_objective(seed: int, epsilon: float) -> None:
    case = made(seed)
    options = LossOptions(ppo_clip=epsilon, importance_cap=math.inf, centre=True)
    found = opd_loss(
        case.logprobs_N,
        case.teacher_N,
        case.weights_N,
        options=options,
        rollout_N=case.rollout_N,
        baseline=-0.4,
    )
    gains_N = (case.teacher_N - case.logprobs_N).detach().clamp(-10, 10) + 0.4
    ratio_N = (case.logprobs_N - case.rollout_N).exp()
    near_N = ratio_N.clamp(1 - epsilon, 1 + epsilon)
    textbook_N = -torch.minimum(ratio_N * gains_N, near_N * gains_N)
    expected = case.gradient((case.weights_N * textbook_N).sum())
    torch.testing.assert_close(case.gradient(found.loss), expected, rtol=1e-9, atol=1e-12)
    flat_N = (near_N != ratio_N) & (near_N * gains_N < ratio_N * gains_N)
    assert float(found.stopped) == pytest.approx(float(flat_N.double().mean()))


def test_a_weighted_and_centred_loss_worked_by_hand() -> None:
    logprobs_N = torch.tensor([-1.0, -2.0, -3.0], dtype=torch.float64, requires_grad=True)
    teacher_N = torch.tensor([-0.5, -22.0, -3.25], dtype=torch.float64)  # A = 0.5, -20, -0.25
    rollout_N = logprobs_N.detach() - torch.tensor([2.0, 0.5, 9.0], dtype=torch.float64).log()
    weights_N = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    options = LossOptions(advantage_clip=10.0, importance_cap=5.0, centre=True)
    found = opd_loss(
        logprobs_N, teacher_N, weights_N, options=options, rollout_N=rollout_N, baseline=-1.5
    )
    assert found.advantages_N.tolist() == [0.5, -10.0, -0.25]
    assert found.importance_N is not None
    assert found.importance_N.tolist() == pytest.approx([2.0, 0.5, 5.0])
    # -weight * importance * (A + 1.5): -1 * 2 * 2, -0.5 * 0.5 * -8.5, -2 * 5 * 1.25
    assert found.slopes_N.tolist() == pytest.approx([-4.0, 2.125, -12.5])
    assert float(found.loss.detach()) == pytest.approx(-4.0 * -1 + 2.125 * -2 - 12.5 * -3)
    assert float(found.clipped) == pytest.approx(1 / 3)
    assert float(found.stopped) == 0


def test_a_ratio_too_large_for_float32_is_capped() -> None:
    weights_N = importance_weights(torch.tensor([-1.0]), torch.tensor([-200.0]), cap=5.0)
    assert weights_N.tolist() == [5.0]


def test_the_ratio_to_the_policy_itself_is_one() -> None:
    logprobs_N = torch.tensor([-0.1, -30.0], requires_grad=True)
    found_N = importance_weights(logprobs_N, logprobs_N.detach(), cap=5.0)
    assert found_N.tolist() == [1.0, 1.0]
    assert not found_N.requires_grad


def test_without_the_stop_gradient_rollouts_would_only_be_pushed_down() -> None:
    """Why the surrogate is no literal reading of the paper's eq. 4."""
    logprobs_N = torch.tensor([-1.0, -2.0], dtype=torch.float64, requires_grad=True)
    teacher_N = torch.tensor([-0.5, -3.0], dtype=torch.float64)
    ones_N = torch.ones_like(teacher_N)
    (literal,) = torch.autograd.grad(-(teacher_N - logprobs_N).sum(), logprobs_N)
    assert literal.tolist() == [1.0, 1.0]  # descent lowers both, whatever the teacher says
    assert opd_loss(logprobs_N, teacher_N, ones_N, options=PAPER).slopes_N.tolist() == [-0.5, 1.0]


WEIGHTS_BY_HAND = {
    "sequence-mean": [1 / 6, 1 / 6, 1 / 6, 1 / 2],
    "token-mean": [1 / 4] * 4,
    "token-sum": [1 / 2] * 4,
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_of_a_row_of_three_tokens_and_a_row_of_one(reduction: Reduction) -> None:
    found_N = reduction_weights(reduction, torch.tensor([3, 3, 3, 1]), rows=2, tokens=4)
    assert found_N.dtype == torch.float32
    assert found_N.tolist() == pytest.approx(WEIGHTS_BY_HAND[reduction])


@QUICK
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=8), SEEDS, st.sampled_from(list(REDUCTIONS))
)
def test_the_loss_of_a_step_is_the_sum_over_any_micro_batches(
    lengths: list[int], seed: int, reduction: Reduction
) -> None:
    random = torch.Generator().manual_seed(seed)
    count = sum(lengths)
    row_N = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    logprobs_N, teacher_N = -torch.rand(2, count, generator=random, dtype=torch.float64) * 5
    per_row = [
        ((teacher_N - logprobs_N) * -logprobs_N)[row_N == row] for row in range(len(lengths))
    ]
    expected = {
        "sequence-mean": torch.stack([tokens.mean() for tokens in per_row]).mean(),
        "token-mean": torch.cat(per_row).mean(),
        "token-sum": torch.stack([tokens.sum() for tokens in per_row]).mean(),
    }[reduction]
    parts_N = torch.randint(3, (len(lengths),), generator=random)[row_N]
    total = 0.0
    for part in range(3):
        here = parts_N == part
        weights_N = reduction_weights(
            reduction, torch.tensor(lengths)[row_N][here], rows=len(lengths), tokens=count
        )
        found = opd_loss(logprobs_N[here], teacher_N[here], weights_N, options=PAPER)
        total += float(found.loss)
    assert total == pytest.approx(float(expected), rel=1e-6, abs=1e-9)


@QUICK
@given(SEEDS, CLIPS)
def test_the_baseline_of_a_step_leaves_advantages_of_weighted_mean_zero(
    seed: int, tau: float
) -> None:
    case = made(seed)
    options = LossOptions(importance="none", centre=True, advantage_clip=tau)
    half = len(case.weights_N) // 2
    sums = sum(
        mean_advantage(
            case.logprobs_N[part], case.teacher_N[part], case.weights_N[part], options=options
        )
        for part in (slice(half), slice(half, None))
    )
    assert isinstance(sums, torch.Tensor)
    found = opd_loss(
        case.logprobs_N,
        case.teacher_N,
        case.weights_N,
        options=options,
        baseline=float(sums[0] / sums[1]),
    )
    assert float(found.slopes_N.sum()) == pytest.approx(0, abs=1e-9)


def test_sft_is_the_weighted_cross_entropy() -> None:
    case = made(5)
    logits_NV = case.logits_BTV[case.trained_BT]
    losses_N = torch.nn.functional.cross_entropy(
        logits_NV, case.targets_BT[case.trained_BT], reduction="none"
    )
    expected = (case.weights_N * losses_N).sum()
    torch.testing.assert_close(sft_loss(case.logprobs_N, case.weights_N), expected)


def test_no_tokens_give_a_loss_of_zero_with_a_gradient() -> None:
    """A process whose share of a step is empty still takes part in the backward pass."""
    none_N = torch.zeros(0, requires_grad=True)
    found = opd_loss(none_N, torch.zeros(0), torch.zeros(0), options=PAPER)
    assert float(found.loss.detach()) == 0
    found.loss.backward()
    assert math.isnan(float(found.clipped))


def test_advantages_in_float32_stay_in_float32_and_have_no_gradient() -> None:
    found_N = advantages(torch.tensor([-1.0]), torch.tensor([-4.0], requires_grad=True), clip=2.0)
    assert (found_N.tolist(), found_N.dtype, found_N.requires_grad) == ([2.0], torch.float32, False)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (LossOptions(), "weighted"),
        (LossOptions(importance="none"), "paper"),
        (LossOptions(importance="none", centre=True), "centred"),
        (LossOptions(centre=True), "weighted+centred"),
        (LossOptions(ppo_clip=0.2), "weighted+ppo"),
    ],
)
def test_every_variant_has_a_name(options: LossOptions, name: str) -> None:
    assert options.variant == name


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"reduction": "mean"}, "reduction: expected one of sequence-mean, .* found 'mean'"),
        ({"importance": "sequence"}, "importance: expected one of none, token, found 'sequence'"),
        ({"importance_cap": 0.0}, "importance_cap: expected a number above 0, found 0.0"),
        ({"importance_cap": math.nan}, "importance_cap: expected a number above 0, found nan"),
        ({"advantage_clip": -1.0}, "advantage_clip: expected a number above 0, found -1.0"),
        ({"ppo_clip": 1.0}, "ppo_clip: expected a number between 0 and 1, found 1.0"),
        ({"ppo_clip": 0.2, "importance": "none"}, "expected importance 'token' with it"),
    ],
    ids=["reduction", "importance", "cap", "nan", "clip", "epsilon", "ppo-without-ratio"],
)
def test_options_that_make_no_sense_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LossOptions(**wrong)


def test_importance_without_rollout_logprobs_names_the_remedies() -> None:
    one_N = torch.zeros(1)
    with pytest.raises(UsageError, match="found none: train with --importance none, or sample"):
        opd_loss(one_N, one_N, one_N, options=LossOptions())


def test_a_baseline_without_centring_is_refused() -> None:
    one_N = torch.zeros(1)
    with pytest.raises(UsageError, match=r"expected no baseline without centre, found 0\.5"):
        opd_loss(one_N, one_N, one_N, options=PAPER, baseline=0.5)


def loaded(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def batch(*, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids [3, 12], and which of the 11 tokens that follow another are trained."""
    random = torch.Generator().manual_seed(seed)
    ids_BT = torch.randint(models.VOCABULARY, (3, 12), generator=random)
    return ids_BT, torch.rand(3, 11, generator=random) < 0.6


def full_logprobs(policy: Any, ids_BT: torch.Tensor) -> torch.Tensor:
    logits_BTV = policy(input_ids=ids_BT, use_cache=False).logits[:, :-1]
    return torch.log_softmax(logits_BTV, -1).gather(-1, ids_BT[:, 1:, None])[..., 0]


def chunked_logprobs(
    policy: Any, ids_BT: torch.Tensor, trained_BT: torch.Tensor, slopes: Any = None
) -> torch.Tensor:
    hidden_BTH = policy.base_model(input_ids=ids_BT, use_cache=False).last_hidden_state[:, :-1]
    return target_logprobs(
        hidden_BTH[trained_BT],
        output_layer(policy),
        ids_BT[:, 1:][trained_BT],
        slopes=slopes,
        chunk=5,
    )
