# ruff: noqa: N802, N806 - shape letters end a tensor's name
"""What other trainers get is what our own loop gets."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from lopd_store.errors import UsageError
from lopd_train.collate import collate
from lopd_train.collator import OpdLoss, collate_padded
from lopd_train.datasets import SignalDataset
from lopd_train.losses import LossOptions, Reduction, opd_loss, reduction_weights, sft_loss
from lopd_train.rows import Rows
from tests.models import save_model
from tests.train.signals_made import random_rows_by_hand, rows_by_hand

ROWS = 8


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = save_model(tmp_path_factory.mktemp("model"), tokenizer=False)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)


@pytest.fixture(scope="module")
def rows() -> Rows:
    return random_rows_by_hand(ROWS)


def gradient(model: Any, loss: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([one.flatten() for one in found])


def logprobs_N(model: Any, batch: Any) -> torch.Tensor:
    logits_BTV = model(input_ids=batch.input_ids_BT, use_cache=False).logits
    logits_NV = logits_BTV.flatten(0, 1)[batch.before_N]
    found: torch.Tensor = logits_NV.log_softmax(-1).gather(1, batch.targets_N[:, None])[:, 0]
    return found


@pytest.mark.parametrize("reduction", ["sequence-mean", "token-sum"])
@pytest.mark.parametrize("importance", ["none", "token"])
def test_batches_of_a_loader_add_up_to_the_step_of_the_loop(
    model: Any, rows: Rows, reduction: Reduction, importance: Any
) -> None:
    options = LossOptions(reduction=reduction, importance=importance)
    batch = collate(rows, np.arange(ROWS), layout="padded")
    assert batch.teacher_N is not None
    weights_N = reduction_weights(reduction, batch.lengths_N, rows=ROWS, tokens=0)
    expected = opd_loss(
        logprobs_N(model, batch),
        batch.teacher_N,
        weights_N,
        options=options,
        rollout_N=batch.rollout_N,
    ).loss
    loss_of, total = OpdLoss(rows=ROWS, options=options), torch.zeros((), dtype=torch.float64)
    loader: Any = DataLoader(SignalDataset(rows), batch_size=3, collate_fn=collate_padded)
    for one in loader:
        labels = one.pop("labels")
        total = total + loss_of(model(**one, use_cache=False), labels, num_items_in_batch=7)
    torch.testing.assert_close(total, expected, rtol=1e-12, atol=0)
    ours, theirs = gradient(model, total), gradient(model, expected)
    assert float((ours - theirs).norm() / theirs.norm()) < 1e-12


def test_sft_batches_give_the_loss_that_transformers_takes_of_them(model: Any) -> None:
    """Independent of us: the model's own cross-entropy over its own shifted labels."""
    said = rows_by_hand(
        [[5, 6, 7], [8]], [[9, 10], [11, 12, 13]], trained=[[True, False], [True] * 3]
    )
    batch = collate_padded([SignalDataset(said)[row] for row in range(2)])
    ours = collate(said, np.arange(2), layout="padded")
    weights_N = reduction_weights("token-mean", ours.lengths_N, rows=2, tokens=4)
    expected = sft_loss(logprobs_N(model, ours), weights_N)
    # transformers takes its loss in float32
    torch.testing.assert_close(model(**batch).loss.double(), expected, rtol=1e-6, atol=0)


def test_columns_by_hand() -> None:
    rows = rows_by_hand(
        [[10, 11], [20]],
        [[12, 13], [21]],
        trained=[[False, True], [True]],
        teacher=[[0.0, -1.5], [-2.5]],
        rollout=[[0.0, -0.5], [-3.5]],
    )
    batch = collate_padded([SignalDataset(rows)[row] for row in range(2)])
    labels, teacher, rollout = batch["labels"]
    assert batch["input_ids"].tolist() == [[10, 11, 12, 13], [20, 21, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert labels.tolist() == [[-100, -100, -100, 13], [-100, 21, -100, -100]]
    assert teacher.tolist() == [[0.0, 0.0, 0.0, -1.5], [0.0, -2.5, 0.0, 0.0]]
    assert rollout.tolist() == [[0.0, 0.0, 0.0, -0.5], [0.0, -3.5, 0.0, 0.0]]


@pytest.mark.parametrize(
    "options", [LossOptions(reduction="token-mean"), LossOptions(centre=True)], ids=str
)
def test_updates_that_need_the_whole_step_are_refused(options: LossOptions) -> None:
    with pytest.raises(UsageError, match="a loss function sees one batch of a step"):
        OpdLoss(rows=4, options=options)


def test_no_row_is_no_step() -> None:
    with pytest.raises(UsageError, match="rows of at least 1, found 0"):
        OpdLoss(rows=0)


def outputs(batch: dict[str, Any]) -> Any:
    return {"logits": torch.zeros(*batch["input_ids"].shape, 320)}


def test_sft_labels_are_no_signal() -> None:
    batch = collate_padded([SignalDataset(rows_by_hand([[5]], [[6]]))[0]])
    with pytest.raises(UsageError, match="expected a batch of a signal"):
        OpdLoss(rows=1)(outputs(batch), batch["labels"])


def test_weights_need_rollout_logprobs() -> None:
    rows = rows_by_hand([[5]], [[6]], teacher=[[-1.0]])
    batch = collate_padded([SignalDataset(rows)[0]])
    with pytest.raises(UsageError, match="expected rollout_logprobs"):
        OpdLoss(rows=1)(outputs(batch), batch["labels"])
    unweighted = OpdLoss(rows=1, options=LossOptions(importance="none"))
    found = float(unweighted(outputs(batch), batch["labels"]))
    assert found == pytest.approx((np.log(320) - 1.0) * np.log(320), rel=1e-6)


def test_logprobs_that_a_trainer_rounded_are_refused(rows: Rows) -> None:
    batch = collate_padded([SignalDataset(rows)[0]])
    labels, *logprobs = batch["labels"]
    cast = (labels, *(column.bfloat16() for column in logprobs))
    with pytest.raises(UsageError, match=r"teacher_logprobs in float32, found torch.bfloat16"):
        OpdLoss(rows=1)(outputs(batch), cast)


def test_a_dataset_travels_to_the_workers_of_a_loader(rows: Rows) -> None:
    there = pickle.loads(pickle.dumps(SignalDataset(rows)))  # noqa: S301 - our own bytes
    assert len(there) == ROWS
    for row in range(ROWS):
        for name, column in SignalDataset(rows)[row].items():
            np.testing.assert_array_equal(there[row][name], column)
