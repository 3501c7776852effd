"""Depth 2: the teacher at hand is the one the artifact names, and so is the tokenizer."""

from collections.abc import Iterable
from dataclasses import replace

from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.compare import same_teacher, same_tokenizer
from lopd_store.identity.model import Fingerprint
from lopd_store.verify.report import Report
from lopd_store.verify.unproved import teacher_problem


def check_teacher(
    identities: Iterable[Identity], teacher: Fingerprint, report: Report, *, rescored: bool
) -> None:
    """Compare a model with the teacher that each identity names.

    A teacher that is unknown or only asserted is a problem, unless rows are `rescored`: then the
    numbers decide. An assertion about another model than the one at hand is a problem always.

    Raises UsageError when the artifact has no teacher, as rollouts do not.
    """
    for identity in identities:
        named = identity.teacher or identity.claimed("teacher")
        if identity.teacher is None and identity.kind != "signal":
            raise UsageError(
                f"expected an artifact that names a teacher (kind signal or sft), found kind"
                f" {identity.kind}"
            )
        if identity.teacher is None and not rescored:
            report.add(ConsistencyError, [teacher_problem(identity)])
        if named is not None:
            # What a publisher asserts to be the same would make any model the teacher.
            named = replace(named, asserted_same_as=None)
            report.add(ConsistencyError, same_teacher(named, teacher.model))
        _check_tokenizer(identity, teacher, report)


def _check_tokenizer(identity: Identity, teacher: Fingerprint, report: Report) -> None:
    if teacher.tokenizer is None:
        report.notes.append("the model at hand has no tokenizer files: tokenizer not compared")
    elif identity.tokenizer is None:
        report.notes.append("nobody says of which tokenizer the ids are: tokenizer not compared")
    else:
        report.add(ConsistencyError, same_tokenizer(identity.tokenizer, teacher.tokenizer))
