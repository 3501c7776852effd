"""The training loop of this example: next-token loss on responses, deterministic on a CPU."""

# ruff: noqa: N803, N806 - shape letters end a tensor's name: B rows, T positions, V vocabulary

import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

THREADS: Final = 2  # fixed: another number of threads sums in another order
IGNORED: Final = -100  # the label that cross_entropy leaves out
REPORT_STEPS: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to train.

    Attributes:
        steps: optimiser steps.
        batch: rows a step.
        learning_rate: AdamW's peak rate; linear warm-up over a tenth of the steps, then cosine.
        seed: of the order of rows (and, in `pretrain`, of the weights).
    """

    steps: int
    batch: int
    learning_rate: float
    seed: int


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one prompt and of the response to learn, its end token included."""

    prompt: Sequence[int]
    response: Sequence[int]


def settle(seed: int) -> None:
    """Make what follows repeatable: seed, threads, deterministic kernels."""
    torch.manual_seed(seed)
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)


def fit(model: Any, rows: Sequence[Row], recipe: Recipe, *, name: str) -> list[float]:
    """Train `model` in place.

    Returns:
        The loss of every step: mean cross-entropy in nats per response token.
    """
    settle(recipe.seed)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    model.train()
    losses: list[float] = []
    started, tokens = time.perf_counter(), 0
    for step, batch in enumerate(_batches(rows, recipe)):
        optimiser.param_groups[0]["lr"] = _learning_rate(step, recipe)
        ids_BT, labels_BT = _tensors(batch)
        loss = _loss(model, ids_BT, labels_BT)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(loss.item())
        tokens += ids_BT.numel()
        if (step + 1) % REPORT_STEPS == 0 or step + 1 == recipe.steps:
            _report(name, step + 1, recipe.steps, losses[-1], tokens, time.perf_counter() - started)
    model.eval()
    return losses


def _loss(model: Any, ids_BT: torch.Tensor, labels_BT: torch.Tensor) -> torch.Tensor:
    # Only attention from padding is wrong without a mask, and padding (on the right) has no label.
    logits_BTV = model(input_ids=ids_BT[:, :-1], use_cache=False).logits
    kept_BT = labels_BT[:, 1:] != IGNORED
    return torch.nn.functional.cross_entropy(logits_BTV[kept_BT], labels_BT[:, 1:][kept_BT])


def _batches(rows: Sequence[Row], recipe: Recipe) -> Iterator[list[Row]]:
    """`recipe.steps` batches, in passes over shuffled rows."""
    source = np.random.default_rng(recipe.seed)
    order: list[int] = []
    for _ in range(recipe.steps):
        while len(order) < recipe.batch:
            order.extend(source.permutation(len(rows)).tolist())
        yield [rows[index] for index in order[: recipe.batch]]
        del order[: recipe.batch]


def _tensors(batch: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
    length = max(len(row.prompt) + len(row.response) for row in batch)
    ids_BT = torch.zeros((len(batch), length), dtype=torch.long)
    labels_BT = torch.full((len(batch), length), IGNORED)
    for index, row in enumerate(batch):
        start, end = len(row.prompt), len(row.prompt) + len(row.response)
        ids_BT[index, :end] = torch.tensor([*row.prompt, *row.response])
        labels_BT[index, start:end] = ids_BT[index, start:end]
    return ids_BT, labels_BT


def _learning_rate(step: int, recipe: Recipe) -> float:
    warm_up = max(1, recipe.steps // 10)
    if step < warm_up:
        return recipe.learning_rate * (step + 1) / warm_up
    done = (step - warm_up) / max(1, recipe.steps - warm_up)
    return recipe.learning_rate * (0.05 + 0.95 * (1 + math.cos(math.pi * done)) / 2)


def _report(name: str, step: int, steps: int, loss: float, tokens: int, seconds: float) -> None:
    left = seconds / step * (steps - step)
    end = "\n" if step == steps else ""
    sys.stderr.write(
        f"\r{name}: step {step}/{steps}  loss {loss:.3f}  "
        f"{tokens / seconds:,.0f} tokens/s  {left:.0f} s left   {end}"
    )
    sys.stderr.flush()
