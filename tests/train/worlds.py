"""Runs with every option that touches the processes, under torchrun or not: `FOLDER`.

Writes `losses-SIZE.json` into the folder, of the whole run and of one that goes on from the state
that the other world left after the first step; and leaves its own such states.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import torch

from lopd_train.batches import BatchOptions
from lopd_train.losses import LossOptions
from lopd_train.objective import OpdObjective
from lopd_train.options import LoraOptions, OptimiserOptions, TrainOptions
from lopd_train.run import Run
from lopd_train.world import World, joined
from tests.train.signals_made import random_rows_by_hand

LORA: Final = LoraOptions(rank=2, alpha=4)
CASES: Final[dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    "centred": ({"centre": True, "reduction": "token-mean"}, {}, {}),
    "packed": ({}, {"layout": "packed"}, {}),
    "a process without rows": ({"centre": True}, {"batch": 1}, {}),
    "an odd number of micro-batches": ({}, {"batch": 3, "micro_batch_tokens": 1}, {}),
    "lora": ({}, {}, {"lora": LORA, "activation_checkpointing": True}),
    "bfloat16": ({}, {}, {"precision": "bfloat16", "activation_checkpointing": True}),
}


def main(folder: Path) -> None:
    """Take three steps of every case."""
    with joined() as world:
        found = {name: taken(name, folder, world) for name in CASES}
        if world.writes:
            (folder / f"losses-{world.size}.json").write_text(json.dumps(found))


def taken(name: str, folder: Path, world: World) -> dict[str, list[float]]:
    """Losses and gradients of a run, and of one resumed from the other world."""
    run = opened(name, folder, world)
    steps = iter(run)
    reports = [next(steps)]
    state = run.state()
    if world.writes:
        torch.save(state, folder / f"{name}-{world.size}.pt")
    reports += steps
    found = {
        "losses": [one.loss for one in reports],
        "gradients": [one.gradient_norm for one in reports],
    }
    if (theirs := folder / f"{name}-{3 - world.size}.pt").exists():
        resumed = opened(name, folder, world)
        resumed.restore(torch.load(theirs, weights_only=True))
        found["resumed"] = [one.loss for one in resumed]
    return found


def opened(name: str, folder: Path, world: World) -> Run:
    """A case at its start."""
    loss, batches, more = CASES[name]
    cut = BatchOptions(**{"batch": 4, "micro_batch_tokens": 40, "seed": 3} | batches)
    fast = OptimiserOptions(learning_rate=1e-3)
    options = TrainOptions(steps=3, batches=cut, optimiser=fast, **more)
    objective = OpdObjective(LossOptions(**loss))
    return Run.open(folder / "student", random_rows_by_hand(10), objective, options, world)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
