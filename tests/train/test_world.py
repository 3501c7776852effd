"""One process or two, taken apart and put together again: the run is the same."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lopd_train.batches import BatchOptions
from lopd_train.objective import SftObjective
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.run import Run
from tests.models import save_model
from tests.train import worlds
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


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    """What a world of one and a world of two say; each goes on from what the other left."""
    folder = tmp_path_factory.mktemp("worlds")
    save_model(folder / "student", tokenizer=False, tie_word_embeddings=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    alone = [sys.executable, "-m", "tests.train.worlds", str(folder)]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    together = [*launcher, "--nproc-per-node", "2", *alone[1:]]
    for command in (alone, together, alone):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return {size: json.loads((folder / f"losses-{size}.json").read_text()) for size in (1, 2)}


@pytest.mark.parametrize("name", worlds.CASES)
def test_two_processes_are_one_and_go_on_from_each_other(told: dict[int, Any], name: str) -> None:
    one, two = told[1][name], told[2][name]
    for what in ("losses", "gradients"):
        assert two[what] == pytest.approx(one[what], rel=1e-4, abs=1e-6)
    assert one["resumed"] == pytest.approx(one["losses"][1:], rel=1e-4, abs=1e-6)
    assert two["resumed"] == pytest.approx(one["losses"][1:], rel=1e-4, abs=1e-6)
    assert len(set(one["losses"])) == len(one["losses"])
