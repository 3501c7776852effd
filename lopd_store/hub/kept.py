"""What repositories were when the Hub was last asked, kept with their files in its client's cache.

So what was once there is there when the Hub is away, and it shows where files of it are missing.
"""

import json
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest
from lopd_store.errors import FormatError
from lopd_store.hub.explaining import What, reading
from lopd_store.hub.names import is_commit
from lopd_store.hub.snapshot import RemoteFile, Snapshot

_MAIN: Final = "main"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def folder_of(repo: str, what: What) -> Path:
    """Where the client keeps a repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE).expanduser() / "--".join([f"{what}s", *repo.split("/")])


def cached_digest(path: Path) -> Digest | None:
    """The SHA-256 by whose name the cache keeps a large file; None for any other file.

    That is the Hub's word when it was downloaded: the bytes are not read.
    """
    target = path.resolve()
    named = target.parent.name == "blobs" and _SHA256.fullmatch(target.name)
    return Digest.from_hex(target.name) if named and path.is_symlink() else None


def keep(snapshot: Snapshot) -> None:
    """Write down what a revision was, for when the Hub is away; a cache may be read-only."""
    folder, files = folder_of(snapshot.repo, snapshot.what), snapshot.files.values()
    listing = {
        file.path: [file.size, file.sha256.hex if file.sha256 else None, file.git_oid]
        for file in files
    }
    with suppress(OSError):
        _write(_listing(folder, snapshot.commit), json.dumps({"files": listing}))
        revision = snapshot.revision or _MAIN
        if revision != snapshot.commit:
            _write(folder / "refs" / revision, snapshot.commit)


def kept(repo: str, revision: str | None, what: What) -> Snapshot | None:
    """What `keep` wrote down; None where that is nothing."""
    folder, commit = folder_of(repo, what), revision or _MAIN
    try:
        if not is_commit(commit):
            commit = (folder / "refs" / commit).read_text("ascii").strip()
        listed = json.loads(_listing(folder, commit).read_bytes())["files"]
        files = {
            path: RemoteFile(
                path=path, size=size, sha256=sha256 and Digest.from_hex(sha256), git_oid=git_oid
            )
            for path, (size, sha256, git_oid) in listed.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, FormatError):
        return None
    return Snapshot(repo=repo, what=what, revision=revision, commit=commit, files=files)


def kept_by_others(
    repo: str, revision: str | None, what: What, patterns: Sequence[str]
) -> Snapshot | None:
    """What another program downloaded; None where that is nothing, or not all it wanted."""
    from huggingface_hub import errors, snapshot_download

    with reading(repo, repo, what):
        try:
            place = Path(
                snapshot_download(
                    repo,
                    repo_type=what,
                    revision=revision,
                    allow_patterns=list(patterns),
                    local_files_only=True,
                )
            )
        except errors.LocalEntryNotFoundError:
            return None
    files = {
        (path := found.relative_to(place).as_posix()): RemoteFile(
            path=path, size=found.stat().st_size, sha256=cached_digest(found), git_oid=""
        )
        for found in place.rglob("*")
        if found.is_file()
    }
    return Snapshot(repo=repo, what=what, revision=revision, commit=place.name, files=files)


def _listing(folder: Path, commit: str) -> Path:
    return folder / "lopd" / f"{commit}.json"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}")
    try:
        part.write_text(text, "utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
