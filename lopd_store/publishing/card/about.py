"""What a section says of its artifact in one line for programs: enough for the list and the sums.

A card is everybody's to edit, so a line that is not what it should be says nothing.
"""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.provenance import teacher

_KINDS: Final = ("signal", "rollouts", "sft")
_MOST: Final = 1 << 63
LONGEST: Final = 4096
"""Characters of such a line; a repository's name and a version have a few hundred."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """An artifact in a line.

    Attributes:
        kind: signal, rollouts or sft.
        rows: how many.
        tokens: response tokens in them.
        stored: bytes of the shards.
        version: the tag it got, if it got one.
        teacher: in a word or two; None in rollouts.
    """

    kind: str
    rows: int
    tokens: int
    stored: int
    version: str | None
    teacher: str | None

    @classmethod
    def of(cls, facts: CardFacts) -> Self:
        """What its card says."""
        return cls(
            kind=facts.artifact.document.kind,
            rows=facts.statistics.rows,
            tokens=facts.statistics.tokens,
            stored=facts.stored,
            version=facts.version,
            teacher=teacher(facts),
        )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read `encode`'s answer; None for anything else."""
        try:
            found = json.loads(text) if len(text) <= LONGEST else None
        except (ValueError, RecursionError):
            return None
        if not isinstance(found, dict) or found.keys() != {one.name for one in fields(cls)}:
            return None
        return cls(**found) if _is_sound(found) else None

    def encode(self) -> str:
        """JSON in one line that does not end a comment."""
        text = json.dumps(asdict(self), sort_keys=True)
        return text.replace("<", "\\u003c").replace(">", "\\u003e")


def _is_sound(found: dict[str, Any]) -> bool:
    counts = [found[name] for name in ("rows", "tokens", "stored")]
    texts = [found[name] for name in ("version", "teacher")]
    return (
        found["kind"] in _KINDS
        and all(type(count) is int and 0 <= count < _MOST for count in counts)
        and all(text is None or isinstance(text, str) for text in texts)
    )
