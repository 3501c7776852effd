"""Learning from likelihood with the trainer's own loop: texts in, a trained model out."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from benchmarks.paper.problems import Problem
from benchmarks.paper.sizes import Recipe
from benchmarks.paper.tokenizer import END, encode
from lopd_store.rows import flat
from lopd_train.batches import BatchOptions
from lopd_train.objective import SftObjective
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.policy import Policy
from lopd_train.rows import Rows
from lopd_train.run import Run
from lopd_train.world import ALONE

WEIGHT_DECAY: Final = 0.01


def settle() -> None:
    """One thread a process: two run side by side, and results do not depend on the machine."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def worked(tokenizer: Any, chosen: Sequence[Problem], *, first_style: float, seed: int) -> Rows:
    """Questions with right answers in the two styles, as rows to learn."""
    source = random.Random(f"styles/{seed}")  # noqa: S311 - exercise, not secrets
    prompts = [encode(tokenizer, problem.question) for problem in chosen]
    responses = [
        encode(tokenizer, problem.solution(first_style=first_style, source=source) + END)
        for problem in chosen
    ]
    return rows_of(prompts, responses)


def rows_of(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> Rows:
    """Lists of ids as rows, all of whose response ids are learnt."""
    ids = np.concatenate([np.array(row, np.int32) for row in responses])
    return Rows(
        prompt_offsets=_offsets(prompts),
        prompt_ids=np.concatenate([np.array(row, np.int32) for row in prompts]),
        response_offsets=_offsets(responses),
        response_ids=ids,
        trained=np.ones(len(ids), np.bool_),
    )


def options(recipe: Recipe, *, seed: int) -> TrainOptions:
    """The trainer's options for a recipe."""
    return TrainOptions(
        steps=recipe.steps,
        batches=BatchOptions(batch=recipe.batch, seed=seed),
        optimiser=OptimiserOptions(
            learning_rate=recipe.rate,
            schedule="cosine",
            warm_up=0.1,
            weight_decay=WEIGHT_DECAY,
        ),
        drift_every=0,
        checkpoint_every=0,
    )


def fit(model: Any, rows: Rows, recipe: Recipe, *, seed: int) -> None:
    """Train `model` in place."""
    run = Run(
        Policy(model.to(ALONE.device).train()),
        rows,
        SftObjective(),
        options(recipe, seed=seed),
        ALONE,
    )
    for report in run:
        if report.step % 50 == 0 or report.step == run.steps:
            print(f"step {report.step}/{run.steps}  loss {report.loss:.3f}", flush=True)


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A checkpoint that transformers, vLLM and lopd read."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _offsets(rows: Sequence[Sequence[int]]) -> np.ndarray[Any, np.dtype[np.int64]]:
    return flat.running(np.array([len(row) for row in rows], np.int64))
