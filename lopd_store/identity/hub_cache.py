"""The Hub's cache on disk: `models--org--name/snapshots/<commit>/`, links into `blobs/`."""

import re
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest
from lopd_store.documents.model import HubSource

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_REPO: Final = re.compile(r"models--([A-Za-z0-9][\w.-]*?)--([A-Za-z0-9_][\w.-]*)", re.ASCII)


def source_of(folder: Path) -> HubSource | None:
    """The repository and commit that a snapshot folder is of; None for any other folder."""
    folder = folder.absolute()
    repo = _REPO.fullmatch(folder.parent.parent.name)
    if folder.parent.name != "snapshots" or not _COMMIT.fullmatch(folder.name) or not repo:
        return None
    return HubSource(repo=f"{repo[1]}/{repo[2]}", commit=folder.name)


def claimed_digest(path: Path) -> Digest | None:
    """The SHA-256 that the cache names a file by; None where the name says nothing.

    Large files are stored under their SHA-256. The name is the Hub's word: the bytes are not read.
    """
    target = path.resolve()
    if source_of(path.parent) is None or not _SHA256.fullmatch(target.name):
        return None
    if target.parent != path.absolute().parent.parent.parent.resolve() / "blobs":
        return None
    return Digest.from_hex(target.name)
