"""What a live teacher said, on the disk before anybody is told that it is stored.

STORE/.lopd/builds/<id of the ref>/
    lock                     held by the server that writes here, freed by the system when it dies
    holds                    digests gc must not take: identity, tokenizer, a half-made artifact
    segment-000000.journal   records as they came; see `journal_format`
    tmp/                     files not finished yet

Segments go when the records in them are rows of an artifact that a ref names.
"""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from io import BufferedReader
from pathlib import Path
from typing import Final

from lopd_store.digest import Digest, tagged
from lopd_store.serving.readthrough.journal_format import (
    HEADER_BYTES,
    Record,
    encode_header,
    encode_record,
    read_header,
    read_records,
)
from lopd_store.store import Store, durable, regular
from lopd_store.store.locks import exclusive

_PATTERN: Final = "segment-*.journal"


def folder_of(store: Store, ref: str) -> Path:
    """Where the journal of a ref lies; names of refs may be no names of files."""
    return store.builds / tagged("lopd.read-through.v1", ref.encode()).hex


class Journal:
    """Records of one ref: appended whole groups at a time, given back after any crash.

    Laws: when `append` returns, its records are on the disk; when it raises, none of them counts.
    Reading gives every record of every `append` that returned, in order, each once; after a crash
    perhaps also the first ones of the last group. Threads may share it.
    """

    def __init__(self, folder: Path, *, sync: durable.Sync = os.fsync) -> None:
        """The journal in `folder`, which need not exist; hold `lock()` before using it."""
        self.folder = folder
        self.scratch = folder / "tmp"  # not the store's: gc with no grace clears that
        self._sync = sync
        self._guard = threading.Lock()
        self._descriptor: int | None = None
        self._path = folder
        self._size = 0

    def lock(self) -> AbstractContextManager[None]:
        """Hold the journal. Raises StoreError when another process does, and names it."""
        durable.make_folder(self.folder, sync=self._sync)
        return exclusive(self.folder / "lock", wait=False)

    def append(self, records: Sequence[Record], *, identity: Digest) -> None:
        """Bring records to the disk with one sync.

        Args:
            records: what was said, in order.
            identity: of whoever said it; the same until `roll`.

        Raises:
            StoreError: the disk refused; no record of the group is kept, and a later call may work.
        """
        data = b"".join(map(encode_record, records))
        with self._guard:
            if self._descriptor is None:
                self._start(identity)
            assert self._descriptor is not None  # noqa: S101 - for mypy
            try:
                with durable.explained("cannot write", self._path):
                    _write_all(self._descriptor, data)
                    self._sync(self._descriptor)
            except BaseException:
                self._give_up()
                raise
            self._size += len(data)

    def roll(self) -> tuple[Path, ...]:
        """End the segment that is written to, and name all there are, oldest first."""
        with self._guard:
            self._end()
            return tuple(sorted(self.folder.glob(_PATTERN)))

    def drop(self, segments: Iterable[Path]) -> None:
        """Remove segments whose records are safe elsewhere. Raises StoreError."""
        with durable.explained("cannot remove a segment of", self.folder):
            for path in segments:
                path.unlink(missing_ok=True)
            durable.sync_folder(self.folder, sync=self._sync)

    def _start(self, identity: Digest) -> None:
        """Begin a segment: it gets its name with a whole header."""
        last = max((path.stem for path in self.folder.glob(_PATTERN)), default="segment--1")
        number = int(last.removeprefix("segment-")) + 1
        self._path = self.folder / f"segment-{number:06d}.journal"
        header = encode_header(identity)
        durable.write(self._path, header, tmp=self.scratch, sync=self._sync)
        self._descriptor = regular.open_descriptor(self._path, os.O_WRONLY | os.O_APPEND)
        self._size = len(header)

    def _give_up(self) -> None:
        """Leave a segment after an error: of what was not synced, nothing can be known.

        What cannot be taken back either was said by the teacher all the same.
        """
        with suppress(OSError):
            if self._size == HEADER_BYTES:
                self._path.unlink()
            elif self._descriptor is not None:
                os.ftruncate(self._descriptor, self._size)
        self._end()

    def _end(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def read_segment(path: Path) -> tuple[Digest, Iterator[Record]]:
    """Who gave a segment's numbers, and its whole records in order.

    Raises IntegrityError where bytes changed, naming the place; see `read_records`.
    """
    with BufferedReader(regular.open_for_reading(path)) as file:
        return read_header(file, path), _records(path)


def _records(path: Path) -> Iterator[Record]:
    with BufferedReader(regular.open_for_reading(path)) as file:
        size = os.fstat(file.fileno()).st_size
        read_header(file, path)
        yield from read_records(file, path, size=size)


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]
