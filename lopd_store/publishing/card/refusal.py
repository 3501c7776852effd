"""Why trainers of lopd refuse rows, whoever the student is, and what can be done.

The gate itself is `lopd_store.verify.consistency`; this is what it would say to any student.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from lopd_store.documents.identity import Identity
from lopd_store.identity.compare import same_teacher
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import fenced

RESCORED: Final = 32
"""Rows of `verify --rescore`: seconds on any machine, and an invented teacher is seen at once."""

PAPER: Final = "[arXiv 2604.13010](https://arxiv.org/abs/2604.13010), theorem 3.8"


class Reason(NamedTuple):
    """Why rows are refused.

    Attributes:
        says: in words.
        mended_by_build: whether they pass once the teacher of the student's SFT data scores them.
    """

    says: str
    mended_by_build: bool


def reasons(facts: CardFacts) -> list[Reason]:
    """Why no student may learn from these rows as they are; none where one may.

    Of rollouts: why none may learn from a signal that is made of them.
    """
    found = (why for one in facts.artifact.identities for why in _reasons(one))
    return list(dict.fromkeys(found))


def _reasons(identity: Identity) -> Iterator[Reason]:
    if identity.kind == "sft":
        return
    if identity.kind == "signal":
        if identity.teacher is None:
            says = _unproved(identity, "teacher", "which model gave the log-probs")
            yield Reason(says, mended_by_build=True)
        if identity.tokenizer is None:
            says = "nothing says of which tokenizer the ids are"
            yield Reason(says, mended_by_build=True)
        if _is_of_another(identity):
            says = "the student's stamp says that another teacher wrote its SFT data"
            yield Reason(says, mended_by_build=True)
    if "policy" not in identity.models:
        says = _unproved(identity, "policy", "which weights sampled the rows")
        yield Reason(says, mended_by_build=False)
    if identity.imported and identity.imported.retokenised:
        says = "ids were made from text, and need not be those that were sampled"
        yield Reason(says, mended_by_build=False)


def _unproved(identity: Identity, role: str, what: str) -> str:
    return f"{what} is only asserted" if identity.claimed(role) else f"nothing says {what}"


def _is_of_another(identity: Identity) -> bool:
    """Whether the stamp of the student that sampled names other teachers only."""
    teacher, stamp = identity.teacher, identity.policy_stamp
    if teacher is None or stamp is None or not stamp.sft_teachers:
        return False
    return all(same_teacher(one, teacher) for one in stamp.sft_teachers)


def warning(facts: CardFacts) -> Iterator[str]:
    """Lines: that trainers refuse it, why, and what to do; none where one may train."""
    found = reasons(facts)
    if not found:
        return
    is_signal = facts.artifact.document.kind == "signal"
    yield ""
    whose = "this signal" if is_signal else "every signal that is made of these rollouts"
    yield f"**The trainers of lopd refuse {whose}:** {'; '.join(why.says for why in found)}."
    yield (
        "From another teacher than the one that wrote its SFT data a student learns a bias that no"
        f" training takes away ({PAPER})."
    )
    if any(why.mended_by_build for why in found):
        yield ""
        yield from fenced("console", _commands(facts))
        yield ""
        yield (
            "`build` scores the rows again, with the teacher that wrote the student's SFT data,"
            " which is known then."
        )
    if not all(why.mended_by_build for why in found):
        yield (
            "No scoring mends the rollouts: roll out with the student at hand if you can"
            " (`lopd-store generate --kind rollouts`), and score that."
        )
    if is_signal:
        yield (
            "`lopd-train opd --allow-inconsistent-teacher` goes on all the same, and the stamp of"
            " what it trains keeps what was not proved."
        )


def _commands(facts: CardFacts) -> Iterator[str]:
    yield f"$ lopd-store pull {facts.name} -o rows"
    yield "$ lopd-store build rows --teacher SFT_TEACHER -o signal"
    if any(identity.teacher is None for identity in facts.artifact.identities):
        yield (
            f"$ lopd-store verify rows --teacher TEACHER --rescore {RESCORED}"
            "  # does it give these numbers?"
        )
