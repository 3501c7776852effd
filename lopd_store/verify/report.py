"""What a verification found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lopd_store.errors import ConsistencyError, LopdError, Problem
from lopd_store.verify.chain import Chain


@dataclass(slots=True, kw_only=True)
class Report:
    """Collects every problem, and the exit code of the gravest.

    Attributes:
        target: what was verified.
        depth: how deep the look went: 1 integrity, 2 identity, 3 behaviour, 4 consistency.
        problems: all that was found, in the order it was found.
        notes: what a reader should know although it is no problem.
        exit_code: 0, or the lowest code among the problems: bytes that lie (3) come before what is
            missing (4), malformed (5) or inconsistent (6).
        chain: what depth 4 found; its problems are among `problems`.
        at_a_distance: whether the Hub's word was taken for bytes that nobody read.
    """

    target: str
    depth: int = 1
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    exit_code: int = 0
    chain: Chain | None = None
    at_a_distance: bool = False

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.problems

    def add(self, error: type[LopdError], problems: Iterable[Problem]) -> None:
        """Note problems that would be raised as `error`."""
        found = list(problems)
        if found:
            self.problems += found
            self.exit_code = min(self.exit_code or error.exit_code, error.exit_code)

    def add_error(self, error: LopdError, where: str) -> None:
        """Note an error by its own problems, or as one problem made of its message."""
        self.add(type(error), error.problems or (as_problem(error, where),))

    def add_chain(self, chain: Chain) -> None:
        """Note what depth 4 found."""
        self.chain = chain
        self.add(ConsistencyError, chain.problems)
        self.notes += chain.notes

    def include(self, part: "Report") -> None:
        """Take over what was found in a part of the target, but nothing twice."""
        known = set(self.problems)
        self.problems += [problem for problem in part.problems if problem not in known]
        self.exit_code = min(self.exit_code or part.exit_code, part.exit_code or self.exit_code)
        self.notes += [f"{part.target}: {note}" for note in part.notes]

    def to_json(self) -> dict[str, Any]:
        """`target`, `ok`, `depth`, `at_a_distance`, `problems`, `notes`, `advice`.

        A problem has `kind`, `where`, `expected` and `found`.
        """
        return {
            "target": self.target,
            "ok": self.ok,
            "depth": self.depth,
            "at_a_distance": self.at_a_distance,
            "problems": [problem.to_json() for problem in self.problems],
            "notes": self.notes,
            "advice": list(self.chain.advice) if self.chain else [],
        }


def joined(target: str, parts: Sequence[Report]) -> Report:
    """Reports of several parts as one; that of the only part is taken as it is."""
    if len(parts) == 1:
        return replace(parts[0], target=target)
    report = Report(target=target, depth=max((part.depth for part in parts), default=1))
    for part in parts:
        report.include(part)
    return report


def as_problem(error: LopdError, where: str) -> Problem:
    """An error that carries no problems as one; its kind is the error's class in words."""
    words = type(error).__name__.removesuffix("Error")
    kind = "".join(f"-{c.lower()}" if c.isupper() else c for c in words).lstrip("-")
    return Problem(kind, where, "no error", str(error))
