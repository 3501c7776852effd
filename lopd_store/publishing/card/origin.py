"""Which values came out of an engine, and which came with a file or from a server."""

from typing import Final

from lopd_store.documents.identity import Identity
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.rows.columns import LOGPROB_COLUMNS

SERVER: Final = "server"
"""What an identity says it was read as where a live server gave the log-probs."""
_ENGINE: Final = "the engine"


def giver(identity: Identity, column: str) -> str:
    """What gave the values of a column of log-probs: the engine, the file or the server."""
    imported = identity.imported
    if imported is None or identity.signal(column):
        return _ENGINE
    return "the server" if imported.read_as == SERVER else "the file"


def givers(facts: CardFacts, identity: Identity) -> list[str]:
    """What gave the log-probs that the artifact has; nothing where it has none."""
    there = {column.name for column in facts.artifact.document.columns}
    names = [name for name in LOGPROB_COLUMNS if name in there]
    return list(dict.fromkeys(giver(identity, name) for name in names))


def unengined(facts: CardFacts, column: str) -> str | None:
    """The file or server that gave some of a column's values; None where engines gave all."""
    found = (giver(identity, column) for identity in facts.artifact.identities)
    return next((one for one in found if one != _ENGINE), None)
