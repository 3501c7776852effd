"""Where an artifact goes on the Hub: a place in a repository, and perhaps a version of it."""

import re
from dataclasses import dataclass
from typing import Final

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, UsageError
from lopd_store.hub.names import HubName, is_commit
from lopd_store.hub.snapshot import Snapshot, refs
from lopd_store.remote.artifact import artifact_at
from lopd_store.remote.front_matter import MAX_CARD_BYTES
from lopd_store.remote.layout import CARD, Place, places
from lopd_store.remote.naming import ref_of
from lopd_store.remote.resolving import MAIN

_WORD: Final = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_VERSION: Final = re.compile(rf"{_WORD}(?:/{_WORD})*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where an artifact goes.

    Attributes:
        repo: `org/name`.
        place: where in the repository.
        version: the git tag it gets; None leaves it on the main branch without one.
        ref: what the store calls it afterwards; None where no ref can be spelled so.
    """

    repo: str
    place: Place
    version: str | None
    ref: str | None

    @classmethod
    def parse(cls, text: str) -> "Destination":
        """Read `org/name[/config[/split]][@version]`.

        Raises UsageError on another name, or on one that is no version: a commit, the main branch,
        a digest, what git takes for no tag.
        """
        name = HubName.parse(text)
        if name.digest is not None:
            raise UsageError(f"{text}: expected a version to give, found a digest, which is given")
        if name.revision is not None and not _is_version(name.revision):
            raise UsageError(
                f"{text}: expected the name of a version such as v1, found {name.revision}"
            )
        usual = Place()
        place = Place(name.config or usual.config, name.split or usual.split)
        return cls(
            repo=name.repo,
            place=place,
            version=name.revision,
            ref=_ref(name.repo, place, name.revision),
        )

    def __str__(self) -> str:
        place = "" if self.place == Place() else f"/{self.place}"
        return f"{self.repo}{place}{f'@{self.version}' if self.version else ''}"


def _ref(repo: str, place: Place, version: str | None) -> str | None:
    try:
        return ref_of(repo, place, version)
    except UsageError:  # the Hub allows names that a store does not
        return None


def _is_version(revision: str) -> bool:
    """Whether a tag can be called so; git's own rules are a little wider."""
    return (
        _VERSION.fullmatch(revision) is not None
        and revision != MAIN
        and not is_commit(revision)
        and ".." not in revision
        and not revision.startswith("refs/")
        and not any(part.endswith((".", ".lock")) for part in revision.split("/"))
    )


def head(repo: str) -> Snapshot:
    """The main branch, now. Raises NotFoundError, and HubError where the Hub does not answer."""
    return Snapshot.open(repo, revision=MAIN)


def require_free(destination: Destination, artifact: Digest) -> str | None:
    """The commit of the version, if it is there already with this artifact at the place.

    Raises UsageError where the version is another one.
    """
    found = refs(destination.repo)
    version = destination.version
    if version in found.branches:
        raise UsageError(f"{destination}: expected a new version, found a branch of that name")
    if version is None or version not in found.tags:
        return None
    there = Snapshot.open(destination.repo, revision=version)
    place = destination.place
    known = artifact_at(there, place) if place in places(there.files) else None
    if known != artifact:
        raise UsageError(
            f"{destination}: expected a new version, found one with {known or 'nothing'} at"
            f" {place}: versions do not move: name another, such as {version}.1"
        )
    return there.commit


def card_in(snapshot: Snapshot | None) -> str | None:
    """The card that a repository has. Raises FormatError where it is no text."""
    if snapshot is None or CARD not in snapshot.files:
        return None
    try:
        return snapshot.read(CARD, limit=MAX_CARD_BYTES).decode()
    except UnicodeDecodeError as error:
        raise FormatError(
            f"{snapshot} {CARD}: expected UTF-8, found other bytes: mend it on the Hub, then push"
            " again"
        ) from error
