# ruff: noqa: N806 - shape letters end a tensor's name: T positions, V vocabulary

import math
from typing import Any

import pytest
import torch

from examples.arithmetic.accuracy import Accuracy
from examples.arithmetic.pretrain import SHAPES, new_model, worked_rows
from examples.arithmetic.problems import problems
from examples.arithmetic.training import Recipe, Row, fit

RECIPE = Recipe(steps=20, batch=16, learning_rate=3e-3, seed=5)


@pytest.fixture(scope="module")
def rows(tokenizer: Any) -> list[Row]:
    return worked_rows(tokenizer, problems("train", seed=5, count=100))


def _trained(tokenizer: Any, rows: list[Row]) -> tuple[Any, list[float]]:
    model = new_model(SHAPES["student"], tokenizer, seed=5)
    return model, fit(model, rows, RECIPE, name="test")


def test_twenty_steps_lower_the_loss_and_repeat_bit_for_bit(
    tokenizer: Any, rows: list[Row]
) -> None:
    model, losses = _trained(tokenizer, rows)
    assert losses[0] == pytest.approx(math.log(len(tokenizer)), rel=0.05)
    assert losses[-1] < 0.75 * losses[0]
    again, same = _trained(tokenizer, rows)
    assert same == losses
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name])


def test_the_first_loss_is_the_mean_over_response_tokens_only(
    tokenizer: Any, rows: list[Row]
) -> None:
    model = new_model(SHAPES["student"], tokenizer, seed=5)
    uneven = [Row(row.prompt, row.response[: 5 + index]) for index, row in enumerate(rows[:4])]
    nats: list[float] = []
    with torch.inference_mode():
        for row in uneven:
            logits_1TV = model(input_ids=torch.tensor([[*row.prompt, *row.response]])).logits
            logp_TV = logits_1TV[0].double().log_softmax(-1)
            first = len(row.prompt) - 1
            nats += [-float(logp_TV[first + t, token]) for t, token in enumerate(row.response)]
    (loss,) = fit(model, uneven, Recipe(steps=1, batch=4, learning_rate=0.0, seed=0), name="test")
    assert loss == pytest.approx(sum(nats) / len(nats), abs=1e-5)


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [(0, 10, 0.0, 0.27753), (10, 10, 0.72247, 1.0), (50, 100, 0.40383, 0.59617)],
    ids=["none", "all", "half"],
)
def test_the_interval_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    assert Accuracy(correct=correct, total=total).interval == pytest.approx((low, high), abs=1e-5)
