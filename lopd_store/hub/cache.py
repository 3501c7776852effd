"""Files of the Hub in the folder where its own client keeps them, without the client.

What is written has the name and the bytes that the listing says: the client itself writes to where
a header of the answer tells it to, and as much as comes.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lopd_store.digest import READ_BYTES, Digest
from lopd_store.errors import (
    DigestMismatchError,
    HubError,
    NotFoundError,
    StoreError,
    UsageError,
)
from lopd_store.hub.client import no_bars_in_logs
from lopd_store.hub.explaining import What
from lopd_store.hub.fetching import Advance, fetch
from lopd_store.hub.kept import folder_of, keep, kept, kept_by_others
from lopd_store.hub.names import split_name
from lopd_store.hub.snapshot import RemoteFile, Snapshot, is_inside
from lopd_store.hub.together import Told, at_once

_WORTH_A_BAR: Final = 16 << 20  # bytes


def download(name: str, *, what: What, patterns: Sequence[str], ignore: Sequence[str] = ()) -> Path:
    """The snapshot folder of a repository, named by its commit; cached files are not asked for.

    `HF_HUB_OFFLINE`, `HF_HOME`, `HF_ENDPOINT` and `HF_TOKEN` count as in huggingface_hub.

    Args:
        name: `org/name` or `org/name@revision`.
        what: the type of repository.
        patterns: files to have; `*` matches across folders too.
        ignore: files not to have.

    Raises:
        UsageError: not a name that the Hub allows.
        NotFoundError: no such repository, revision or cached copy.
        HubError: no answer.
        IntegrityError: other bytes than the Hub lists, or another commit than the one named.
        FormatError: an answer that is none.
        StoreError: the disk refuses.
    """
    from huggingface_hub.utils import filter_repo_objects

    snapshot = find(name, what=what, patterns=patterns)
    wanted = filter_repo_objects(
        snapshot.files, allow_patterns=list(patterns), ignore_patterns=list(ignore)
    )
    return bring(snapshot, [snapshot.files[path] for path in wanted])


def find(name: str, *, what: What, patterns: Sequence[str]) -> Snapshot:
    """What a repository is now; where the Hub does not say, what it was when it was last asked.

    Args:
        name: `org/name` or `org/name@revision`.
        what: the type of repository.
        patterns: what another program must have downloaded, where only that is here.

    Raises as `download` does.
    """
    from huggingface_hub import errors

    repo, revision = split_name(name)
    if revision is not None and not is_inside(revision):
        raise UsageError(f"{name}: expected a revision as git allows it, found {revision!r}")
    try:
        snapshot = Snapshot.open(repo, revision=revision, what=what)
    except (NotFoundError, HubError) as error:
        if isinstance(error.__cause__, errors.RevisionNotFoundError):
            raise
        found = kept(repo, revision, what) or kept_by_others(repo, revision, what, patterns)
        if found is None:
            raise
        return found
    keep(snapshot)
    return snapshot


def bring(snapshot: Snapshot, files: Iterable[RemoteFile]) -> Path:
    """Have these files in the cache; the snapshot's folder, where they then are.

    What is there already is taken as it is. Raises as `download` does.
    """
    folder = folder_of(snapshot.repo, snapshot.what)
    place = folder / "snapshots" / snapshot.commit
    missing = [file for file in files if not (place / file.path).exists()]
    if missing:
        with _refused_by_disk(folder), _told(snapshot, missing) as advance:
            told = Told(advance)
            at_once(lambda file: _bring_one(snapshot, file, folder, told), missing, told)
    return place


def is_offline() -> bool:
    """Whether nothing is to be asked of the Hub (`HF_HUB_OFFLINE`): the cache is all there is."""
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _bring_one(snapshot: Snapshot, file: RemoteFile, folder: Path, told: Advance) -> None:
    from huggingface_hub.utils import WeakFileLock

    name = file.sha256.hex if file.sha256 else file.git_oid
    blob, shown = folder / "blobs" / name, folder / "snapshots" / snapshot.commit / file.path
    lock = folder.parent / ".locks" / folder.name / f"{name}.lock"
    for each in (blob, shown, lock):
        each.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):  # as the client does
        if not blob.exists():
            _fetch(snapshot, file, blob, told)
        if not shown.exists():
            _show(blob, shown)


def _fetch(snapshot: Snapshot, file: RemoteFile, blob: Path, told: Advance) -> None:
    """Bring a blob here, where it is seen once it is whole and what its name says."""
    part = blob.with_name(f"{blob.name}.incomplete")
    for again in (part.exists(), False):
        digest = fetch(snapshot, file.path, part, size=file.size, advance=told)
        found, expected = _name_of(part, file, digest), file.sha256 or file.git_oid
        if found == str(expected):
            part.replace(blob)
            return
        part.unlink()
        if not again:  # a power cut may have spoilt what was there
            break
    raise DigestMismatchError(where=f"{snapshot} {file.path}", expected=str(expected), found=found)


def _name_of(path: Path, file: RemoteFile, digest: Digest) -> str:
    """What the Hub would call these bytes."""
    if file.sha256 is not None:
        return str(digest)
    state = hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    with path.open("rb") as opened:
        while block := opened.read(READ_BYTES):
            state.update(block)
    return state.hexdigest()


def _show(blob: Path, shown: Path) -> None:
    """The file at its path: a link to the blob, where the disk has links."""
    shown.unlink(missing_ok=True)  # a link to nothing
    try:
        shown.symlink_to(os.path.relpath(blob, shown.parent))
    except OSError:
        os.link(blob, shown)


@contextmanager
def _refused_by_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot write: {error}: free some space, or name another disk with HF_HOME"
        ) from error


@contextmanager
def _told(snapshot: Snapshot, files: Sequence[RemoteFile]) -> Iterator[Advance]:
    """A bar for what takes a while, as the client draws them."""
    from huggingface_hub.utils import tqdm

    size = sum(file.size for file in files)
    if size < _WORTH_A_BAR:
        yield lambda _count: None
        return
    with no_bars_in_logs(), tqdm(total=size, unit="B", unit_scale=True, desc=snapshot.repo) as bar:
        yield bar.update
