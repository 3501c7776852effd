"""How large everything is: models, data, steps, rates. One row a size, and all of it in the key."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from examples.arithmetic.pretrain import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Training from likelihood: AdamW (0.9, 0.98), warm-up over a tenth, then cosine.

    Attributes:
        steps: optimiser steps.
        batch: rows a step.
        rate: the peak learning rate.
    """

    steps: int
    batch: int
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One complete experiment.

    Attributes:
        name: as typed.
        teacher: shape of the teachers.
        student: shape of the student.
        teacher_base: makes M, which writes both styles alike often.
        teacher_style: makes A and B from M.
        student_base: makes the student's base; it knows the format and few sums.
        sft_rows: teacher's responses a student is fine-tuned on.
        sft: `steps` is the most it may take.
        sft_look: steps between two looks at the stopping problems.
        threshold: accuracy on the stopping problems at which SFT ends.
        strong_threshold: the same for a student that starts nearer to its teacher.
        rollouts: rows of a signal.
        probes: rollouts on problems of their own, only looked at.
        batch: rows of an OPD step.
        steps: OPD steps.
        looks: steps after which a run is looked at; 0 is the start.
        rates: learning rates of the sweep.
        stopping, tuning, final: problems to measure accuracy on.
    """

    name: str
    teacher: Shape
    student: Shape
    teacher_base: Recipe
    teacher_style: Recipe
    student_base: Recipe
    sft_rows: int
    sft: Recipe
    sft_look: int
    threshold: float
    strong_threshold: float
    rollouts: int
    probes: int
    batch: int
    steps: int
    looks: tuple[int, ...]
    rates: tuple[float, ...]
    stopping: int
    tuning: int
    final: int

    def to_json(self) -> dict[str, Any]:
        """Every number, for records and results."""
        return asdict(self)


FULL: Final = Size(
    name="full",
    teacher=Shape(width=128, layers=4),
    student=Shape(width=64, layers=2),
    teacher_base=Recipe(steps=650, batch=48, rate=2e-3),
    teacher_style=Recipe(steps=60, batch=48, rate=5e-4),
    student_base=Recipe(steps=300, batch=48, rate=4e-3),
    sft_rows=1000,
    sft=Recipe(steps=600, batch=48, rate=1e-3),
    sft_look=10,
    threshold=0.5,
    strong_threshold=0.85,
    rollouts=4000,
    probes=250,
    batch=128,
    steps=60,
    looks=(0, 1, 2, 5, 10, 20, 30, 40, 60),
    rates=(3e-6, 1e-5, 3e-5, 1e-4, 3e-4),
    stopping=500,
    tuning=500,
    final=1000,
)

QUICK: Final = replace(FULL, name="quick", rates=(1e-5, 3e-5, 1e-4))
"""The same models and data; a shorter sweep."""

GPU: Final = replace(
    FULL,
    name="gpu",
    teacher=Shape(width=1024, layers=16),
    student=Shape(width=512, layers=8),
    teacher_base=Recipe(steps=4000, batch=512, rate=5e-4),
    teacher_style=Recipe(steps=200, batch=512, rate=1e-4),
    student_base=Recipe(steps=600, batch=512, rate=5e-4),
    sft_rows=20_000,
    sft=Recipe(steps=2000, batch=256, rate=1e-4),
    rollouts=50_000,
    probes=1000,
    batch=256,
    steps=150,
    looks=(0, 2, 5, 10, 20, 40, 60, 80, 100, 150),
    rates=(2e-6, 1e-5, 3e-5, 1e-4, 3e-4),
    stopping=1000,
    tuning=1000,
    final=5000,
)
"""For one GPU; only the building of its models and options has been run."""

TINY: Final = replace(
    FULL,
    name="tiny",
    teacher=Shape(width=64, layers=1),
    student=Shape(width=32, layers=1),
    teacher_base=Recipe(steps=3, batch=8, rate=1e-3),
    teacher_style=Recipe(steps=2, batch=8, rate=1e-3),
    student_base=Recipe(steps=2, batch=8, rate=1e-3),
    sft_rows=16,
    sft=Recipe(steps=4, batch=8, rate=1e-3),
    sft_look=2,
    rollouts=16,
    probes=8,
    batch=8,
    steps=2,
    looks=(0, 1, 2),
    rates=(1e-4, 1e-3),
    stopping=8,
    tuning=8,
    final=8,
)
"""For trying the machinery; nothing is learnt."""

SIZES: Final = {size.name: size for size in (FULL, QUICK, GPU, TINY)}
