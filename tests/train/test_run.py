# ruff: noqa: N806 - shape letters end a tensor's name
"""The loop against a bare one, and against itself cut in other ways."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from lopd_store.errors import FormatError, UsageError
from lopd_train.batches import BatchOptions, Layout, Steps
from lopd_train.errors import DivergedError
from lopd_train.losses import LossOptions, Reduction
from lopd_train.objective import Objective, OpdObjective, SftObjective
from lopd_train.options import LoraOptions, OptimiserOptions, TrainOptions
from lopd_train.rows import Rows
from lopd_train.run import Run, StepReport
from tests.models import save_model
from tests.train.signals_made import random_rows_by_hand, rows_by_hand

ROWS = 10
BATCH = 4
FAST = OptimiserOptions(learning_rate=1e-3)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("student"), tokenizer=False)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return random_rows_by_hand(ROWS)


def options_of(
    *,
    steps: int = 3,
    layout: Layout = "padded",
    budget: int = 64,
    **more: Any,
) -> TrainOptions:
    batches = BatchOptions(batch=BATCH, micro_batch_tokens=budget, layout=layout, seed=3)
    return TrainOptions(steps=steps, batches=batches, **{"optimiser": FAST, **more})


def opd(**options: Any) -> Objective:
    return OpdObjective(LossOptions(**options))


def taken(run: Run) -> list[StepReport]:
    return list(run)


def losses(student: Path, rows: Rows, objective: Objective, options: TrainOptions) -> list[float]:
    return [report.loss for report in Run.open(student, rows, objective, options)]


def weights(run: Run) -> torch.Tensor:
    return torch.cat([one.detach().flatten() for one in run.policy.parameters()])


def bare_loop(
    student: Path, rows: Rows, *, importance: bool, steps: int
) -> tuple[Any, list[float]]:
    """One row at a time with the model's own logits: what the paper's equations say."""
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
    assert rows.teacher_logprobs is not None
    assert rows.rollout_logprobs is not None
    order = Steps(len(rows), batch=BATCH, seed=3)
    found = []
    for step in range(steps):
        total = torch.zeros(())
        for row in order.rows_of(step).tolist():
            p0, p1 = rows.prompt_offsets[row : row + 2]
            r0, r1 = rows.response_offsets[row : row + 2]
            prompt, response = rows.prompt_ids[p0:p1], rows.response_ids[r0:r1]
            ids = torch.tensor([*prompt, *response], dtype=torch.long)[None]
            logits_TV = model(input_ids=ids).logits[0, p1 - p0 - 1 : -1]
            logprobs_T = logits_TV.log_softmax(-1).gather(1, ids[0, p1 - p0 :, None])[:, 0]
            mask_T = torch.tensor(rows.trained[r0:r1])
            advantage_T = torch.tensor(rows.teacher_logprobs[r0:r1]) - logprobs_T.detach()
            advantage_T = advantage_T.clamp(-10, 10)
            if importance:
                ratio_T = logprobs_T.detach() - torch.tensor(rows.rollout_logprobs[r0:r1])
                advantage_T = advantage_T * ratio_T.exp().clamp(max=5)
            total = total - (advantage_T * logprobs_T)[mask_T].mean() / BATCH
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        found.append(total.item())
    return model, found


@pytest.mark.parametrize("importance", ["none", "token"])
def test_the_loop_is_the_bare_loop(student: Path, rows: Rows, importance: str) -> None:
    run = Run.open(student, rows, opd(importance=importance), options_of())
    ours = [report.loss for report in run]
    model, theirs = bare_loop(student, rows, importance=importance == "token", steps=3)
    assert ours == pytest.approx(theirs, rel=1e-5)
    bare = torch.cat([one.detach().flatten() for one in model.parameters()])
    torch.testing.assert_close(weights(run), bare, rtol=0, atol=2e-5)


@pytest.mark.parametrize("reduction", ["sequence-mean", "token-mean", "token-sum"])
@pytest.mark.parametrize("options", [{}, {"centre": True}], ids=["plain", "centred"])
def test_however_a_step_is_cut_the_losses_are_the_same(
    student: Path, rows: Rows, reduction: Reduction, options: dict[str, Any]
) -> None:
    objective = opd(reduction=reduction, **options)
    whole = losses(student, rows, objective, options_of(budget=10_000))
    alone = losses(student, rows, objective, options_of(budget=1))
    packed = losses(student, rows, objective, options_of(layout="packed", budget=40))
    assert alone == pytest.approx(whole, rel=1e-5, abs=1e-6)
    assert packed == pytest.approx(whole, rel=1e-5, abs=1e-6)


def test_activation_checkpointing_changes_no_loss(student: Path, rows: Rows) -> None:
    plain = losses(student, rows, opd(), options_of())
    saved = losses(student, rows, opd(), options_of(activation_checkpointing=True))
    assert saved == pytest.approx(plain, rel=1e-6)


def test_bfloat16_arithmetic_comes_near_float32(student: Path, rows: Rows) -> None:
    exact = Run.open(student, rows, opd(importance="none"), options_of(steps=1))
    rough = Run.open(
        student, rows, opd(importance="none"), options_of(steps=1, precision="bfloat16")
    )
    expected, found = taken(exact)[0], taken(rough)[0]
    assert found.values["mean_logprob"] == pytest.approx(expected.values["mean_logprob"], abs=0.1)
    assert {one.dtype for one in rough.policy.parameters()} == {torch.float32}


def test_a_run_goes_on_from_its_state_bit_for_bit(student: Path, rows: Rows) -> None:
    whole = Run.open(student, rows, opd(), options_of(steps=5))
    expected = taken(whole)
    first = Run.open(student, rows, opd(), options_of(steps=5))
    steps = iter(first)
    next(steps)
    next(steps)
    second = Run.open(student, rows, opd(), options_of(steps=5))
    second.restore(first.state())
    found = taken(second)
    assert [one.loss for one in found] == [one.loss for one in expected[2:]]
    assert torch.equal(weights(second), weights(whole))


def test_the_state_survives_a_file(student: Path, rows: Rows, tmp_path: Path) -> None:
    run = Run.open(student, rows, opd(), options_of(steps=2))
    next(iter(run))
    torch.save(run.state(), tmp_path / "state.pt")
    again = Run.open(student, rows, opd(), options_of(steps=2))
    again.restore(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(weights(again), weights(run))
    assert [one.loss for one in again] == [one.loss for one in run]


def test_a_value_that_is_not_finite_stops_before_the_weights_change(student: Path) -> None:
    prompts, responses = [[5, 6]] * 6, [[7, 8, 9]] * 6
    teacher = [[-1.0, -1.0, -1.0]] * 5 + [[-1.0, math.nan, -1.0]]
    rows = rows_by_hand(prompts, responses, teacher=teacher)
    options = TrainOptions(steps=6, batches=BatchOptions(batch=1, seed=1), optimiser=FAST)
    bad = [Steps(6, batch=1, seed=1).rows_of(step).tolist() for step in range(6)].index([5])
    run = Run.open(student, rows, opd(importance="none"), options)
    with pytest.raises(DivergedError, match=f"step {bad + 1} of 6: expected a finite loss"):
        taken(run)
    assert run.step == bad
    before = Run.open(student, rows, opd(importance="none"), options)
    for _ in zip(range(bad), before, strict=False):
        pass
    assert torch.equal(weights(run), weights(before))


def test_importance_needs_the_rollouts_own_log_probs(student: Path) -> None:
    rows = rows_by_hand([[5]], [[7]], teacher=[[-1.0]])
    with pytest.raises(UsageError, match="--importance none"):
        Run.open(student, rows, opd(), options_of())


def test_ids_the_policy_does_not_have_are_refused(student: Path) -> None:
    rows = rows_by_hand([[5]], [[5000]], teacher=[[-1.0]], rollout=[[-1.0]])
    with pytest.raises(FormatError, match=r"below 320.*found 5000"):
        Run.open(student, rows, opd(), options_of())


def test_without_steps_every_row_is_seen_once(student: Path, rows: Rows) -> None:
    run = Run.open(student, rows, SftObjective(), TrainOptions(batches=BatchOptions(batch=BATCH)))
    assert run.steps == 3


def test_sft_learns_what_it_reads(student: Path, rows: Rows) -> None:
    run = Run.open(student, rows, SftObjective(), options_of(steps=30))
    reports = taken(run)
    assert reports[-1].loss < reports[0].loss - 1


def test_the_first_drift_of_a_policy_from_its_own_rollouts_is_none(
    student: Path, rows: Rows
) -> None:
    own = own_logprobs(student, rows)
    assert rows.teacher_logprobs is not None
    itself = Rows(
        prompt_offsets=rows.prompt_offsets,
        prompt_ids=rows.prompt_ids,
        response_offsets=rows.response_offsets,
        response_ids=rows.response_ids,
        trained=rows.trained,
        teacher_logprobs=own,
        rollout_logprobs=own,
    )
    report = next(iter(Run.open(student, itself, opd(), options_of())))
    assert report.drift is not None
    assert report.drift.log_ratio_std < 1e-5
    assert report.drift.sequence_ess == pytest.approx(1, abs=1e-6)
    assert abs(report.values["mean_abs_advantage"]) <= 1e-4
    assert report.gradient_norm < 1e-4


def own_logprobs(student: Path, rows: Rows) -> Any:
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).eval()
    found = []
    for row in range(len(rows)):
        p0, p1 = rows.prompt_offsets[row : row + 2]
        r0, r1 = rows.response_offsets[row : row + 2]
        ids = torch.tensor([*rows.prompt_ids[p0:p1], *rows.response_ids[r0:r1]])[None].long()
        with torch.no_grad():
            logits_TV = model(input_ids=ids).logits[0, p1 - p0 - 1 : -1]
        found.append(logits_TV.log_softmax(-1).gather(1, ids[0, p1 - p0 :, None])[:, 0].numpy())
    return np.concatenate(found)


def test_lora_trains_its_adapters_only(student: Path, rows: Rows) -> None:
    run = Run.open(student, rows, opd(), options_of(lora=LoraOptions(rank=2, alpha=4)))
    trained = {name for name, one in run.policy.named_parameters() if one.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    frozen = {
        name: one.clone() for name, one in run.policy.named_parameters() if name not in trained
    }
    first, *_, last = taken(run)
    assert first.loss != last.loss
    after = dict(run.policy.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in frozen.items())
