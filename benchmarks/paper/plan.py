"""What runs for one seed, and what waits for what."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.paper.methods import OFFLINE, ONLINE
from benchmarks.paper.places import Places
from benchmarks.paper.schedule import Node, meaning_digest, tree_digest
from benchmarks.paper.sizes import Size
from examples.arithmetic.stages import Stage, file_digest

STRONG: Final = "A+"
STRONG_METHODS: Final = ("paper", "weighted")
MORE_SFT: Final = "more-sft"
"""The control: no OPD, but SFT going on as long."""
TUNED_PAIRS: Final = ("paper", "weighted")
COMMON_PAIRS: Final = (ONLINE, "paper", "weighted")
_LEARNING: Final = ("problems", "tokenizer", "learning", "pretrain")
_DATA: Final = ("problems", "tokenizer", "places", "data")
_RUNS: Final = (
    *_LEARNING[:-1],
    "evaluate",
    "methods",
    "probe",
    "runs",
    "offline",
    "state_centred",
    "online",
    "sweep",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """Makes the nodes of one seed; names begin with the seed, so several can run together."""

    size: Size
    seed: int
    folder: Path
    timed: bool = True
    """Whether costs are measured: they do not depend on the seed, so one will do."""

    @property
    def places(self) -> Places:
        """Where this seed keeps what."""
        return Places(self.folder)

    def nodes(self) -> list[Node]:
        """Every stage, the longest ways first."""
        students, signals = ("A", "B", STRONG), ("signals-A", "signals-B", f"signals-{STRONG}")
        return [
            self._models(
                "teachers", self.size.teacher_base, self.size.teacher_style, self.size.teacher
            ),
            self._models("base", self.size.student_base, self.size.student),
            self._stage("sft", ("teachers",), _DATA, "data sft"),
            *(self._student(name) for name in students),
            *(self._signals(name) for name in students),
            *(self._rates(method, "A") for method in (ONLINE, *OFFLINE)),
            *(self._common(method) for method in COMMON_PAIRS),
            *(self._pairs(method) for method in TUNED_PAIRS),
            *(self._rates(method, STRONG) for method in STRONG_METHODS),
            *(self._more_sft(student) for student in ("A", STRONG)),
            self._stage("standing", signals, ("evaluate", "probe", "standing"), "standing"),
            self._stage("exact", ("signals-A",), (*_RUNS, "exact"), "exact"),
            *([self._cost()] if self.timed else []),
        ]

    def reports(self) -> dict[str, Path]:
        """What each stage found, by its name."""
        made = [node.name.partition("/")[2] for node in self.nodes()]
        return {name: self.places.report(name) for name in made if name not in ("teachers", "base")}

    def _models(self, what: str, *recipe: object) -> Node:
        into = self.folder / what

        def make(_: Mapping[str, str]) -> Stage:
            return Stage(
                name=f"seed-{self.seed}-{what}",
                title=f"seed {self.seed}: {what} from scratch",
                command=module("pretrain", what, self.size.name, self.seed, into),
                inputs={"sources": meaning_digest(*_LEARNING), "recipe": repr(recipe)},
                result=partial(tree_digest, into),
            )

        return Node(name=self._named(what), needs=(), make=make)

    def _student(self, name: str) -> Node:
        sources = (*_LEARNING[:-1], "evaluate", "places", "students")
        return self._stage(f"student-{name}", ("base", "sft"), sources, f"students {name}")

    def _signals(self, name: str) -> Node:
        needs = (f"student-{name}", "teachers")
        return self._stage(f"signals-{name}", needs, _DATA, f"data signals {name}")

    def _rates(self, method: str, student: str) -> Node:
        needs, call = (f"signals-{student}",), f"sweep rates {method} {student}"
        return self._stage(f"rates-{method}-{student}", needs, _RUNS, call)

    def _pairs(self, method: str) -> Node:
        needs = (f"rates-{method}-A", "signals-A", "signals-B")
        return self._stage(f"pairs-{method}", needs, _RUNS, f"sweep pairs {method}")

    def _common(self, method: str) -> Node:
        needs, sources = ("signals-A", "signals-B"), (*_RUNS, "common")
        return self._stage(f"common-{method}", needs, sources, f"common {method}")

    def _more_sft(self, student: str) -> Node:
        sources, name = (*_RUNS, "students", "more_sft"), f"rates-{MORE_SFT}-{student}"
        return self._stage(name, (f"signals-{student}",), sources, f"more_sft {student}")

    def _cost(self) -> Node:
        return self._stage("cost", ("rates-online-A", "standing"), (*_RUNS, "cost"), "cost")

    def _stage(self, name: str, needs: Sequence[str], sources: Sequence[str], call: str) -> Node:
        """A stage that leaves the report of its name; `call` is a program and its words."""
        program, *words = call.split()
        report = self.places.report(name)

        def make(digests: Mapping[str, str]) -> Stage:
            return Stage(
                name=f"seed-{self.seed}-{name}",
                title=f"seed {self.seed}: {name}",
                command=module(program, self.size.name, self.seed, self.folder, *words),
                inputs={
                    **digests,
                    "sources": meaning_digest(*sources),
                    "size": repr(self.size),
                },
                result=partial(file_digest, report),
            )

        return Node(name=self._named(name), needs=[self._named(n) for n in needs], make=make)

    def _named(self, name: str) -> str:
        return f"seed-{self.seed}/{name}"


def module(name: str, *arguments: object) -> list[str]:
    """The command that runs a module of this package."""
    return [sys.executable, "-m", f"benchmarks.paper.{name}", *map(str, arguments)]
