"""Artifacts on the Hub as its client's cache has them: what was once there is there offline too."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lopd_store import hub
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import (
    DigestMismatchError,
    FormatError,
    HubError,
    IntegrityError,
    LopdError,
    NotFoundError,
    Problem,
    StoreError,
    UsageError,
)
from lopd_store.hub import HubName
from lopd_store.hub.snapshot import RemoteFile, Snapshot, history
from lopd_store.remote.artifact import RemoteArtifact, open_artifact
from lopd_store.remote.layout import INDEX, places
from lopd_store.remote.resolving import MAIN, Opener, Repository, find, sight
from lopd_store.remote.seen import Seen


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedSnapshot:
    """A repository at a commit, in the client's cache: a file comes there when it is read.

    Attributes:
        listed: which files it has, as the Hub says or as the cache remembers.
    """

    listed: Snapshot

    @classmethod
    def open(cls, repo: str, *, revision: str | None = None) -> "CachedSnapshot":
        """Ask the Hub for the commit; where it does not answer, the cache says what it was.

        Raises as `hub.find` does.
        """
        name = f"{repo}@{revision}" if revision else repo
        return cls(listed=hub.find(name, what="dataset", patterns=(f"lopd/*/{INDEX}",)))

    def __str__(self) -> str:
        return str(self.listed)

    @property
    def repo(self) -> str:
        """`org/name`."""
        return self.listed.repo

    @property
    def revision(self) -> str | None:
        """As it was asked for; None for the main branch."""
        return self.listed.revision

    @property
    def commit(self) -> str:
        """40 hex characters."""
        return self.listed.commit

    @property
    def files(self) -> Iterable[str]:
        """The paths of its files."""
        return self.listed.files

    def read(self, path: str, *, limit: int) -> bytes:
        """A file, whole. Raises as `Files.read` does."""
        file = self.listed.file(path)
        if file.size > limit:
            raise FormatError(f"{self} {path}: expected at most {limit} bytes, found {file.size}")
        with (hub.bring(self.listed, [file]) / path).open("rb") as opened:
            data = opened.read(limit + 1)
        if len(data) > limit:
            raise FormatError(f"{self} {path}: expected at most {limit} bytes, found more")
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedArtifact:
    """One artifact whose documents are in the cache, and its shards when they are asked for.

    Attributes:
        snapshot: the repository, at a commit.
        artifact: its documents, each read and checked.
    """

    snapshot: CachedSnapshot
    artifact: RemoteArtifact

    def shards(self) -> Iterator[tuple[Descriptor, Path]]:
        """Download what is missing; each shard in row order with its file, whose bytes nobody read.

        What the Hub lists is compared with the manifest before a byte of it comes.

        Raises:
            NotFoundError: a shard is not there, or the Hub does not answer.
            IntegrityError: one has another size or digest than the manifest says.
        """
        shards, listed = list(self.artifact.shards()), self.snapshot.listed
        files = [self._listed(layer, path) for layer, path in shards]
        folder = hub.bring(listed, files)
        for layer, path in shards:
            _require_size(folder / path, layer, (folder / path).stat().st_size)
            yield layer, folder / path

    def _listed(self, layer: Descriptor, path: str) -> RemoteFile:
        snapshot = self.snapshot
        file = snapshot.listed.files.get(path)
        if file is None:
            name = f"{snapshot.repo}@{snapshot.commit}"
            raise NotFoundError(
                f"{snapshot}: expected a shard {path}, found none: ask for the repository to be"
                f" published again; `lopd-store verify {name}` says what else is missing"
            )
        _require_size(path, layer, file.size)
        if file.sha256 not in {None, layer.digest}:
            where = f"{snapshot} {path}"
            raise DigestMismatchError(
                where=where, expected=str(layer.digest), found=str(file.sha256)
            )
        return file


def _require_size(where: object, layer: Descriptor, size: int) -> None:
    if size != layer.size:
        problem = Problem("size-mismatch", str(where), f"{layer.size} bytes", f"{size} bytes")
        raise IntegrityError(str(problem), problems=[problem])


def open_cached(name: HubName, *, seen: Seen | None) -> CachedArtifact | None:
    """The artifact that a name means; None for a repository of shards that no manifest names.

    Offline nothing is compared with what was seen: the cache has what was compared when it came.

    Args:
        name: must mean one artifact.
        seen: what was seen of repositories; it is compared, and remembers what was opened.

    Raises:
        UsageError: several artifacts, of which none is named.
        NotFoundError, IntegrityError, FormatError: as `resolving.resolve`.
    """
    if is_plain(name, seen=seen):
        return None
    repository, chosen = find(name, open_at=CachedSnapshot.open)
    if len(chosen) > 1:
        raise UsageError(
            f"{repository}: expected a name of one artifact, found several: "
            + ", ".join(f"{name.repo}/{place}" for place in chosen)
        )
    artifact = open_artifact(repository, chosen[0])
    if seen is not None and not hub.is_offline():
        _compare(seen, repository, artifact)
    return CachedArtifact(snapshot=repository, artifact=artifact)


def is_plain(
    name: HubName, *, seen: Seen | None, open_at: Opener[Snapshot] = Snapshot.open
) -> bool:
    """Whether a name means a repository of shards that no manifest names.

    Where the Hub does not answer, the cache is asked; not before, as the client warns where it
    finds none of the files that it looks for.

    Raises:
        IntegrityError: there was an artifact when the repository was last seen.
        NotFoundError, FormatError: as `hub.download`.
    """
    if name.config or name.digest:
        return False
    away: LopdError | None = None
    try:
        files: Iterable[str] = open_at(name.repo, revision=name.revision).files
    except (NotFoundError, HubError) as error:
        files = CachedSnapshot.open(name.repo, revision=name.revision).files
        away = error
    if any(places(files)):
        return False
    revision = name.revision or MAIN
    if seen is not None and seen.knows(name.repo, revision):
        if away is not None:  # the cache has other files of it only
            raise away
        problem = Problem("artifact-gone", f"{name.repo}@{revision}", "an artifact", "none")
        raise IntegrityError(str(problem), problems=[problem])
    return True


def _compare(seen: Seen, snapshot: Repository, artifact: RemoteArtifact) -> None:
    """Raise IntegrityError where the Hub contradicts what was seen; else remember it."""
    revision = snapshot.revision or MAIN
    what = (snapshot.repo, revision, snapshot.commit, artifact.place, artifact.id)
    if seen.is_as_it_was(*what):
        return
    now = sight(snapshot, {artifact.place: artifact.id})
    seen.check(now, partial(history, snapshot.repo, snapshot.commit))
    with suppress(StoreError):  # a store that is only read: opening does not need its memory
        seen.remember(now)
