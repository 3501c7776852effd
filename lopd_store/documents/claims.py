"""What an identity says of imported rows must not contradict itself: known, asserted or unknown."""

from collections.abc import Iterator, Mapping
from typing import Any

from lopd_store.errors import Problem


def problems(document: Mapping[str, Any]) -> list[Problem]:
    """A fact is known, asserted or unknown, and one of them only; the schema has passed."""
    imported = document.get("imported")
    return list(_claims(imported, set(document["models"]))) if imported is not None else []


def _claims(imported: Mapping[str, Any], known: set[str]) -> Iterator[Problem]:
    asserted = imported.get("asserted", {})
    roles, unknown = set(asserted.get("models", {})), imported.get("unknown", [])
    for role in sorted(roles & known):
        where = f"/imported/asserted/models/{role}"
        yield Problem("known-and-asserted", where, "no such field, as models has it", "one")
    said = roles | ({"scoring"} if "scoring" in asserted else set())
    for index, fact in enumerate(unknown):
        where = f"/imported/unknown/{index}"
        if fact in known:
            yield Problem("known-and-unknown", where, "a fact that models lacks", repr(fact))
        if fact in said:
            yield Problem("asserted-and-unknown", where, "a fact nobody asserts", repr(fact))
    if unknown != sorted(set(unknown)):
        expected = "each fact once, sorted"
        yield Problem("unsorted", "/imported/unknown", expected, ", ".join(unknown)[:80])
