"""Cards in tests: the small real artifacts that they are made of, and what they say to type."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lopd_store.artifacts import load, noises
from lopd_store.documents.identity import Identity
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.statistics import measure
from lopd_store.remote.layout import Place
from tests.train.signals_made import Made


def facts_of(
    made: Made,
    ref: str = "signal",
    *,
    place: Place | None = None,
    version: str | None = "v1",
    signed_by: tuple[str, ...] = (),
) -> CardFacts:
    """Of an artifact of `made`, at default/train of org/name unless said otherwise."""
    artifact = load(made.store, ref)
    return CardFacts(
        repo="org/name",
        place=place or Place(),
        version=version,
        artifact=artifact,
        noises=tuple(noises(made.store, artifact.id)),
        statistics=measure(artifact.open_shards()),
        signed_by=signed_by,
    )


def with_identity(facts: CardFacts, changes: Mapping[str, Any]) -> CardFacts:
    """The same with a first identity whose JSON has these top-level fields."""
    first, *others = facts.artifact.identities
    changed = Identity.from_json({**first.json, **changes})
    return replace(facts, artifact=replace(facts.artifact, identities=(changed, *others)))


def with_document(facts: CardFacts, changes: Mapping[str, Any]) -> CardFacts:
    """The same with an artifact document whose JSON has these top-level fields."""
    document = type(facts.artifact.document).from_json({**facts.artifact.document.json, **changes})
    return replace(facts, artifact=replace(facts.artifact, document=document))


def blocks_in(card: str, language: str) -> list[str]:
    """The blocks of code of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def commands_in(card: str) -> Iterator[list[str]]:
    """The words of each command that the card says to type, the program's name first."""
    for block in blocks_in(card, "console"):
        for line in block.splitlines():
            prompt, *words = shlex.split(line, comments=True)
            assert prompt == "$"
            yield words
