"""Bytes by digest. `get(put(b)) == b`; a name never changes its bytes.

Every read goes: size, digest, then the bytes. Blobs are read-only files (0444) which appear
whole or not at all.
"""

import os
import re
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar

from lopd_store.canonical import MAX_DOCUMENT_BYTES
from lopd_store.digest import Digest
from lopd_store.errors import (
    DigestMismatchError,
    IntegrityError,
    NotFoundError,
    Problem,
)
from lopd_store.remembered import FileState, Records
from lopd_store.store import durable, regular
from lopd_store.store.locks import exclusive

_HEX: Final = re.compile(r"[0-9a-f]{64}")
_BLOB_MODE: Final = 0o444
_Read = TypeVar("_Read")


def where(digest: Digest) -> str:
    """A blob's place in a store, as problems name it."""
    return f"blobs/sha256/{digest.hex}"


class Blobs:
    """The blobs of one store: files in `folder`, each named by its SHA-256 in hex."""

    def __init__(
        self, folder: Path, *, tmp: Path, lock: Path, verified: Path, sync: durable.Sync
    ) -> None:
        """See Store.

        Args:
            folder: `blobs/sha256`.
            tmp: where blobs are written before they get their name; same file system.
            lock: the lock that gc holds while it removes.
            verified: where it is remembered which blobs `check_once` has read.
            sync: see `durable.Sync`.
        """
        self.folder = folder
        self._tmp = tmp
        self._lock = lock
        self._verified = Records(verified)
        self._sync = sync

    def put(self, data: bytes) -> Digest:
        """Store bytes and return their name. A blob that is there already is kept and made young.

        Raises:
            StoreError: disk full, read-only or not ours; nothing has changed.
        """
        digest = Digest.of(data)
        self._install(
            digest,
            lambda at: durable.write(at, data, tmp=self._tmp, mode=_BLOB_MODE, sync=self._sync),
        )
        return digest

    def put_file(self, path: Path, *, digest: Digest | None = None) -> Digest:
        """Move a file into the store; `path` is gone afterwards.

        Args:
            path: a regular file, best on the store's file system (then it is a rename).
            digest: its digest, from a caller who computed it while writing; else it is computed.

        Raises:
            StoreError: disk full, read-only or not ours; `path` is still there.
            IntegrityError: `path` is a link, a pipe or a device.
        """
        try:
            digest = digest or regular.digest_of(path)
        except FileNotFoundError:
            raise NotFoundError(f"no file {path} to store") from None
        self._install(digest, lambda at: durable.move(path, at, tmp=self._tmp, sync=self._sync))
        with durable.explained("cannot remove", path):
            path.unlink(missing_ok=True)
        return digest

    def get(
        self, digest: Digest, *, size: int | None = None, limit: int = MAX_DOCUMENT_BYTES
    ) -> bytes:
        """The bytes named `digest`: size checked, then digest, then returned.

        Args:
            digest: the blob's name.
            size: the size its descriptor gives, in bytes.
            limit: the most bytes to take into memory; for larger blobs use `open` and `check`.

        Raises:
            NotFoundError: no such blob.
            IntegrityError: wrong size, other bytes, or not a regular file.
            FormatError: larger than `limit`.
        """
        self.size(digest, expected=size)
        data = self._found(digest, lambda path: regular.read(path, limit=limit))
        if (found := Digest.of(data)) != digest:
            raise DigestMismatchError(where=where(digest), expected=str(digest), found=str(found))
        return data

    def open(self, digest: Digest) -> FileIO:
        """A blob for reading in pieces; its bytes are not checked: see `check`."""
        return self._found(digest, regular.open_for_reading)

    def check(self, digest: Digest, *, size: int | None = None) -> None:
        """Read a blob to its end and check it. Raises NotFoundError and IntegrityError."""
        self.size(digest, expected=size)
        if (found := self._found(digest, regular.digest_of)) != digest:
            raise DigestMismatchError(where=where(digest), expected=str(digest), found=str(found))

    def check_once(self, digest: Digest, *, size: int | None = None) -> None:
        """`check`, unless this very file has passed it before; see `remembered`.

        A disk that loses bits under an unchanged file goes unnoticed: `check` and fsck read again.
        """
        self.size(digest, expected=size)
        path, verdict = self._at(digest), {"digest": str(digest)}
        with durable.explained("cannot look at", path):
            state = FileState.of(path)
        known = self._verified.recall(path)
        if known is None or known.get("digest") != str(digest):
            self.check(digest, size=size)
            self._verified.remember(path, state, verdict)

    def path(self, digest: Digest) -> Path:
        """Where a blob stands, for readers that want a file. Raises as `size` does."""
        self.size(digest)
        return self._at(digest)

    def size(self, digest: Digest, *, expected: int | None = None) -> int:
        """A blob's size in bytes.

        Raises:
            NotFoundError: no such blob.
            IntegrityError: not the `expected` size, or a link, a pipe, a device.
        """
        found = self._found(digest, regular.size_of)
        if expected is not None and found != expected:
            problem = Problem("size-mismatch", where(digest), f"{expected} bytes", f"{found} bytes")
            raise IntegrityError(str(problem), problems=(problem,))
        return found

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there, unread. Raises IntegrityError on a link or a pipe.

        To rely on it, `put` it again: that also keeps gc away.
        """
        try:
            self.size(digest)
        except NotFoundError:
            return False
        return True

    def all(self, *, prefix: str = "") -> Iterator[Digest]:
        """The names of all blobs (whose hex starts with `prefix`), in no order."""
        try:
            for path in self.folder.iterdir():
                if path.name.startswith(prefix) and _HEX.fullmatch(path.name):
                    yield Digest.from_hex(path.name)
        except FileNotFoundError:
            return

    def _at(self, digest: Digest) -> Path:
        return self.folder / digest.hex

    def _found(self, digest: Digest, read: Callable[[Path], _Read]) -> _Read:
        try:
            return read(self._at(digest))
        except FileNotFoundError:
            raise NotFoundError(f"no blob {digest} in {self.folder}") from None

    def _install(self, digest: Digest, write: Callable[[Path], None]) -> None:
        """Write a blob; or if it is there and intact, make it young, so gc's grace covers it."""
        at = self._at(digest)
        durable.make_folder(self.folder, sync=self._sync)
        if not os.path.lexists(at):
            write(at)
            return
        intact = self._is_intact(digest)  # reads it all, so not under the lock
        with exclusive(self._lock):  # gc removes under it: gone before, or young after
            if not (intact and _touch(at)):
                write(at)

    def _is_intact(self, digest: Digest) -> bool:
        try:
            self.check(digest)
        except (NotFoundError, IntegrityError):
            return False
        return True


def _touch(path: Path) -> bool:
    try:
        os.utime(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except PermissionError:
        return False  # another user's: to replace it, the folder is enough
    return True
