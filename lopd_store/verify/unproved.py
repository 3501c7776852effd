"""Links of the chain that an import leaves open: what somebody only asserts, or nobody knows."""

from collections.abc import Iterator

from lopd_store.documents.identity import Identity
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.stamp import Stamp
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import Problem
from lopd_store.identity.compare import facts
from lopd_store.identity.model import Fingerprint
from lopd_store.verify.chain import Mismatch, Side
from lopd_store.verify.mismatches import ROWS, STUDENT, roll_out_again, tokenizer_facts

RESCORED = 32  # rows: seconds on any machine, and an invented teacher is seen in the first


def unproved_teacher(identity: Identity, stamp: Stamp | None) -> Mismatch:
    """The log-probs came with a file: who gave them is asserted at best."""
    sft = stamp.sft_teacher if stamp and len(stamp.sft_teachers) == 1 else None
    said = identity.claimed("teacher")
    return Mismatch(
        kind="unknown-teacher" if said is None else "asserted-teacher",
        where=ROWS,
        says=(
            "nothing says which model gave these log-probs"
            if said is None
            else "that this model gave these log-probs is only asserted by whoever imported them"
        ),
        expected=Side("SFT teacher", facts(sft) if sft else ("a model that scored the rows here",)),
        found=_unknown("scoring", identity) if said is None else _asserted("teacher", said),
        advice=(
            f"score them again: lopd-store build REF --teacher {_named(sft or said)} -o NEW; or see"
            " whether a teacher gives these numbers (lopd-store verify REF --teacher T"
            f" --rescore {RESCORED}), and go on with --allow-inconsistent-teacher"
        ),
    )


def unproved_policy(identity: Identity, student: Fingerprint) -> Mismatch:
    """Whose rollouts these are is asserted, or nobody says."""
    said = identity.claimed("policy")
    return Mismatch(
        kind="unknown-policy" if said is None else "asserted-policy",
        where=ROWS,
        says=(
            "nothing says which weights sampled these rows"
            if said is None
            else "that these weights sampled the rows is only asserted by whoever imported them"
        ),
        expected=Side(STUDENT, facts(student.model)),
        found=_unknown("rollouts", identity) if said is None else _asserted("policy", said),
        advice=roll_out_again(student),
    )


def unknown_tokenizer(expected: TokenizerIdentity, identity: Identity, *, whose: str) -> Mismatch:
    """Nothing says what the ids mean."""
    return Mismatch(
        kind="unknown-tokenizer",
        where=ROWS,
        says="nothing says of which tokenizer these token ids are",
        expected=Side(f"{whose} tokenizer", tokenizer_facts(expected)),
        found=_unknown("rows' tokenizer", identity),
        advice="import the file again with --tokenizer, or score the rows again with build",
    )


def teacher_problem(identity: Identity) -> Problem:
    """Why a teacher at hand cannot be the one that a signal names: it names none."""
    said = identity.claimed("teacher")
    expected = f"a teacher that scored here, or --rescore N (such as {RESCORED}) to test this one"
    if said is None:
        return Problem("unknown-teacher", ROWS, expected, "nobody says who scored these rows")
    found = f"an assertion of whoever imported the rows: {', '.join(facts(said))}"
    return Problem("asserted-teacher", ROWS, expected, found)


def notes(identity: Identity) -> Iterator[str]:
    """What a reader of an imported signal should know before anything else."""
    if identity.kind != "signal" or identity.teacher is not None:
        return
    said = identity.claimed("teacher")
    if said is None:
        yield "who gave teacher_logprobs is unknown: they were imported from a file"
    else:
        yield (
            f"who gave teacher_logprobs is asserted by whoever imported them ({facts(said)[0]},"
            f" weights {said.weights_digest.short}); nothing here proves it"
        )


def _asserted(role: str, model: ModelIdentity) -> Side:
    return Side(f"asserted {role}", facts(model))


def _unknown(label: str, identity: Identity) -> Side:
    imported = identity.imported
    source = f"rows imported from file {imported.digest}" if imported else "nobody named"
    return Side(label, (source,))


def _named(model: ModelIdentity | None) -> str:
    source = model.source if model else None
    return f"{source.repo}@{source.commit}" if source else "SFT_TEACHER"
