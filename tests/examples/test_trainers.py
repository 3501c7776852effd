# ruff: noqa: N806 - shape letters end a tensor's name
"""Both trainers of others take the step that a bare loop takes, and refuse the wrong teacher."""

import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from examples import accelerate_loop, transformers_trainer
from lopd_store.errors import ConsistencyError
from lopd_store.identity.model import fingerprint
from lopd_store.signals import open_signal
from lopd_store.stamping import check_stamp, read_stamp
from lopd_train.collate import collate
from lopd_train.rows import Rows
from tests.building.chain import build_signal
from tests.train.chain import Chain, make_chain

EXAMPLES = Path(accelerate_loop.__file__).parent
ROWS = 12
QUICK = ["--rows-at-once", "4", "--accumulate", "3", "--learning-rate", "1e-3"]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"), rows=ROWS)


def words(chain: Chain, output: Path) -> list[str]:
    """Three batches of four rows: one step, so that the order of rows does not matter."""
    store = ["--store", str(chain.root)]
    return [str(chain.student), "signal", str(output), *store, *QUICK]


@pytest.fixture(scope="module")
def bare(chain: Chain) -> tuple[float, float, float]:
    """The weighted update on all rows by the formula: loss, norm of its gradient, mean advantage.

    Loss = -1/R Σ_rows 1/T Σ_t min(π_θ/π_ref, 5) · clip(log π_T - log π_θ, ±10) · log π_θ.
    """
    model = AutoModelForCausalLM.from_pretrained(chain.student, dtype="float64")
    rows = Rows.read(open_signal("signal", root=chain.root))
    total = torch.zeros((), dtype=torch.float64)
    for row in range(ROWS):
        batch = collate(rows, np.array([row]), layout="padded")
        logits_TV = model(input_ids=batch.input_ids_BT, use_cache=False).logits[0]
        logprobs_N = logits_TV[batch.before_N].log_softmax(-1).gather(1, batch.targets_N[:, None])
        logprobs_N = logprobs_N[:, 0]
        assert batch.teacher_N is not None
        assert batch.rollout_N is not None
        ratio_N = (logprobs_N.detach() - batch.rollout_N).exp().clamp(max=5.0)
        gain_N = (batch.teacher_N - logprobs_N.detach()).clamp(-10.0, 10.0)
        total = total - (ratio_N * gain_N * logprobs_N).mean() / ROWS
    total.backward()
    norm = math.sqrt(sum(float(one.grad.square().sum()) for one in model.parameters()))
    return float(total.detach()), norm, float(gain_N.mean())


def test_the_trainer_takes_the_step_of_the_formula(
    chain: Chain, bare: tuple[float, float, float], tmp_path: Path
) -> None:
    options = transformers_trainer.parse(words(chain, tmp_path / "out"))
    log = transformers_trainer.distil(options).state.log_history[0]
    assert log["loss"] == pytest.approx(bare[0], rel=1e-4)
    assert log["grad_norm"] == pytest.approx(bare[1], rel=1e-4)


def test_the_accelerate_loop_takes_the_step_of_the_formula(
    chain: Chain, bare: tuple[float, float, float], tmp_path: Path
) -> None:
    norms = accelerate_loop.distil(accelerate_loop.parse(words(chain, tmp_path / "out")))
    assert norms == [pytest.approx(bare[1], rel=1e-4)]


@pytest.mark.parametrize(
    "example", [transformers_trainer, accelerate_loop], ids=lambda e: e.__name__
)
def test_what_comes_out_is_a_stamped_checkpoint_that_moved(
    example: Any, chain: Chain, tmp_path: Path
) -> None:
    example.distil(example.parse(words(chain, tmp_path)))
    before, after = fingerprint(str(chain.student)), fingerprint(str(tmp_path))
    stamp, start = read_stamp(tmp_path), read_stamp(chain.student)
    assert after.model.weights_digest != before.model.weights_digest
    assert after.tokenizer == before.tokenizer
    assert stamp is not None
    assert start is not None
    assert check_stamp(stamp, after.model) == []
    assert stamp.sft_manifest == start.sft_manifest
    assert [run.start.weights_digest for run in stamp.opd] == [before.model.weights_digest]


@pytest.mark.parametrize(
    "example", [transformers_trainer, accelerate_loop], ids=lambda e: e.__name__
)
def test_the_wrong_teacher_ends_it_before_the_first_step(
    example: Any, chain: Chain, tmp_path: Path
) -> None:
    other = fingerprint(str(chain.base))
    root = Path(shutil.copytree(chain.root, tmp_path / "store"))
    wrong = Chain(root=root, teacher=other, base=chain.base, student=chain.student)
    build_signal(wrong.store, other)
    with pytest.raises(ConsistencyError):
        example.distil(example.parse(words(wrong, tmp_path / "out")))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        # Seen once: gloo aborted a rank that left before the other.
        pytest.param("transformers_trainer.py", r"'grad_norm': '([^']+)'", marks=pytest.mark.soak),
        pytest.param("accelerate_loop.py", r"gradient norm (\S+)", marks=pytest.mark.soak),
    ],
)
def test_two_processes_take_the_same_step(
    script: str, said: str, chain: Chain, bare: tuple[float, float, float], tmp_path: Path
) -> None:
    """As a person runs the script: with half of the rows a process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    half = ["--rows-at-once", "2"]
    done = subprocess.run(
        [*command, str(EXAMPLES / script), *words(chain, tmp_path / "out"), *half],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = [float(norm) for norm in re.findall(said, done.stdout + done.stderr)]
    assert found == [pytest.approx(bare[1], rel=1e-3)]  # four digits are shown
    assert read_stamp(tmp_path / "out") is not None
