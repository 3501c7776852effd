"""What a card is made of."""

from dataclasses import dataclass

from lopd_store.artifacts import Artifact
from lopd_store.documents.noise import Noise
from lopd_store.errors import FormatError, UsageError
from lopd_store.hub.names import HubName
from lopd_store.publishing.card.statistics import Statistics
from lopd_store.remote.layout import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """An artifact that goes to a place in a repository.

    Attributes:
        repo: `org/name`.
        place: where in it.
        version: the tag that this version gets, if it gets one.
        artifact: its documents; no shard of it is read.
        noises: how far re-scored log-probs moved.
        statistics: its rows in numbers.
        signed_by: the ids of the keys that signed it.
    """

    repo: str
    place: Place
    version: str | None
    artifact: Artifact
    noises: tuple[Noise, ...]
    statistics: Statistics
    signed_by: tuple[str, ...]

    def __post_init__(self) -> None:
        if (parsed := self.name).repo != self.repo or parsed.revision != self.version:
            raise UsageError(f"expected org/name and a version, found {self.repo}, {self.version}")
        document, counted = self.artifact.document, self.statistics
        says = (document.rows, document.tokens, document.prompt_tokens)
        found = (counted.rows, counted.tokens, counted.prompt_tokens)
        if says != found:
            raise FormatError(
                f"{self.artifact.id}: expected rows, response and prompt tokens {says} as the"
                f" artifact says, found {found}; see lopd-store verify"
            )

    @property
    def name(self) -> HubName:
        """What people type for this version; the pin alone where it has no tag."""
        pin = "" if self.version else f"@{self.artifact.id}"
        return HubName.parse(f"{self.repo}/{self.place}{self._revision}{pin}")

    @property
    def pinned(self) -> HubName:
        """The same with the artifact's id: another artifact under that tag is refused."""
        return HubName.parse(f"{self.repo}/{self.place}{self._revision}@{self.artifact.id}")

    @property
    def _revision(self) -> str:
        return f"@{self.version}" if self.version else ""

    @property
    def stored(self) -> int:
        """Bytes of the shards."""
        return sum(shard.size for shard in self.artifact.shards)
