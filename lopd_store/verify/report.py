"""What a verification found."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.errors import ConsistencyError, LopdError, Problem
from lopd_store.remote.layout import Place
from lopd_store.verify.chain import Chain


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """An artifact that was looked at, right or wrong.

    Attributes:
        id: its name, which can be pinned.
        place: where in a repository on the Hub; None in a store.
        kind: as its document says; None where that cannot be read.
        rows: likewise.
        signed_by: the keys whose signatures were proved.
    """

    id: Digest
    place: Place | None = None
    kind: str | None = None
    rows: int | None = None
    signed_by: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        id_: Digest,
        document: ArtifactDocument | None,
        *,
        signed_by: tuple[str, ...],
        place: Place | None = None,
    ) -> Self:
        """From what could be read of it."""
        kind, rows = (document.kind, document.rows) if document else (None, None)
        return cls(id=id_, place=place, kind=kind, rows=rows, signed_by=signed_by)

    def to_json(self) -> dict[str, Any]:
        """`id`, `config`, `split`, `kind`, `rows`, `signed_by`."""
        return {
            "id": str(self.id),
            "config": self.place.config if self.place else None,
            "split": self.place.split if self.place else None,
            "kind": self.kind,
            "rows": self.rows,
            "signed_by": list(self.signed_by),
        }


@dataclass(slots=True, kw_only=True)
class Report:
    """Collects every problem, and the exit code of the gravest.

    Attributes:
        target: what was verified.
        artifacts: those that were looked at; none in files that no manifest names.
        revision: of the repository on the Hub, as it was asked for.
        commit: what the revision was.
        depth: how deep the look went: 1 integrity, 2 identity, 3 behaviour, 4 consistency.
        problems: all that was found, in the order it was found.
        notes: what a reader should know although it is no problem.
        exit_code: 0, or the lowest code among the problems: bytes that lie (3) come before what is
            missing (4), malformed (5) or inconsistent (6).
        chain: what depth 4 found; its problems are among `problems`.
        at_a_distance: whether the Hub's word was taken for bytes that nobody read.
    """

    target: str
    artifacts: list[Verified] = field(default_factory=list)
    revision: str | None = None
    commit: str | None = None
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
        self.artifacts += [one for one in part.artifacts if one not in self.artifacts]
        known = set(self.problems)
        self.problems += [problem for problem in part.problems if problem not in known]
        self.exit_code = min(self.exit_code or part.exit_code, part.exit_code or self.exit_code)
        self.notes += [f"{part.target}: {note}" for note in part.notes]

    def to_json(self) -> dict[str, Any]:
        """The attributes, with `ok` and the chain's `advice`.

        An artifact is as in `Verified.to_json`; a problem has `kind`, `where`, `expected` and
        `found`.
        """
        return {
            "target": self.target,
            "revision": self.revision,
            "commit": self.commit,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
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
