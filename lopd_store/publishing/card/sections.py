"""An artifact's section of a card: what it is, how to load and verify it, numbers, who made it."""

from collections.abc import Iterator
from typing import Final

from lopd_store.publishing.card.body import heading
from lopd_store.publishing.card.digests import digests
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import digest
from lopd_store.publishing.card.numbers import columns, numbers
from lopd_store.publishing.card.provenance import provenance
from lopd_store.publishing.card.refusal import reasons, warning
from lopd_store.publishing.card.usage import loading, verifying

_WHAT: Final = {
    "signal": (
        "A **signal**: rollouts of a student, and one natural log-prob of a teacher for every"
        " response token."
    ),
    "rollouts": (
        "**Rollouts**: what a student answered, as the exact token ids that it sampled. A teacher"
        " that scores them makes a signal of them."
    ),
    "sft": (
        "**SFT data**: what a teacher answered, as the exact token ids that it sampled, for a"
        " student to be fine-tuned on."
    ),
}
_IMPORTED: Final = {
    "signal": (
        "A **signal** that came from elsewhere: responses, and one natural log-prob for every"
        " response token."
    ),
    "rollouts": "**Rollouts** that came from elsewhere: token ids of prompts and responses.",
}
_TRAINS: Final = "The student can be distilled on its own rollouts with no teacher server."


def section(facts: CardFacts) -> str:
    """Markdown of one artifact, without markers; its last line ends."""
    said = heading(facts.place)
    lines = [f"## {said}", "", _what(facts), "", _name(facts), *warning(facts)]
    for title, part in (
        ("Load", loading),
        ("Verify", verifying),
        ("Who made", provenance),
        ("Rows of", _rows),
    ):
        lines += ["", f"### {title} {said}", "", *part(facts)]
    return "\n".join([*lines, "", *digests(facts)]) + "\n"


def _what(facts: CardFacts) -> str:
    kind = facts.artifact.document.kind
    imported = any(identity.imported for identity in facts.artifact.identities)
    if imported and kind in _IMPORTED:
        return _IMPORTED[kind]
    trains = kind == "signal" and not reasons(facts)
    return f"{_WHAT[kind]} {_TRAINS}" if trains else _WHAT[kind]


def _rows(facts: CardFacts) -> Iterator[str]:
    yield from columns(facts)
    yield ""
    yield from numbers(facts)


def _name(facts: CardFacts) -> str:
    if facts.version:
        return f"Version `{facts.version}`, id {digest(facts.artifact.id)}."
    return (
        f"Id {digest(facts.artifact.id)}. It was pushed without a version: it is"
        " what the main branch has, where another push may take its place. Names that end in the"
        " id are refused then."
    )
