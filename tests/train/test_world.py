"""What a run is made of, taken out while it goes on."""

from pathlib import Path

import pytest
import torch

from lopd_train.batches import BatchOptions
from lopd_train.objective import SftObjective
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.run import Run
from tests.models import save_model
from tests.train.signals_made import random_rows_by_hand

OPTIONS = TrainOptions(
    steps=3, batches=BatchOptions(batch=4), optimiser=OptimiserOptions(learning_rate=1e-3)
)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("student"), tokenizer=False)


def opened(student: Path) -> Run:
    return Run.open(student, random_rows_by_hand(10), SftObjective(), OPTIONS)


def test_looking_at_the_weights_before_the_first_step_changes_nothing(student: Path) -> None:
    looked = opened(student)
    looked.weights()
    assert [one.loss for one in looked] == [one.loss for one in opened(student)]


def test_a_state_stays_what_it_was_when_training_goes_on(student: Path) -> None:
    run = opened(student)
    steps = iter(run)
    next(steps)
    state = run.state()
    held = {name: value.clone() for name, value in state["model"].items()}
    moments = {name: one["exp_avg"].clone() for name, one in state["optimiser"]["state"].items()}
    next(steps)
    assert all(torch.equal(held[name], value) for name, value in state["model"].items())
    for name, one in state["optimiser"]["state"].items():
        assert torch.equal(moments[name], one["exp_avg"])
