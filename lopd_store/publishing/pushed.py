"""What a push came to."""

from dataclasses import dataclass
from typing import Any

from lopd_store.digest import Digest
from lopd_store.hub import committing
from lopd_store.publishing.destination import Destination
from lopd_store.remote.resolving import MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """What a push came to.

    Attributes:
        destination: where the artifact is now.
        artifact: its id; another than the source's where text was added or log-probs rounded.
        source: the id of what was to be pushed.
        commit: the commit that has it.
        ref: what the store calls it; None where no ref can be spelled so.
        sent: bytes that the Hub did not have at that place.
        total: bytes of all its files.
    """

    destination: Destination
    artifact: Digest
    source: Digest
    commit: str
    ref: str | None
    sent: int
    total: int

    @property
    def url(self) -> str:
        """The page of this version."""
        return committing.page(self.destination.repo, self.destination.version or MAIN)

    def to_json(self) -> dict[str, Any]:
        """Plain values to print."""
        return {
            "url": self.url,
            "name": str(self.destination),
            "repo": self.destination.repo,
            "config": self.destination.place.config,
            "split": self.destination.place.split,
            "version": self.destination.version,
            "commit": self.commit,
            "id": str(self.artifact),
            "source": str(self.source),
            "ref": self.ref,
            "bytes_sent": self.sent,
            "bytes": self.total,
        }
