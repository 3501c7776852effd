"""From a name to artifacts on the Hub: the commit, the place, what is pinned, what was seen."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError, NotFoundError, Problem
from lopd_store.hub.names import HubName, is_commit
from lopd_store.hub.snapshot import Snapshot, history, refs
from lopd_store.remote.artifact import RemoteArtifact, artifact_at, open_artifact
from lopd_store.remote.layout import Place, places
from lopd_store.remote.seen import Seen, Sight

MAIN: Final = "main"


def resolve(
    name: HubName, *, seen: Seen | None, accept_moved: bool = False
) -> list[RemoteArtifact]:
    """The artifacts that a name means, in the order of their places.

    Args:
        name: without a config or a split, all of them; with a digest, the one that has it.
        seen: what was seen of the repository; it is compared, and not yet changed: who takes the
            artifacts remembers their `sight`.
        accept_moved: whether a tag may have moved and a branch may have been rewound.

    Raises:
        NotFoundError: no such repository, revision, config or split; no artifact; or no answer.
        IntegrityError: what is pinned is not there, the Hub shows something else than before, or
            a document is not what its digest says.
        FormatError: a document is not valid.
    """
    snapshot = Snapshot.open(name.repo, revision=name.revision)
    chosen = _chosen(snapshot, name)
    if name.digest is not None:
        snapshot, chosen = _pinned(snapshot, name, chosen)
    artifacts = [open_artifact(snapshot, place) for place in chosen]
    if seen is not None and not accept_moved:
        seen.check(sight(snapshot, artifacts), partial(history, name.repo, snapshot.commit))
    return artifacts


def sight(snapshot: Snapshot, artifacts: Sequence[RemoteArtifact]) -> Sight:
    """What the Hub shows, to be remembered."""
    revision = snapshot.revision or MAIN
    return Sight(
        repo=snapshot.repo,
        revision=revision,
        moves=revision == MAIN or not _is_fixed(snapshot.repo, revision),
        commit=snapshot.commit,
        artifacts={artifact.place: artifact.id for artifact in artifacts},
    )


def _chosen(snapshot: Snapshot, name: HubName) -> list[Place]:
    found = list(places(snapshot.files))
    if not found:
        raise NotFoundError(
            f"{snapshot}: expected an artifact of lopd (lopd/<config>/<split>/index.json), found"
            " none: it was not published with lopd-store push"
        )
    wanted = [
        place
        for place in found
        if name.config in {None, place.config} and name.split in {None, place.split}
    ]
    if not wanted:
        asked = "/".join(part for part in (name.config, name.split) if part)
        raise NotFoundError(f"{snapshot}: expected {asked}, found {', '.join(map(str, found))}")
    return wanted


def _pinned(
    snapshot: Snapshot, name: HubName, chosen: Sequence[Place]
) -> tuple[Snapshot, list[Place]]:
    """Where the pinned artifact is: at the revision that was named, else on main or at a tag."""
    here = {place: artifact_at(snapshot, place) for place in chosen}
    if match := [place for place, digest in here.items() if digest == name.digest]:
        return snapshot, match[:1]
    if name.revision is None:
        for tag in refs(name.repo).tags:
            other = Snapshot.open(name.repo, revision=tag)
            for place in places(other.files):
                if artifact_at(other, place) == name.digest:
                    return other, [place]
    raise _not_there(snapshot, name, here)


def _not_there(snapshot: Snapshot, name: HubName, here: Mapping[Place, Digest]) -> IntegrityError:
    found = ", ".join(f"{digest} at {place}" for place, digest in here.items())
    problem = Problem("pinned-digest", str(snapshot), str(name.digest), found or "none")
    return IntegrityError(str(problem), problems=[problem])


def _is_fixed(repo: str, revision: str) -> bool:
    """Whether a revision is a commit or a version, which never move."""
    return is_commit(revision) or revision in refs(repo).tags
