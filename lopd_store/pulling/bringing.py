"""Files of the Hub into a stage: several at once, each checked against its digest."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import (
    DigestMismatchError,
    HubError,
    IntegrityError,
    LopdError,
    NotFoundError,
    Problem,
)
from lopd_store.hub.fetching import fetch
from lopd_store.hub.snapshot import Snapshot
from lopd_store.hub.together import Told, at_once
from lopd_store.pulling.stage import Stage
from lopd_store.store import Store, durable


@dataclass(frozen=True, slots=True)
class Part:
    """A blob of an artifact, and its path in the repository."""

    blob: Descriptor
    path: str


def missing(store: Store, parts: Sequence[Part], told: Told) -> list[Part]:
    """Those that the store lacks, or that are damaged there; all others were read."""

    def is_there(part: Part) -> bool:
        try:
            store.blobs.check(part.blob.digest, size=part.blob.size)
        except (IntegrityError, NotFoundError):
            return False
        return True

    found = at_once(is_there, parts, told)
    return [part for part, there in zip(parts, found, strict=True) if not there]


def check_listing(snapshot: Snapshot, parts: Sequence[Part]) -> None:
    """Compare what the Hub says of files with their descriptors, before a byte of them comes.

    Raises:
        IntegrityError: a file of another size or digest.
        NotFoundError: a file is missing, and nothing worse.
    """
    problems = [problem for part in parts for problem in _listed(snapshot, part)]
    if problems:
        only_missing = all(problem.kind == "missing-file" for problem in problems)
        error: type[LopdError] = NotFoundError if only_missing else IntegrityError
        raise error.of(problems, subject=str(snapshot))


def bring(snapshot: Snapshot, parts: Sequence[Part], stage: Stage, told: Told) -> None:
    """Bring blobs here, whole; what an earlier run has brought is not asked for again.

    Raises:
        IntegrityError: a file is not what its descriptor says.
        NotFoundError: a file is missing, or the Hub stopped answering; the stage keeps what came.
        StoreError: the disk refuses.
    """
    at_once(lambda part: _bring_one(snapshot, part, stage, told), parts, told)


def _bring_one(snapshot: Snapshot, part: Part, stage: Stage, told: Told) -> None:
    resumed = stage.size(part.blob.digest) > 0
    found = _fetched(snapshot, part, stage, told)
    if found != part.blob.digest and resumed:  # a power cut may have spoilt what was there
        stage.path(part.blob.digest).unlink()
        found = _fetched(snapshot, part, stage, told)
    if found != part.blob.digest:
        where = f"{snapshot} {part.path}"
        raise DigestMismatchError(where=where, expected=str(part.blob.digest), found=str(found))


def _fetched(snapshot: Snapshot, part: Part, stage: Stage, told: Told) -> Digest:
    path = stage.path(part.blob.digest)
    with durable.explained("cannot write", path), resumable():
        return fetch(snapshot, part.path, path, size=part.blob.size, advance=told)


@contextmanager
def resumable() -> Iterator[None]:
    """What the Hub fails to give within says that another try goes on from there."""
    try:
        yield
    except HubError as error:
        raise HubError(f"{error}; what came is kept") from error


def _listed(snapshot: Snapshot, part: Part) -> list[Problem]:
    file = snapshot.files.get(part.path)
    if file is None:
        return [Problem("missing-file", part.path, f"{part.blob.size} bytes", "no such file")]
    if file.size != part.blob.size:
        expected, found = f"{part.blob.size} bytes", f"{file.size} bytes"
        return [Problem("size-mismatch", part.path, expected, found)]
    if file.sha256 is not None and file.sha256 != part.blob.digest:
        expected, shown = str(part.blob.digest), str(file.sha256)
        return [Problem("digest-mismatch", part.path, expected, shown)]
    return []
