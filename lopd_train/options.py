"""What a person may choose of a training run; every default says where it comes from."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, get_args

from lopd_store.errors import UsageError
from lopd_train.batches import BatchOptions

Schedule = Literal["constant", "cosine"]
Precision = Literal["float32", "bfloat16"]

SCHEDULES: Final[tuple[str, ...]] = get_args(Schedule)
PRECISIONS: Final[tuple[str, ...]] = get_args(Precision)
COSINE_FLOOR: Final = 0.1  # of the peak rate, at the last step


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimiserOptions:
    """AdamW and its learning rate. The defaults are those of the paper's OPD stage (section 4).

    Attributes:
        learning_rate: the peak.
        schedule: `constant`, or `cosine` down to a tenth of the peak at the last step.
        warm_up: share of the steps over which the rate grows linearly from 0, in [0, 1).
        betas: decay of the first and the second moment.
        weight_decay: decoupled, on every trained parameter.
        gradient_clip: largest norm of the gradient of a step.
    """

    learning_rate: float = 2e-6
    schedule: Schedule = "constant"
    warm_up: float = 0.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.1
    gradient_clip: float = 1.0

    def __post_init__(self) -> None:
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise UsageError(f"expected a learning rate above 0, found {self.learning_rate}")
        if not 0 <= self.warm_up < 1:
            raise UsageError(f"expected a warm-up in [0, 1), found {self.warm_up}")
        if not 0 <= self.weight_decay < math.inf:
            raise UsageError(f"expected a weight decay of at least 0, found {self.weight_decay}")
        if self.schedule not in SCHEDULES:
            raise UsageError(f"expected schedule {' or '.join(SCHEDULES)}, found {self.schedule!r}")
        if not self.gradient_clip > 0:
            raise UsageError(f"expected a gradient clip above 0, found {self.gradient_clip}")

    def rate(self, step: int, steps: int) -> float:
        """The learning rate of step `step` (from 0) of `steps`."""
        warm_up = math.ceil(self.warm_up * steps)
        if step < warm_up:
            return self.learning_rate * (step + 1) / warm_up
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - warm_up) / max(1, steps - warm_up - 1)
        share = COSINE_FLOOR + (1 - COSINE_FLOOR) * (1 + math.cos(math.pi * min(done, 1.0))) / 2
        return self.learning_rate * share


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraOptions:
    """Train low-rank adapters of every linear layer but the output layer, merged when saved.

    Attributes:
        rank: of each adapter.
        alpha: the adapters' output is scaled by alpha / rank.
    """

    rank: int = 16
    alpha: int = 32

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1:
            raise UsageError(
                f"expected a LoRA rank and alpha of at least 1, found {self.rank} and {self.alpha}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """How to train, whatever the loss.

    Attributes:
        steps: optimiser steps; None for one pass over the rows.
        batches: which rows make a step, and how they go through the model.
        optimiser: AdamW and its schedule.
        precision: of the model's arithmetic; weights, gradients and moments stay float32.
        activation_checkpointing: recompute each layer in the backward pass instead of keeping it.
        lora: adapters instead of all weights.
        drift_every: steps between two looks at the drift from the rollout policy; 0 for none.
        checkpoint_every: steps between two checkpoints; 0 for one at the end only.
    """

    steps: int | None = None
    batches: BatchOptions = field(default_factory=BatchOptions)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    precision: Precision = "float32"
    activation_checkpointing: bool = False
    lora: LoraOptions | None = None
    drift_every: int = 1
    checkpoint_every: int = 50

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"expected at least 1 step, found {self.steps}")
        for name in ("drift_every", "checkpoint_every"):
            if (found := getattr(self, name)) < 0:
                raise UsageError(f"expected {name} of at least 0 steps, found {found}")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"expected precision {' or '.join(PRECISIONS)}, found {self.precision!r}"
            )

    def to_json(self) -> dict[str, Any]:
        """The choices that make a run what it is, as JSON; others may change when it goes on.

        Left out is what only decides how a step is computed and when it is kept: after running
        out of memory, that is what one has to change.
        """
        found = asdict(self)
        for name in ("activation_checkpointing", "checkpoint_every", "drift_every"):
            del found[name]
        for name in ("micro_batch_tokens", "layout"):
            del found["batches"][name]
        return found
