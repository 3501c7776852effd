"""An artifact's section of a card: what it is, who made it, numbers, loading, verifying."""

from collections.abc import Iterator
from typing import Final

from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.markdown import digest, table
from lopd_store.publishing.card.numbers import columns, numbers
from lopd_store.publishing.card.provenance import provenance
from lopd_store.publishing.card.usage import loading, verifying

_WHAT: Final = {
    "signal": (
        "A **signal**: rollouts of a student, and one natural log-prob of a teacher for every"
        " response token. The student can be distilled on its own rollouts with no teacher server."
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


def section(facts: CardFacts) -> str:
    """Markdown of one artifact, without markers; its last line ends."""
    lines = [
        f"## `{facts.place.config}`, split `{facts.place.split}`",
        "",
        _WHAT[facts.artifact.document.kind],
        "",
        *table(("", ""), _names(facts)),
        "",
        *provenance(facts),
        "",
        *columns(facts),
        "",
        *numbers(facts),
        "",
        *loading(facts),
        "",
        *verifying(facts),
    ]
    return "\n".join(lines) + "\n"


def _names(facts: CardFacts) -> Iterator[tuple[str, str]]:
    if facts.version:
        yield "version", f"`{facts.version}`"
    yield "id", digest(facts.artifact.id)
    yield "content", f"{digest(facts.artifact.document.content_digest)}, however rows are stored"
    yield "manifest and documents", f"[`{facts.place.folder}`](./{facts.place.folder})"
