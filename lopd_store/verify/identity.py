"""Depth 2: the teacher at hand is the one the artifact names, and so is the tokenizer."""

from collections.abc import Iterable
from dataclasses import replace

from lopd_store.documents.identity import Identity
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.tokenizer import TokenizerIdentity
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
        named = named_teacher(identity, report, rescored=rescored)
        if named is not None:
            report.add(ConsistencyError, same_teacher(named, teacher.model))
        check_tokenizer(identity, teacher.tokenizer, report)


def named_teacher(identity: Identity, report: Report, *, rescored: bool) -> ModelIdentity | None:
    """Who the teacher must be, if anybody says; where nobody knows it, that is a problem noted.

    Raises UsageError as `check_teacher` does.
    """
    if identity.teacher is None and identity.kind != "signal":
        raise UsageError(
            f"expected an artifact that names a teacher (kind signal or sft), found kind"
            f" {identity.kind}"
        )
    if identity.teacher is None and not rescored:
        report.add(ConsistencyError, [teacher_problem(identity)])
    named = identity.teacher or identity.claimed("teacher")
    # What a publisher asserts to be the same would make any model the teacher.
    return replace(named, asserted_same_as=None) if named else None


def check_tokenizer(identity: Identity, found: TokenizerIdentity | None, report: Report) -> None:
    """Compare the tokenizer of the model at hand with the one that an identity names."""
    if found is None:
        report.notes.append("the model at hand has no tokenizer files: tokenizer not compared")
    elif identity.tokenizer is None:
        report.notes.append("nobody says of which tokenizer the ids are: tokenizer not compared")
    else:
        report.add(ConsistencyError, same_tokenizer(identity.tokenizer, found))
