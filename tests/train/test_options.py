"""Options that contradict themselves are refused where they are made, not steps later."""

import math
from typing import Any

import pytest
from click.testing import CliRunner

from lopd_cli.training import commands
from lopd_store.errors import UsageError
from lopd_train.options import COSINE_FLOOR, LoraOptions, OptimiserOptions, TrainOptions
from lopd_train.sft import SftOptions


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (TrainOptions, {"precision": "bf16"}),
        (TrainOptions, {"steps": 0}),
        (TrainOptions, {"drift_every": -1}),
        (TrainOptions, {"checkpoint_every": -1}),
        (OptimiserOptions, {"schedule": "linear"}),
        (OptimiserOptions, {"weight_decay": -0.1}),
        (OptimiserOptions, {"weight_decay": math.nan}),
        (OptimiserOptions, {"learning_rate": 0.0}),
        (OptimiserOptions, {"learning_rate": math.inf}),
        (OptimiserOptions, {"warm_up": 1.0}),
        (OptimiserOptions, {"gradient_clip": math.nan}),
        (LoraOptions, {"rank": 0}),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(kind: Any, wrong: dict[str, Any]) -> None:
    (value,) = wrong.values()
    with pytest.raises(UsageError, match=f"expected .* found {value!r}"):
        kind(**wrong)


def test_an_alpha_without_adapters_is_refused() -> None:
    words = ["opd", "--signal", "s", "--model", "m", "-o", "o", "--lora-alpha", "32"]
    said = CliRunner().invoke(commands, words)
    assert said.exit_code == 2
    assert "--lora-alpha: expected --lora-rank with it" in said.stderr


def test_the_rate_rises_over_the_warm_up_and_ends_at_a_tenth() -> None:
    options = OptimiserOptions(learning_rate=1.0, schedule="cosine", warm_up=0.2)
    rates = [options.rate(step, 10) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] == pytest.approx(COSINE_FLOOR)
    assert {OptimiserOptions(learning_rate=1.0).rate(step, 10) for step in range(10)} == {1.0}


def test_sft_has_no_drift_from_whoever_wrote_its_rows() -> None:
    assert SftOptions().train.drift_every == 0
