"""One OPD run with its curve: what a method, a rate and a pair of teachers come to."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from benchmarks.paper import evaluate
from benchmarks.paper.clock import Clock
from benchmarks.paper.places import Places
from benchmarks.paper.probe import Probe
from benchmarks.paper.sizes import Size
from lopd_train import drift
from lopd_train.errors import DivergedError
from lopd_train.run import StepReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is run.

    Attributes:
        method: a name of `methods.LOSSES`.
        student: whose start; it is named for the teacher of its SFT data.
        teacher: of OPD.
        rate: the learning rate.
    """

    method: str
    student: str
    teacher: str
    rate: float


@dataclass(slots=True)
class Curve:
    """Collects what a run looks like from outside; looking is not on the run's clock."""

    size: Size
    seed: int
    probe: Probe
    clock: Clock
    looks: list[dict[str, Any]] = field(default_factory=list)
    warned: int | None = None
    diverged: int | None = None

    def look(self, step: int, model: Any) -> None:
        """Measure the model after `step` steps, if this is a step to look at."""
        if step not in self.size.looks:
            return
        found = evaluate.accuracy(model, "tuning", count=self.size.tuning, seed=self.seed)
        self.looks.append(
            {
                "step": step,
                "cpu_seconds": round(self.clock.total, 3),
                "accuracy": found.share,
                **{name: round(value, 6) for name, value in self.probe.look(model).items()},
            }
        )

    def follow(self, steps: Iterator[StepReport], model: Any) -> None:
        """Take the steps of a run and look where a look is due."""
        self.look(0, model)
        try:
            for report in steps:
                if self.warned is None and report.drift and drift.warning(report.drift):
                    self.warned = report.step
                self.look(report.step, model)
        except DivergedError as error:
            self.diverged = self.looks[-1]["step"]
            print(error, flush=True)

    def answer(self, question: Question, model: Any, **more: Any) -> dict[str, Any]:
        """Everything that is kept of the run, with its final accuracy."""
        final = evaluate.accuracy(model, "final", count=self.size.final, seed=self.seed)
        print(
            f"{question.method} {question.student} from {question.teacher} at {question.rate:g}:"
            f" {final}, {self.clock.total:.1f} CPU s",
            flush=True,
        )
        return {
            "method": question.method,
            "student": question.student,
            "teacher": question.teacher,
            "rate": question.rate,
            "final": {"correct": final.correct, "total": final.total},
            "cpu_seconds": {name: round(value, 3) for name, value in self.clock.seconds.items()},
            "warned": self.warned,
            "diverged": self.diverged,
            "looks": self.looks,
            **more,
        }


def on_clock(steps: Iterator[StepReport], clock: Clock) -> Iterator[StepReport]:
    """The same steps, each counted as training."""
    while True:
        with clock.on("training"):
            report = next(steps, None)
        if report is None:
            return
        yield report


def open_curve(size: Size, seed: int, places: Places, question: Question) -> Curve:
    """An empty curve for a question."""
    probe = Probe.open(places, question.student, question.teacher)
    return Curve(size=size, seed=seed, probe=probe, clock=Clock())
