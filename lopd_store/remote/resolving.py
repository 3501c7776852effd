"""From a name to artifacts on the Hub: the commit, the place, what is pinned, what was seen."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError, NotFoundError, Problem
from lopd_store.hub.names import HubName, is_commit
from lopd_store.hub.snapshot import Snapshot, history, refs
from lopd_store.remote.artifact import Files, RemoteArtifact, artifact_at, open_artifact
from lopd_store.remote.layout import Place, places
from lopd_store.remote.seen import Seen, Sight

MAIN: Final = "main"
_MOST_VERSIONS: Final = 100  # looked at for an artifact that is pinned by its digest alone


class Repository(Files, Protocol):
    """A repository at one commit."""

    @property
    def repo(self) -> str:
        """`org/name`."""
        ...

    @property
    def revision(self) -> str | None:
        """As it was asked for; None for the main branch."""
        ...

    @property
    def commit(self) -> str:
        """What the revision is now: 40 hex characters."""
        ...

    @property
    def files(self) -> Iterable[str]:
        """The paths of its files, those of every index among them."""
        ...


R = TypeVar("R", bound=Repository)
R_co = TypeVar("R_co", bound=Repository, covariant=True)


class Opener(Protocol[R_co]):
    """What opens a repository: `Snapshot.open`, which asks the Hub, or another like it."""

    def __call__(self, repo: str, *, revision: str | None = None) -> R_co:
        """Raises as `Snapshot.open` does."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a name on the Hub means.

    Attributes:
        snapshot: the repository, at a commit.
        artifacts: in the order of their places.
        sight: what the Hub shows of them; who takes them remembers it.
    """

    snapshot: Snapshot
    artifacts: list[RemoteArtifact]
    sight: Sight


def resolve(name: HubName, *, seen: Seen | None, accept_moved: bool = False) -> Resolved:
    """The artifacts that a name means.

    Args:
        name: without a config or a split, all of them; with a digest, the one that has it.
        seen: what was seen of the repository; it is compared, and not yet changed. None compares
            with nothing.
        accept_moved: whether a tag may have moved and a branch may have been rewound.

    Raises:
        NotFoundError: no such repository, revision, config or split; no artifact; or no answer.
        IntegrityError: what is pinned is not there, the Hub shows something else than before, or
            a document is not what its digest says.
        FormatError: a document is not valid.
    """
    snapshot, chosen = find(name, open_at=Snapshot.open)
    artifacts = [open_artifact(snapshot, place) for place in chosen]
    now = sight(snapshot, {artifact.place: artifact.id for artifact in artifacts})
    if seen is not None and not accept_moved:
        seen.check(now, partial(history, name.repo, snapshot.commit))
    return Resolved(snapshot=snapshot, artifacts=artifacts, sight=now)


def find(name: HubName, *, open_at: Opener[R]) -> tuple[R, list[Place]]:
    """The repository, at the commit that a name means, and the places of its artifacts there.

    No document is read but, where a digest is pinned, indexes. Raises as `resolve` does.
    """
    repository = open_at(name.repo, revision=name.revision)
    chosen = _chosen(repository, name)
    if name.digest is None:
        return repository, chosen
    return _pinned(repository, name, chosen, open_at)


def recall(name: HubName, seen: Seen) -> Sight | None:
    """What a name meant when it was seen last; None where that is nothing, or several."""
    found = {place: one for one in seen.sights(name.repo) for place in _meant(name, one)}
    return next(iter(found.values())) if len(found) == 1 or (found and name.digest) else None


def _meant(name: HubName, seen: Sight) -> Iterator[Place]:
    """The place of what was seen, if it is what the name means."""
    if name.revision is None:
        meant = seen.revision == MAIN or name.digest is not None
    else:
        meant = name.revision in {seen.revision, seen.commit}
    for place, id_ in seen.artifacts.items():
        if (
            meant
            and name.config in {None, place.config}
            and name.split in {None, place.split}
            and name.digest in {None, id_}
        ):
            yield place


def sight(repository: Repository, artifacts: Mapping[Place, Digest]) -> Sight:
    """What the Hub shows at these places, to be remembered."""
    revision = repository.revision or MAIN
    return Sight(
        repo=repository.repo,
        revision=revision,
        moves=revision == MAIN or not _is_fixed(repository.repo, revision),
        commit=repository.commit,
        artifacts=artifacts,
    )


def _chosen(repository: Repository, name: HubName) -> list[Place]:
    found = list(places(repository.files))
    if not found:
        raise NotFoundError(
            f"{repository}: expected an artifact of lopd (lopd/<config>/<split>/index.json), found"
            " none: it was not published with lopd-store push"
        )
    wanted = [
        place
        for place in found
        if name.config in {None, place.config} and name.split in {None, place.split}
    ]
    if not wanted:
        asked = "/".join(part for part in (name.config, name.split) if part)
        raise NotFoundError(f"{repository}: expected {asked}, found {', '.join(map(str, found))}")
    return wanted


def _pinned(
    repository: R, name: HubName, chosen: Sequence[Place], open_at: Opener[R]
) -> tuple[R, list[Place]]:
    """Where the pinned artifact is: at the revision that was named, else on main or at a tag."""
    here = {place: artifact_at(repository, place) for place in chosen}
    if match := [place for place, digest in here.items() if digest == name.digest]:
        return repository, match[:1]
    more = ""
    if name.revision is None:
        tags = refs(name.repo).tags
        latest = sorted({commit: tag for tag, commit in tags.items()}.values(), key=by_number)
        for tag in reversed(latest[-_MOST_VERSIONS:]):
            other = open_at(name.repo, revision=tag)
            for place in places(other.files):
                if artifact_at(other, place) == name.digest:
                    return other, [place]
        if len(latest) > _MOST_VERSIONS:
            more = (
                f"; {_MOST_VERSIONS} of {len(latest)} versions were looked at: name it, as in"
                f" {name.repo}@VERSION@{name.digest}"
            )
    raise _not_there(repository, here, name, more)


def by_number(version: str) -> list[tuple[bool, int, str]]:
    """An order in which v10 comes after v9."""
    parts = re.split(r"([0-9]{1,18})", version)
    return [(True, int(part), "") if part.isdecimal() else (False, 0, part) for part in parts]


def _not_there(
    repository: Repository, here: Mapping[Place, Digest], name: HubName, more: str
) -> IntegrityError:
    found = ", ".join(f"{digest} at {place}" for place, digest in here.items()) or "none"
    problem = Problem("pinned-digest", str(repository), str(name.digest), found + more)
    return IntegrityError(str(problem), problems=[problem])


def _is_fixed(repo: str, revision: str) -> bool:
    """Whether a revision is a commit or a version, which never move."""
    return is_commit(revision) or revision in refs(repo).tags
