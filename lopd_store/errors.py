"""Every error this project raises, in one tree; the class carries the exit code.

    LopdError                     something we did not expect          exit 1
    ├── StoreError                the store cannot do this now         exit 1
    │   └── RefMovedError         a ref is not where it was expected
    ├── HubError                  the Hub refuses this or is away      exit 1
    ├── UsageError                the request makes no sense           exit 2
    ├── IntegrityError            bytes are not what their name says   exit 3
    │   └── DigestMismatchError
    ├── NotFoundError             no such object, ref, file or model   exit 4
    ├── FormatError               not a valid artifact or input        exit 5
    ├── ConsistencyError          wrong teacher, tokenizer or policy   exit 6
    └── EngineError               an engine failed or answered badly   exit 7

To add one: pick the parent whose exit code says whose fault it is, end the name in Error,
write one sentence of docstring, keep it picklable (engines raise across processes).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing found wrong, for people and for machines.

    Attributes:
        kind: a stable word to match on, such as `digest-mismatch` or `not-finite`.
        where: the place: a file, a blob, `shard 3 row 17`, a JSON pointer.
        expected: what should stand there.
        found: what stands there.
    """

    kind: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.where}: {self.kind}: expected {self.expected}, found {self.found}"

    def to_json(self) -> dict[str, str]:
        """The JSON object with these four fields."""
        return {
            "kind": self.kind,
            "where": self.where,
            "expected": self.expected,
            "found": self.found,
        }


class LopdError(Exception):
    """Root of the tree: catch this to catch everything lopd raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)

    @classmethod
    def of(cls, problems: Sequence[Problem], *, subject: str) -> Self:
        """One error for all `problems` found in `subject`; the message shows the first few."""
        shown = "\n".join(f"  {problem}" for problem in problems[:8])
        more = f"\n  and {len(problems) - 8} more" if len(problems) > 8 else ""  # noqa: PLR2004
        return cls(f"{subject}: {len(problems)} problem(s)\n{shown}{more}", problems=problems)

    def __reduce__(self) -> tuple[object, ...]:
        return rebuild, (type(self), str(self), self.problems)


def rebuild(kind: type[LopdError], message: str, problems: Sequence[Problem]) -> LopdError:
    """An error as it was in another process; classes differ in what their constructors take."""
    error = kind.__new__(kind)
    LopdError.__init__(error, message, problems=problems)
    return error


class StoreError(LopdError):
    """The store cannot do this now: it is full, read-only, or in use."""


class RefMovedError(StoreError):
    """A ref does not point where compare-and-swap expected it to."""


class HubError(LopdError):
    """The Hub does not do this now: no token, no permission, no room, or no answer."""


class UsageError(LopdError):
    """The request contradicts itself or asks for what does not exist."""

    exit_code = 2


class IntegrityError(LopdError):
    """Bytes are not what their name says."""

    exit_code = 3


class DigestMismatchError(IntegrityError):
    """Bytes hash to another digest than the one they are stored or sent under."""

    def __init__(self, *, where: str, expected: str, found: str) -> None:
        problem = Problem("digest-mismatch", where, expected, found)
        super().__init__(str(problem), problems=(problem,))


class NotFoundError(LopdError):
    """No such object, ref, file or model."""

    exit_code = 4


class FormatError(LopdError):
    """The bytes are intact but are not a valid artifact, document or input."""

    exit_code = 5


class ConsistencyError(LopdError):
    """The wrong teacher, tokenizer or policy, or a re-score that disagrees."""

    exit_code = 6


class EngineError(LopdError):
    """An engine failed, or gave an answer that cannot be right."""

    exit_code = 7
