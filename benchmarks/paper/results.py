"""What all seeds found, in one JSON file from which every table and picture is made."""

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import machine
from benchmarks.paper.methods import LOSSES, ONLINE
from benchmarks.paper.plan import Seed
from benchmarks.paper.sweep import best

LIBRARIES: Final = ("torch", "transformers", "vllm")
STUDENT_T: Final = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}
"""Two-sided 95 % quantiles of Student's t, by the number of seeds."""

Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Over:
    """One figure of every seed."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> "Over":
        """From the seeds' figures in their order."""
        return cls(tuple(values))

    @property
    def mean(self) -> float:
        """Over seeds."""
        return statistics.fmean(self.values)

    @property
    def half_width(self) -> float | None:
        """Of the 95 % interval of the mean by Student's t; None for a single seed."""
        count = len(self.values)
        if count < min(STUDENT_T):
            return None
        return STUDENT_T[count] * statistics.stdev(self.values) / math.sqrt(count)

    def __sub__(self, other: "Over") -> "Over":
        """Seed by seed."""
        return Over.of(a - b for a, b in zip(self.values, other.values, strict=True))


@dataclass(frozen=True, slots=True)
class Results:
    """The document, and the questions that tables and pictures ask it."""

    document: Mapping[str, Any]

    @property
    def seeds(self) -> Sequence[Mapping[str, Any]]:
        """What each seed found: the reports of its stages by name."""
        found: Sequence[Mapping[str, Any]] = self.document["seeds"]
        return found

    @property
    def size(self) -> Mapping[str, Any]:
        """Every number of the size that was run."""
        found: Mapping[str, Any] = self.document["size"]
        return found

    def start(self, who: str) -> Over:
        """Accuracy before OPD, such as of `student A`."""
        return Over.of(share(seed["standing"]["accuracy"][who]) for seed in self.seeds)

    def tuned(self, method: str, student: str = "A") -> list[Answer]:
        """Each seed's run at the rate that was best on its tuning problems."""
        return [best(seed[f"rates-{method}-{student}"]) for seed in self.seeds]

    def at(self, method: str, rate: float, student: str = "A") -> list[Answer]:
        """Each seed's run at a rate."""
        return [
            next(answer for answer in seed[f"rates-{method}-{student}"] if answer["rate"] == rate)
            for seed in self.seeds
        ]

    def exact(self, method: str, rate: float) -> list[Answer]:
        """Each seed's run of a noiseless update at a rate."""
        return [
            next(
                answer
                for answer in seed["exact"]
                if (answer["method"], answer["rate"]) == (method, rate)
            )
            for seed in self.seeds
        ]

    @property
    def common_rate(self) -> float:
        """The rate at which methods are compared side by side."""
        rates = sorted(self.size["rates"])
        return float(rates[len(rates) // 2])

    def pair(self, method: str, student: str, teacher: str) -> list[Answer]:
        """Each seed's run of a pair of teachers at the common rate."""
        if (student, teacher) == ("A", "A"):
            return self.at(method, self.common_rate)
        return self._pair(f"common-{method}", student, teacher)

    def tuned_pair(self, method: str, student: str, teacher: str) -> list[Answer]:
        """The same at each seed's best rate of the matched pair A."""
        if (student, teacher) == ("A", "A"):
            return self.tuned(method)
        return self._pair(f"pairs-{method}", student, teacher)

    def _pair(self, report: str, student: str, teacher: str) -> list[Answer]:
        return [
            next(
                answer
                for answer in seed[report]
                if (answer["student"], answer["teacher"]) == (student, teacher)
            )
            for seed in self.seeds
        ]

    def distance(self, student: str, teacher: str, what: str) -> Over:
        """A measure of Δ on the student's rollouts, between its SFT teacher and another."""
        key = f"{student} {teacher}"
        return Over.of(seed["standing"]["distances"][key][what] for seed in self.seeds)

    def cost(self, method: str) -> dict[str, Over]:
        """CPU seconds of one run: rollouts, scoring, training; of the seeds that were timed."""
        parts = {"rollouts": "store", "scoring": "store", "training": method}
        if method == ONLINE:
            parts = dict.fromkeys(parts, ONLINE)
        return {
            part: Over.of(seed["cost"][where][part] for seed in self.seeds if "cost" in seed)
            for part, where in parts.items()
        }


def share(accuracy: Mapping[str, int]) -> float:
    """Right answers by all."""
    return accuracy["correct"] / accuracy["total"]


def finals(answers: Sequence[Answer]) -> Over:
    """Accuracy on the final problems."""
    return Over.of(share(answer["final"]) for answer in answers)


def last(answers: Sequence[Answer], what: str) -> Over:
    """What the last look saw."""
    return Over.of(answer["looks"][-1][what] for answer in answers)


def gather(seeds: Sequence[Seed]) -> Results:
    """The reports of all stages of all seeds."""
    size = seeds[0].size
    found = [
        {"seed": seed.seed}
        | {name: json.loads(file.read_text()) for name, file in seed.reports().items()}
        for seed in seeds
    ]
    return Results(
        {
            "benchmark": "paper",
            "machine": machine.describe(LIBRARIES),
            "size": json.loads(json.dumps(size.to_json())),
            "methods": {name: repr(loss) for name, loss in LOSSES.items()},
            "seeds": found,
        }
    )


def write(results: Results, file: Path) -> None:
    """One line a look, so that a person can read it and git can compare it."""
    text = json.dumps(results.document, indent=1)
    file.write_text(_joined(text) + "\n", encoding="utf-8")


def read(file: Path) -> Results:
    """What `write` wrote."""
    return Results(json.loads(file.read_text(encoding="utf-8")))


def _joined(text: str) -> str:
    """Objects and lists that hold no other are put on one line."""
    lines: list[str] = []
    held: list[str] = []
    for line in text.split("\n"):
        if line.endswith(("{", "[")):
            lines += held
            held = [line]
        elif held:
            held.append(line)
            if line.strip().rstrip(",") in ("}", "]"):
                lines.append(held[0] + " ".join(part.strip() for part in held[1:]))
                held = []
        else:
            lines.append(line)
    return "\n".join(lines + held)
