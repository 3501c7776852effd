"""Files on their way into the store, outside the blobs until all of an artifact is right.

.lopd/tmp/pull-<key>/   gc takes it once nobody has gone on with it for a day
    <hex>               a blob, its first bytes, or parts of it at their places
    <hex>.end           the last bytes of one of which only parts come
    made-<n>/           files made of what came
"""

import shutil
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest
from lopd_store.errors import StoreError
from lopd_store.store import Store, durable, regular

_SPARE: Final = 64 << 20  # bytes: indices and documents have to be written too


class Stage:
    """One artifact's folder; whoever uses it holds its lock (`building.work`)."""

    def __init__(self, store: Store, name: str) -> None:
        """Raises IntegrityError where a link stands in the folder's place."""
        self._store = store
        self._folder = store.tmp / name
        self._made = False
        regular.require_folder(self._folder)

    def path(self, blob: Digest, suffix: str = "") -> Path:
        """Where a blob grows. Raises StoreError; IntegrityError where a link stands there."""
        if self._made:
            self.require_there()
        else:
            durable.make_folder(self._folder)
            self._made = True
        path = self._folder / f"{blob.hex}{suffix}"
        self.size(blob, suffix)
        return path

    def size(self, blob: Digest, suffix: str = "") -> int:
        """How many bytes of it are there. Raises IntegrityError where a link stands there."""
        try:
            return regular.size_of(self._folder / f"{blob.hex}{suffix}")
        except (FileNotFoundError, NotADirectoryError):
            return 0

    def has(self, blob: Digest) -> bool:
        """Whether anything of it is there."""
        return (self._folder / blob.hex).is_file()

    def write(self, blob: Digest, data: bytes, suffix: str = "") -> None:
        """Keep a small file whole. Raises StoreError."""
        durable.write(self.path(blob, suffix), data, tmp=self._store.tmp)

    def require_there(self) -> None:
        """Raise StoreError where somebody has removed it meanwhile."""
        if not self._folder.is_dir():
            raise StoreError(
                f"{self._folder}: what had come was removed meanwhile (`lopd-store gc` with less"
                " grace than a download takes does that): run it again"
            )

    def scratch(self, number: int) -> Path:
        """A folder for a file that is made here. Raises StoreError."""
        folder = self._folder / f"made-{number}"
        durable.make_folder(folder)
        return folder

    def remove(self) -> None:
        """Remove everything. Raises StoreError."""
        self._made = False
        if self._folder.exists():
            with durable.explained("cannot remove", self._folder):
                shutil.rmtree(self._folder)


def require_room(store: Store, count: int) -> None:
    """Raise StoreError unless `count` bytes, and some more, fit on the store's disk."""
    with durable.explained("cannot look at the disk of", store.root):
        free = shutil.disk_usage(store.root).free
    if count and free < count + _SPARE:
        raise StoreError(
            f"{store.root}: expected {count + _SPARE:,} bytes free to download {count:,}, found"
            f" {free:,}: free some space (`lopd-store gc`), or name another store with --store"
        )
