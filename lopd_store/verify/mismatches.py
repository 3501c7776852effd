"""Each link of the chain that can be broken: in what words, and what a person can do about it."""

from typing import Literal

from lopd_store.documents import media
from lopd_store.documents.model import ModelIdentity
from lopd_store.documents.stamp import Stamp
from lopd_store.documents.tokenizer import TokenizerIdentity
from lopd_store.errors import Problem
from lopd_store.identity.compare import facts
from lopd_store.identity.model import Fingerprint
from lopd_store.verify.chain import Mismatch, Side

Difference = Literal["model", "revision", "config", "adapter"]
"""How a model is not another: `revision` is that of a Hub repository, `model` all else."""

STUDENT = "student"
ROWS = "rows"


def no_stamp(student: Fingerprint, carried: Stamp | None) -> Mismatch:
    """Nothing beside the student says who wrote its SFT data; the rows may carry a claim."""
    found = ["none"]
    if carried is not None and carried.sft_manifest_digest is not None:
        found.append(f"the rollouts carry one, by sft artifact {carried.sft_manifest_digest}")
    return Mismatch(
        kind="no-stamp",
        where=STUDENT,
        says="nothing says which SFT data taught this student, and so which teacher wrote them",
        expected=Side("student's stamp", (f"{media.STAMP_FILE} beside the weights",)),
        found=Side("student's stamp", tuple(found)),
        advice=f"if you know which SFT data taught it, say so: {_stamp_it(student)}",
    )


def stamp_of_another(problem: Problem, stamp: Stamp, student: Fingerprint) -> Mismatch:
    """The stamp beside the student is not of its weights, config or adapter."""
    stamped = [f"weights {stamp.weights_digest}", f"config {stamp.config_digest}"]
    if stamp.adapter_digest is not None:
        stamped.append(f"adapter {stamp.adapter_digest}")
    return Mismatch(
        kind=problem.kind,
        where=media.STAMP_FILE,
        says="the stamp beside the student was made for another checkpoint",
        expected=Side("stamped checkpoint", tuple(stamped)),
        found=Side(STUDENT, facts(student.model)),
        advice=(
            "put weights and stamp back as they were saved together; or remove"
            f" {media.STAMP_FILE} and say which SFT data taught it: {_stamp_it(student)}"
        ),
    )


def no_one_teacher(problem: Problem, stamp: Stamp) -> Mismatch:
    """The student's SFT data were written by several teachers, or nobody knows by whom."""
    teachers = tuple(fact for teacher in stamp.sft_teachers for fact in facts(teacher))
    return Mismatch(
        kind=problem.kind,
        where=media.STAMP_FILE,
        says="the stamp names no single teacher of the student's SFT data",
        expected=Side("SFT teachers", ("one",)),
        found=Side("SFT teachers", teachers or ("none known",)),
        advice="SFT the student on data that the scoring teacher alone wrote",
    )


def other_sft_tokenizer(student: TokenizerIdentity, sft: TokenizerIdentity) -> Mismatch:
    """The student was taught with ids of another tokenizer than the one beside its weights."""
    return Mismatch(
        kind="other-sft-tokenizer",
        where=STUDENT,
        says="the tokenizer beside the student's weights is not the one of its SFT data",
        expected=Side("SFT tokenizer", tokenizer_facts(sft)),
        found=Side("student's tokenizer", tokenizer_facts(student)),
        advice="put back the tokenizer that the student was trained with, or SFT it again",
    )


def other_teacher(
    difference: Difference, sft: ModelIdentity, scored: ModelIdentity, *, label: str
) -> Mismatch:
    """Another teacher scored the rows, or is said to, than the one that wrote the SFT data."""
    says = {
        "model": "another model scored these rows than the one that wrote the student's SFT data",
        "revision": "another revision of the SFT teacher scored these rows",
        "config": "the SFT teacher's weights scored these rows, but with another config",
        "adapter": "the SFT teacher scored these rows with another LoRA adapter",
    }
    return Mismatch(
        kind=_kind("other-teacher", difference),
        where=ROWS,
        says=says[difference],
        expected=Side("SFT teacher", facts(sft)),
        found=Side(label, facts(scored)),
        advice=(
            "score the rollouts with the SFT teacher: lopd-store build ROLLOUTS --teacher"
            f" {_named(sft, 'SFT_TEACHER')} -o REF; or SFT the student on data that the scoring"
            " teacher wrote, and roll out again"
        ),
    )


def other_tokenizer(student: TokenizerIdentity, rows: TokenizerIdentity, *, whose: str) -> Mismatch:
    """Ids in the rows mean other text than they do for the student."""
    return Mismatch(
        kind="other-tokenizer",
        where=ROWS,
        says="token ids of these rows mean other text to the student",
        expected=Side(f"{whose} tokenizer", tokenizer_facts(student)),
        found=Side("rows' tokenizer", tokenizer_facts(rows)),
        advice=(
            "put back the tokenizer that sampled them beside the student's weights, or roll out"
            " and score again"
        ),
    )


def other_policy(
    difference: Difference, student: Fingerprint, policy: ModelIdentity, *, label: str
) -> Mismatch:
    """Other weights sampled the rows, or are said to, than the student's."""
    says = {
        "model": "other weights than the student's sampled these rows",
        "revision": "another revision of the student sampled these rows",
        "config": "the student's weights sampled these rows, but with another config",
        "adapter": "the student's weights sampled these rows, but with another LoRA adapter",
    }
    advice = roll_out_again(student)
    if student.model.adapter is not None and policy.adapter is None:
        advice = (
            "merge the adapter into its base, and name the merged checkpoint as the student when"
            " it sampled these rows; else roll out again from the merged checkpoint and score"
        )
    return Mismatch(
        kind=_kind("other-policy", difference),
        where=ROWS,
        says=says[difference],
        expected=Side(STUDENT, facts(student.model)),
        found=Side(label, facts(policy)),
        advice=advice,
    )


def retokenised(student: Fingerprint) -> Mismatch:
    """The ids were made from text: the policy may have sampled others."""
    return Mismatch(
        kind="retokenised-rollouts",
        where=ROWS,
        says="ids were made from text, so these need not be the tokens that were sampled",
        expected=Side("rollouts", ("the ids that the student sampled",)),
        found=Side("rollouts", ("ids that a tokenizer made from their text",)),
        advice=roll_out_again(student),
    )


def other_stamp(student: Fingerprint, stamp: Stamp, carried: Stamp) -> Mismatch:
    """The rollouts carry another stamp than the student has now."""
    one, other = stamp.json, carried.json
    differ = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    return Mismatch(
        kind="other-stamp",
        where=ROWS,
        says=f"the rollouts carry another stamp than the student: {', '.join(differ)} differ",
        expected=Side("student's stamp", stamp_facts(stamp)),
        found=Side("rollouts' stamp", stamp_facts(carried)),
        advice=(
            f"put back the {media.STAMP_FILE} that the student had when it rolled out;"
            f" or, {roll_out_again(student)}"
        ),
    )


def no_identity() -> Mismatch:
    """There is no document that says who made the rows."""
    return Mismatch(
        kind="no-identity",
        where=ROWS,
        says="nothing says who made these rows",
        expected=Side("identity", ("one at least",)),
        found=Side("identity", ("none",)),
        advice="build the signal with lopd-store build, which writes who made it into each shard",
    )


def tokenizer_facts(tokenizer: TokenizerIdentity) -> tuple[str, ...]:
    """The digests that decide whether ids mean the same."""
    return (
        f"core {tokenizer.core_digest}",
        f"vocabulary {tokenizer.vocab_digest}",
        f"probe ids {tokenizer.probe_digest}",
    )


def stamp_facts(stamp: Stamp) -> tuple[str, ...]:
    """Which stamp it is and which SFT data it names."""
    sft = stamp.sft_manifest_digest
    named = f"sft artifact {sft} ({stamp.how})" if sft else "no sft artifact"
    return f"stamp {stamp.digest}", f"weights {stamp.weights_digest}", named


def roll_out_again(student: Fingerprint) -> str:
    """The advice that mends whatever is wrong with rollouts."""
    return (
        "roll out again from this checkpoint (lopd-store generate --kind rollouts --model"
        f" {student.folder} --prompts PROMPTS -o ROLLOUTS) and score that"
    )


def _kind(word: str, difference: Difference) -> str:
    return word if difference == "model" else f"{word}-{difference}"


def _stamp_it(student: Fingerprint) -> str:
    if student.model.adapter is not None:
        return "merge the adapter into its base, then lopd-store stamp MERGED --sft REF"
    return f"lopd-store stamp {student.folder} --sft REF"


def _named(model: ModelIdentity, otherwise: str) -> str:
    source = model.source
    return f"{source.repo}@{source.commit}" if source else otherwise
