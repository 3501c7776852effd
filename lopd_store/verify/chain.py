"""What the consistency gate found, and how it says so: both sides of each broken link."""

from collections.abc import Iterator
from dataclasses import dataclass

from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import ConsistencyError, Problem

_LABEL_WIDTH = 18  # of the longest label of a side


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a broken link.

    Attributes:
        label: who it is in the chain, such as `SFT teacher`.
        facts: its name and revision, its digests; no path, as stamps keep what was found.
    """

    label: str
    facts: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.label}: {', '.join(self.facts)}"

    def lines(self) -> Iterator[str]:
        """One fact a line, the label before the first."""
        for index, fact in enumerate(self.facts):
            yield f"{'' if index else self.label:<{_LABEL_WIDTH}} {fact}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mismatch:
    """A link of the chain that does not hold.

    Attributes:
        kind: a stable word to match on, such as `other-teacher-revision`.
        where: where the found side stands: `student`, `lopd.json` or `rows`.
        says: one sentence for people.
        expected: the side of the student.
        found: the side of the rows, or of what should belong to the student.
        advice: what to do next.
    """

    kind: str
    where: str
    says: str
    expected: Side
    found: Side
    advice: str

    @property
    def problem(self) -> Problem:
        """The same for reports and stamps."""
        return Problem(self.kind, self.where, str(self.expected), str(self.found))

    def lines(self) -> Iterator[str]:
        """The sentence, then both sides."""
        yield f"{self.where}: {self.kind}: {self.says}"
        for side in (self.expected, self.found):
            yield from (f"    {line}" for line in side.lines())


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Whether a signal and a student form one chain: teacher, SFT, student, rollouts, signal.

    Attributes:
        mismatches: every link that does not hold.
        notes: what a reader should know although it is no problem.
        teacher: who scored the rows; None when nobody did, or several did.
        stamp: the student's, if it has one.
    """

    mismatches: tuple[Mismatch, ...]
    notes: tuple[str, ...]
    teacher: ModelIdentity | None
    stamp: Stamp | None

    @property
    def ok(self) -> bool:
        """Whether every link holds."""
        return not self.mismatches

    @property
    def problems(self) -> tuple[Problem, ...]:
        """The mismatches as problems."""
        return tuple(mismatch.problem for mismatch in self.mismatches)

    @property
    def advice(self) -> tuple[str, ...]:
        """What to do next, each way once."""
        return tuple(dict.fromkeys(mismatch.advice for mismatch in self.mismatches))

    def lines(self) -> Iterator[str]:
        """Every mismatch with both sides, then what to do."""
        for mismatch in self.mismatches:
            yield from mismatch.lines()
        yield from (f"next: {advice}" for advice in self.advice)

    def refuse(self) -> None:
        """Raise ConsistencyError, with both sides of each mismatch, unless every link holds."""
        if self.ok:
            return
        lines = [
            f"this signal is not for this student: {len(self.mismatches)} problem(s)",
            *self.lines(),
            "      or go on all the same with --allow-inconsistent-teacher, which is recorded",
        ]
        raise ConsistencyError("\n".join(lines), problems=self.problems)
