"""Depth 2: the teacher at hand is the one the artifact names, and so is the tokenizer."""

from collections.abc import Iterable
from dataclasses import replace

from lopd_store.documents.identity import Identity
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.compare import same_teacher, same_tokenizer
from lopd_store.identity.model import Fingerprint
from lopd_store.verify.report import Report


def check_teacher(identities: Iterable[Identity], teacher: Fingerprint, report: Report) -> None:
    """Compare a model with the teacher that each identity names.

    Raises UsageError when the artifact has no teacher, as rollouts do not.
    """
    for identity in identities:
        if identity.teacher is None:
            raise UsageError(
                f"expected an artifact that names a teacher (kind signal or sft), found kind"
                f" {identity.kind}"
            )
        # What a publisher asserts to be the same would make any model the teacher.
        named = replace(identity.teacher, asserted_same_as=None)
        report.add(ConsistencyError, same_teacher(named, teacher.model))
        if teacher.tokenizer is None:
            report.notes.append("the model at hand has no tokenizer files: tokenizer not compared")
        else:
            report.add(ConsistencyError, same_tokenizer(identity.tokenizer, teacher.tokenizer))
