"""Writing that survives `kill -9` and a power cut: temp, fsync, rename, fsync of the folder.

A reader sees the old file or the new one, whole. Whatever fails, nothing that existed is lost
and no temporary file stays behind (after a kill, gc takes it).
"""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lopd_store.errors import StoreError

Sync = Callable[[int], None]
"""Brings an open file or folder to the disk: `os.fsync`, or `no_sync` where speed is all."""

_FULL: Final = "free some space (`lopd-store gc` removes what nothing refers to), then run it again"
_REFUSED: Final = "ask its owner for write permission, or name another store with --store"
_ADVICE: Final = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EFBIG: "raise the limit on file sizes (`ulimit -f`), then run it again",
    errno.EROFS: "it can be read but not written; copy it, or name another store with --store",
    errno.EACCES: _REFUSED,
    errno.EPERM: _REFUSED,
    errno.EIO: "the disk reports an error: check it, then run `lopd-store fsck`",
}


def no_sync(_descriptor: int) -> None:
    """Do not wait for the disk: for tests and scratch stores; a power cut may lose writes."""


@contextmanager
def explained(what: str, where: Path) -> Iterator[None]:
    """Turn an OSError inside into a StoreError: what failed, where, why, and what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "see the cause")
        raise StoreError(f"{what} {where}: {error.strerror or error}: {advice}") from error


def write(path: Path, data: bytes, *, tmp: Path, mode: int = 0o644, sync: Sync = os.fsync) -> None:
    """Replace `path` by `data`, atomically and durably.

    Args:
        path: the file to write; its folder exists.
        data: the whole new content.
        tmp: a folder on the same file system, made if missing.
        mode: permissions before the umask.
        sync: see `Sync`.

    Raises:
        StoreError: disk full, read-only or not ours; `path` is as it was.
    """
    with temporary(tmp, path) as temp:
        descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            sync(file.fileno())
        temp.replace(path)
        sync_folder(path.parent, sync=sync)


def move(source: Path, path: Path, *, tmp: Path, sync: Sync = os.fsync) -> None:
    """Move the file `source` to `path`, read-only, atomically and durably.

    From another file system it is copied into `tmp` first. Raises StoreError; then `path` is as
    it was and `source` is still there.
    """
    with explained("cannot write", path):
        try:
            _seal(source, sync=sync)
            source.replace(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            with temporary(tmp, path) as temp:
                shutil.copyfile(source, temp)
                _seal(temp, sync=sync)
                temp.replace(path)
            source.unlink()
        sync_folder(path.parent, sync=sync)


@contextmanager
def temporary(tmp: Path, target: Path) -> Iterator[Path]:
    """A name in `tmp` for a file that will become `target`; whatever is left there is removed.

    OSErrors inside become StoreErrors that speak of `target`.
    """
    with explained("cannot write", target):
        tmp.mkdir(parents=True, exist_ok=True)
        temp = tmp / f"{os.getpid()}-{secrets.token_hex(8)}"
        try:
            yield temp
        finally:
            temp.unlink(missing_ok=True)


def make_folder(path: Path, *, sync: Sync = os.fsync) -> None:
    """Make a folder and its missing parents, durably. Raises StoreError."""
    with explained("cannot make the folder", path):
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        path.mkdir(parents=True, exist_ok=True)
        for folder in missing:
            sync_folder(folder.parent, sync=sync)


def sync_folder(folder: Path, *, sync: Sync = os.fsync) -> None:
    """Bring the names in a folder to the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


def _seal(path: Path, *, sync: Sync) -> None:
    """Take away write permission, give it the time of now, bring the bytes to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, os.fstat(descriptor).st_mode & 0o444)
        os.utime(descriptor)
        sync(descriptor)
    finally:
        os.close(descriptor)
