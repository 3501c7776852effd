"""How deep to look, and depths 2 and 4, which need an artifact's identities only."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lopd_store.building.options import EngineOptions
from lopd_store.documents import media
from lopd_store.documents.identity import Identity
from lopd_store.errors import LopdError, Problem, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.keys import PublicKey
from lopd_store.stamping import read_stamp
from lopd_store.verify.consistency import check_chain
from lopd_store.verify.identity import check_teacher
from lopd_store.verify.remote_teacher import RemoteTeacher, check_remote_teacher
from lopd_store.verify.report import Report
from lopd_store.verify.unproved import notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How deep to look.

    Attributes:
        teacher: the teacher at hand, for depth 2; one on the Hub is compared by its files.
        rescore: rows to score again with it, for depth 3; 0 for none.
        student: the student at hand, for depth 4; the stamp beside its weights is read.
        engine: how to score rows again.
        key: whose signature is wanted, at any depth; None asks for none.
        deep: whether an artifact on the Hub is downloaded and read whole.
    """

    teacher: Fingerprint | RemoteTeacher | None = None
    student: Fingerprint | None = None
    rescore: int = 0
    engine: EngineOptions = field(default_factory=EngineOptions)
    key: PublicKey | None = None
    deep: bool = False

    def __post_init__(self) -> None:
        if self.rescore and not isinstance(self.teacher, Fingerprint):
            raise UsageError("expected a teacher to score rows again with, found none (--teacher)")
        if self.rescore < 0:
            raise UsageError(f"expected a number of rows to score again, found {self.rescore}")


def check_teachers(identities: Sequence[Identity], depth: Depth, report: Report) -> None:
    """What imports leave open; and depth 2, where there is a teacher to compare with.

    Raises UsageError when there is one, and the rows have none.
    """
    report.notes += dict.fromkeys(note for identity in identities for note in notes(identity))
    if depth.teacher is None:
        return
    report.depth = 2
    if isinstance(depth.teacher, Fingerprint):
        check_teacher(identities, depth.teacher, report, rescored=depth.rescore > 0)
    else:
        check_remote_teacher(identities, depth.teacher, report)


def check_student(identities: Sequence[Identity], depth: Depth, report: Report) -> None:
    """Depth 4, of what could be read: an identity that could not has been told already."""
    if depth.student is None or not identities:
        return
    report.depth = 4
    try:
        stamp = read_stamp(depth.student.folder)
    except LopdError as error:
        report.add(type(error), [_of_stamp(problem) for problem in error.problems])
        if not error.problems:
            report.add_error(error, media.STAMP_FILE)
        return
    report.add_chain(check_chain(identities, depth.student, stamp))


def _of_stamp(problem: Problem) -> Problem:
    return replace(problem, where=f"{media.STAMP_FILE} {problem.where}")
