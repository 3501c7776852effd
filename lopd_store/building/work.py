"""A place in the store for work that makes one artifact of others, and ends in minutes.

.lopd/builds/<name>/
    holds   digests gc must not take while the work goes on
    tmp/    files not finished yet
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lopd_store.building.progress import Progress
from lopd_store.digest import Digest
from lopd_store.store import Store, durable
from lopd_store.store.locks import exclusive


class Work:
    """The work that `at_work` gave a place to.

    Attributes:
        scratch: a folder for unfinished files, on the store's disk; gc does not look into it.
    """

    def __init__(self, store: Store, folder: Path) -> None:
        self.scratch = folder / "tmp"
        self._store = store
        self._holds = folder / "holds"

    def hold(self, blob: Digest) -> None:
        """Keep a blob, and what it names if it is a manifest, from gc until the work ends."""
        with durable.explained("cannot write", self._holds), self._holds.open("a") as file:
            file.write(f"{blob}\n")

    def claim(self, blob: Digest) -> bool:
        """Hold a blob that an earlier run made; whether it is there, and so will stay."""
        with exclusive(self._store.lock):  # gc removes under it: gone before, or held after
            self.hold(blob)
            return self._store.blobs.has(blob)


@contextmanager
def at_work(store: Store, name: str, *, progress: Progress) -> Iterator[Work]:
    """Do the work `name` alone: another process that does the same waits here.

    Whoever relies on a blob later holds it before this ends.

    Raises StoreError: the disk is full or read-only.
    """
    folder = store.builds / name
    lock = store.lock.with_name(name)
    with exclusive(lock, on_wait=lambda why: progress.say(f"waiting: {why}")):
        _remove(folder)  # of a run that was killed: its last line may be cut short
        durable.make_folder(folder)
        try:
            yield Work(store, folder)
        finally:
            _remove(folder)


def _remove(folder: Path) -> None:
    if folder.exists():
        with durable.explained("cannot remove", folder):
            shutil.rmtree(folder)
