"""push: an artifact to the Hub. Files first, where nobody sees them; then one commit; then the tag.

Killed anywhere, nothing is visible that was not whole, and the next push sends only what is
missing. Of two that publish at once, the second takes the first one's commit in and tries again.
"""

import random
import time
from dataclasses import dataclass, field
from typing import Any, Final

from lopd_store.artifacts import point
from lopd_store.building.progress import Progress
from lopd_store.digest import Digest
from lopd_store.errors import RefMovedError
from lopd_store.hub import committing
from lopd_store.hub.committing import Addition
from lopd_store.hub.snapshot import Snapshot
from lopd_store.publishing.card.facts import CardFacts
from lopd_store.publishing.card.rendering import render, stated_license
from lopd_store.publishing.contents import Contents
from lopd_store.publishing.destination import Destination, card_in, head, require_free
from lopd_store.publishing.pushed import Pushed
from lopd_store.remote.artifact import artifact_at, read_index
from lopd_store.remote.layout import CARD, places
from lopd_store.remote.resolving import MAIN
from lopd_store.remote.seen import Seen, Sight
from lopd_store.store import Store

_ATTEMPTS: Final = 40
_LONGEST_WAIT: Final = 5.0


@dataclass(slots=True, kw_only=True)
class Push:
    """An artifact that is ready to be sent.

    Attributes:
        store: where it lies.
        destination: where it goes.
        facts: what its card says.
        contents: its files, but for the card.
        source: the id of what was to be pushed.
        base: the repository when this was prepared; None where there is none yet.
        landed: the commit of the version, where it was there already with this artifact.
        replaces: the artifact that was at the place then.
        license: for the card; None leaves the card's own.
        private: whether a repository that is made now is private; None as the organisation has it.
    """

    store: Store
    destination: Destination
    facts: CardFacts
    contents: Contents
    source: Digest
    base: Snapshot | None
    landed: str | None = None
    license: str | None = None
    private: bool | None = None
    replaces: Digest | None = field(init=False)
    _operations: dict[str, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.replaces = self._there(self.base)

    @property
    def artifact(self) -> Digest:
        """The id of what is pushed."""
        return self.facts.artifact.id

    @property
    def superseded(self) -> bool:
        """Whether the version is there, and another artifact has taken its place on main since."""
        return self.landed is not None and self.replaces != self.artifact

    def card(self, old: str | None) -> str:
        """What the card becomes. Raises FormatError and UsageError as `render` does."""
        return render(old, self.facts, license=self.license)

    @property
    def stated_license(self) -> str | None:
        """The license that the card in the repository states."""
        old = card_in(self.base)
        return stated_license(old) if old else None

    @property
    def stale(self) -> list[str]:
        """The files that are on the main branch now and will not be."""
        return [] if self.superseded else self.contents.stale_in(self.base)

    @property
    def missing(self) -> list[Addition]:
        """The files that the repository did not have when this was prepared."""
        return [] if self.superseded else self.contents.missing_from(self.base)

    @property
    def missing_bytes(self) -> int:
        """Their size."""
        return sum(file.size for file in self.missing)

    @property
    def total_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.size for file in self.contents.files.values())

    def to_json(self) -> dict[str, Any]:
        """What would be done, as plain values to print."""
        return {
            "name": str(self.destination),
            "id": str(self.artifact),
            "source": str(self.source),
            "send": [{"path": file.path, "bytes": file.size} for file in self.missing],
            "remove": self.stale,
            "bytes_to_send": self.missing_bytes,
            "bytes": self.total_bytes,
        }

    def run(self, progress: Progress) -> Pushed:
        """Send what is missing and make it visible.

        Raises:
            HubError: no token, no permission, no room, or no answer; what was sent stays sent.
            RefMovedError: somebody else published another artifact at the place meanwhile.
            UsageError: the version is taken.
            IntegrityError: a blob rotted in the store.
        """
        if self.landed is not None and self.superseded:
            return self._remember(self.landed, 0)
        if self.base is None:
            committing.create_repository(self.destination.repo, private=self.private)
        sent = self.missing_bytes
        progress.begin_transfer(total_bytes=sent, done_bytes=0)
        self._send(self.missing, progress)
        commit = self._land(progress)
        self._seen(MAIN, commit)
        version = self._tag(commit)
        if version != commit:
            progress.say(
                f"{self.destination.version} stays the commit {version[:12]} that it was; what is"
                " new about it, a card or signatures, is on main"
            )
        return self._remember(version, sent)

    def _send(self, files: list[Addition], progress: Progress) -> None:
        new = [file for file in files if file.path not in self._operations]
        sent = committing.send(
            self.destination.repo, new, sent=lambda file: progress.advance(file.size)
        )
        self._operations |= {file.path: one for file, one in zip(new, sent, strict=True)}

    def _land(self, progress: Progress) -> str:
        """Commit on top of whatever the head is by then."""
        for attempt in range(_ATTEMPTS):
            now = head(self.destination.repo)
            self._require_unmoved(now)
            try:
                return self._commit(now, progress)
            except RefMovedError:
                progress.say("somebody published there meanwhile: merging")
                time.sleep(random.uniform(0, min(_LONGEST_WAIT, 0.2 * 2**attempt)))  # noqa: S311
        raise RefMovedError(
            f"{self.destination.repo}: expected a moment without other commits, found none in"
            f" {_ATTEMPTS} attempts: run it again"
        )

    def _commit(self, now: Snapshot, progress: Progress) -> str:
        files = self.contents.missing_from(now)
        stale = self.contents.stale_in(now)
        old = card_in(now)
        card = self.card(old).encode()
        if not files and not stale and old is not None and old.encode() == card:
            return now.commit
        self._send(files, progress)
        operations = [self._operations[file.path] for file in files]
        operations += committing.send(
            self.destination.repo, [Addition.of(CARD, card)], sent=lambda _: None
        )
        document = self.facts.artifact.document
        return committing.commit(
            self.destination.repo,
            operations,
            removed=stale,
            parent=now.commit,
            message=f"{self.destination.place}: {document.kind} {self.artifact.short},"
            f" {document.rows} rows",
        )

    def _require_unmoved(self, now: Snapshot) -> None:
        """Without a tag, nobody keeps an artifact that is replaced: it must be the one we saw."""
        found = self._there(now)
        if self.destination.version is None and found not in {self.replaces, self.artifact}:
            raise RefMovedError(
                f"{self.destination}: expected {self.replaces or 'nothing'} there, found {found},"
                " which somebody published meanwhile: look at it, then push again to replace it,"
                " or push to a version (@name) of its own"
            )
        if found == self.artifact:
            self._require_evidence(now)

    def _require_evidence(self, now: Snapshot) -> None:
        """What others attached to the artifact stays: it must be ours, too."""
        place = self.destination.place
        for entry in read_index(now, place)[1]:
            if place.blob(entry, evidence=True) not in self.contents.files:
                raise RefMovedError(
                    f"{self.destination}: expected the evidence that was there, found"
                    f" {entry.digest.short}, which somebody attached meanwhile: push again"
                )

    def _there(self, snapshot: Snapshot | None) -> Digest | None:
        place = self.destination.place
        if snapshot is None or place not in places(snapshot.files):
            return None
        return artifact_at(snapshot, place)

    def _tag(self, commit: str) -> str:
        """Give the commit its version; the commit that has it, which may have had it before."""
        version = self.destination.version
        if version is None:
            return commit
        if there := require_free(self.destination, self.artifact):
            return there
        try:
            committing.create_tag(
                self.destination.repo, version, commit=commit, message=str(self.artifact)
            )
        except RefMovedError:
            return require_free(self.destination, self.artifact) or commit
        return commit

    def _seen(self, revision: str, commit: str) -> None:
        sight = Sight(
            repo=self.destination.repo,
            revision=revision,
            moves=revision == MAIN,
            commit=commit,
            artifacts={self.destination.place: self.artifact},
        )
        Seen(self.store).remember(sight)

    def _remember(self, commit: str, sent: int) -> Pushed:
        if self.destination.version:
            self._seen(self.destination.version, commit)
        if ref := self.destination.ref:
            point(self.store, ref, self.artifact, expected=self.store.refs.get(ref))
        return Pushed(
            destination=self.destination,
            artifact=self.artifact,
            source=self.source,
            commit=commit,
            ref=self.destination.ref,
            sent=sent,
            total=self.total_bytes,
        )
