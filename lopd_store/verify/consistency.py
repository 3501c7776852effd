"""Depth 4: the teacher that scored wrote the student's SFT data; the rollouts are this student's.

The chain is read from documents whose digests are checked: the identities of the rows, the stamp
beside the student's weights, and the stamp that the rollouts carry. With another teacher the
update has a bias that no training takes away (arXiv 2604.13010, theorem 3.8).
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from lopd_store.documents.identity import Identity
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.scoring import Scoring
from lopd_store.documents.stamp import Stamp
from lopd_store.errors import ConsistencyError, UsageError
from lopd_store.identity.compare import same_teacher
from lopd_store.identity.model import Fingerprint
from lopd_store.stamping import check_stamp
from lopd_store.verify import mismatches as broken
from lopd_store.verify import unproved
from lopd_store.verify.chain import Chain, Mismatch
from lopd_store.verify.mismatches import Difference

__all__ = ["Chain", "check_chain"]


def check_chain(identities: Sequence[Identity], student: Fingerprint, stamp: Stamp | None) -> Chain:
    """Compare rows with the student they are to train. What a publisher asserts never counts.

    Args:
        identities: who made the rows, of kind signal, or of kind rollouts that nobody scored yet;
            every one has to pass.
        student: the checkpoint at hand.
        stamp: the stamp beside its weights, if it has one.

    Raises:
        UsageError: rows of kind sft, which no student wrote.
    """
    if any(identity.kind == "sft" for identity in identities):
        raise UsageError(
            "expected rows that a student wrote (kind signal or rollouts), found kind sft"
        )
    found = [(identity, tuple(_of_rows(identity, student, stamp))) for identity in identities]
    return Chain(
        mismatches=(
            *_of_student(student, stamp, identities),
            *_merged(found),
            *(() if identities else (broken.no_identity(),)),
        ),
        notes=tuple(dict.fromkeys(_notes(identities, student, stamp))),
        teacher=_teacher(identities),
        stamp=stamp,
    )


def _merged(found: Sequence[tuple[Identity, tuple[Mismatch, ...]]]) -> Iterator[Mismatch]:
    """Each mismatch once; one that only some of the identities have says which."""
    those: dict[Mismatch, list[str]] = {}  # in one pass: strangers decide how many there are
    for identity, each in found:
        for mismatch in each:
            those.setdefault(mismatch, []).append(identity.digest.short)
    for mismatch, bad in those.items():
        some = f"{mismatch.where}, {len(bad)} of {len(found)} identities ({', '.join(bad)})"
        yield replace(mismatch, where=some) if len(bad) < len(found) else mismatch


def _teacher(identities: Sequence[Identity]) -> ModelIdentity | None:
    teachers = [identity.teacher for identity in identities]
    first = teachers[0] if teachers else None
    if first is None or any(one is None or _difference(first, one) for one in teachers):
        return None
    return first


def _of_student(
    student: Fingerprint, stamp: Stamp | None, identities: Sequence[Identity]
) -> Iterator[Mismatch]:
    """The student's own side: a stamp, of these weights, by one teacher, with its tokenizer."""
    if stamp is None:
        carried = [one.policy_stamp for one in identities if one.policy_stamp is not None]
        of_it = [one for one in carried if not check_stamp(one, student.model)]
        yield broken.no_stamp(student, of_it[0] if of_it else None)
        return
    for problem in check_stamp(stamp, student.model):
        yield broken.stamp_of_another(problem, stamp, student)
    try:
        _ = stamp.sft_teacher
    except ConsistencyError as error:
        yield broken.no_one_teacher(error.problems[0], stamp)
    for tokenizer in stamp.sft_tokenizers:
        if student.tokenizer and not tokenizer.gives_the_ids_of(student.tokenizer):
            yield broken.other_sft_tokenizer(student.tokenizer, tokenizer)


def _of_rows(identity: Identity, student: Fingerprint, stamp: Stamp | None) -> Iterator[Mismatch]:
    """The rows' side: teacher, tokenizer, policy, and the stamp that the policy carried."""
    yield from _of_teacher(identity, stamp)
    yield from _of_tokenizer(identity, student, stamp)
    yield from _of_policy(identity, student)
    if identity.imported is not None and identity.imported.retokenised:
        yield broken.retokenised(student)
    carried = identity.policy_stamp
    if stamp is not None and carried is not None and carried != stamp:
        yield broken.other_stamp(student, stamp, carried)


def _of_teacher(identity: Identity, stamp: Stamp | None) -> Iterator[Mismatch]:
    """What an importer asserts is compared, and never enough."""
    scored, label = identity.teacher, "scoring teacher"
    if scored is None and identity.kind == "signal":
        yield unproved.unproved_teacher(identity, stamp)
        scored, label = identity.claimed("teacher"), "asserted teacher"
    if scored is not None and stamp is not None and len(stamp.sft_teachers) == 1:
        difference = _difference(stamp.sft_teacher, scored)
        if difference is not None:
            yield broken.other_teacher(difference, stamp.sft_teacher, scored, label=label)


def _of_policy(identity: Identity, student: Fingerprint) -> Iterator[Mismatch]:
    policy, label = identity.models.get("policy"), "rollouts' policy"
    if policy is None:
        yield unproved.unproved_policy(identity, student)
        policy, label = identity.claimed("policy"), "asserted policy"
    if policy is not None and (difference := _difference(student.model, policy)) is not None:
        yield broken.other_policy(difference, student, policy, label=label)


def _of_tokenizer(
    identity: Identity, student: Fingerprint, stamp: Stamp | None
) -> Iterator[Mismatch]:
    """Against the student's own tokenizer; where it has no files, against its SFT data's."""
    whose = "student's" if student.tokenizer else "SFT"
    sft = stamp.sft_tokenizers if stamp else ()
    for tokenizer in (student.tokenizer,) if student.tokenizer else sft:
        if identity.tokenizer is None:
            yield unproved.unknown_tokenizer(tokenizer, identity, whose=whose)
        elif not tokenizer.gives_the_ids_of(identity.tokenizer):
            yield broken.other_tokenizer(tokenizer, identity.tokenizer, whose=whose)


def _difference(expected: ModelIdentity, found: ModelIdentity) -> Difference | None:
    """None for the same model."""
    one, other = (replace(model, asserted_same_as=None) for model in (expected, found))
    kinds = {problem.kind for problem in same_teacher(one, other)}
    if not kinds:
        return None
    here, there = one.source, other.source
    if here and there and here.repo == there.repo and here.commit != there.commit:
        return "revision"
    if "other-weights" in kinds:
        return "model"
    return "config" if "other-config" in kinds else "adapter"


def _notes(
    identities: Sequence[Identity], student: Fingerprint, stamp: Stamp | None
) -> Iterator[str]:
    if student.tokenizer is None:
        yield "the student has no tokenizer files: the tokenizer of its SFT data is compared"
    if student.model.adapter is not None:
        yield (
            "the student is a LoRA adapter: its base and the adapter are compared each by itself;"
            " whether merged weights are this student's cannot be told"
        )
    yield from _notes_on_stamp(stamp)
    for identity in identities:
        yield from _notes_on_rows(identity, student, stamp)


def _notes_on_stamp(stamp: Stamp | None) -> Iterator[str]:
    if stamp is None:
        return
    if stamp.how == "asserted" and stamp.sft_manifest is not None:
        yield (
            f"which SFT data taught the student is asserted by a person, not recorded by a"
            f" trainer: sft artifact {stamp.sft_manifest.digest.short}"
        )
    for run in stamp.opd:
        if run.inconsistent:
            kinds = ", ".join(dict.fromkeys(problem.kind for problem in run.inconsistent))
            signal = run.signal.artifact or run.signal.identities[0]
            yield (
                "the student was trained before with an inconsistent teacher:"
                f" {kinds} (signal {signal.short})"
            )


def _notes_on_rows(identity: Identity, student: Fingerprint, stamp: Stamp | None) -> Iterator[str]:
    policy, teacher = identity.models.get("policy"), identity.teacher
    unstamped = stamp is not None and identity.policy_stamp is None
    if unstamped and policy is not None and _difference(student.model, policy) is None:
        yield "the rollouts carry no stamp, but exactly these weights sampled them"
    if teacher is None:
        if identity.kind != "signal":
            yield "no teacher has scored these rows: only tokenizer, policy and stamp are compared"
        return
    if teacher.asserted_same_as is not None:
        asserted = teacher.asserted_same_as.short
        yield f"that the scoring teacher is the same as {asserted} is asserted: it does not count"
    if stamp is not None:
        yield from _notes_on_numerics(identity, stamp)


def _notes_on_numerics(identity: Identity, stamp: Stamp) -> Iterator[str]:
    """The same teacher in other numerics is the same teacher; how much it matters is measured."""
    scored = _numerics(identity, "teacher_logprobs")
    for data in stamp.sft_identities:
        wrote = _numerics(Identity.parse(data), "rollout_logprobs")
        if None not in (scored, wrote) and scored != wrote:
            yield f"the teacher wrote the SFT data in {wrote} and scored in {scored}"


def _numerics(identity: Identity, column: str) -> str | None:
    signal = identity.signal(column)
    scoring: Scoring | None = identity.scorings.get(signal.scoring) if signal else None
    if scoring is None:
        return None
    return scoring.dtype if scoring.quantization == "none" else scoring.quantization
