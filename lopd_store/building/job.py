"""A job's folder in the store: its lock, its finished chunks, and what it came to.

.lopd/builds/<build id>/
    lock                held by the process at work, freed by the system when it dies
    holds               digests gc must not take: the input, and the artifact while it is made
    chunk-000000.arrow  finished chunks
    tmp/                files not finished yet
    done                the artifact it came to; once a ref names it, holds and chunks go
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lopd_store.artifacts import is_intact, is_whole
from lopd_store.building.plan import Plan
from lopd_store.building.progress import Progress
from lopd_store.building.spill import Spill
from lopd_store.digest import Digest
from lopd_store.documents.skipped import SkippedRow
from lopd_store.errors import FormatError, StoreError
from lopd_store.store import Store, durable
from lopd_store.store.locks import exclusive


@dataclass(frozen=True, slots=True)
class Share:
    """One of `of` workers that share a job; worker i takes each chunk whose index is i modulo of.

    Attributes:
        index: from 1 to `of`.
        of: how many there are.
    """

    index: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.of:
            raise FormatError(f"expected a share i/n with 1 ≤ i ≤ n, found {self}")

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> "Share":
        """Read `i/n`. Raises FormatError."""
        index, slash, of = text.partition("/")
        if not (slash and index.isascii() and index.isdigit() and of.isascii() and of.isdigit()):
            raise FormatError(f"expected a share i/n such as 2/8, found {text!r}")
        return cls(int(index), int(of))

    def takes(self, chunk: int) -> bool:
        """Whether this worker works on that chunk."""
        return chunk % self.of == self.index - 1


ALL = Share(1, 1)


class Job:
    """The on-disk state of one plan."""

    def __init__(self, store: Store, plan: Plan) -> None:
        self.plan = plan
        self.folder: Path = store.builds / plan.id.hex
        self._store = store
        self._holds = self.folder / "holds"
        self.scratch = self.folder / "tmp"  # not the store's: gc with no grace clears that
        self._spill = Spill(self.folder, tmp=self.scratch)

    @contextmanager
    def at_work(self, share: Share, progress: Progress) -> Iterator[None]:
        """Hold this share of the job; a second process of the same share waits here."""
        durable.make_folder(self.folder)
        name = "lock" if share == ALL else f"lock-{share.index}-of-{share.of}"
        with exclusive(self.folder / name, on_wait=lambda why: progress.say(f"waiting: {why}")):
            self._forget_damaged()
            if self.result is None and not self._holds.exists():
                self._hold_source()
            yield

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Hold the right to publish; workers of other shares wait here."""
        with exclusive(self.folder / "lock-publish"):
            if self.result is None:
                self._hold_source()  # a crash may have cut the last line short
            yield

    def _forget_damaged(self) -> None:
        """A finished job whose artifact has rotted is done again: putting a blob mends it."""
        if (found := self.result) is not None and not is_intact(self._store, found):
            (self.folder / "done").unlink()

    def hold(self, blob: Digest) -> None:
        """Keep a blob from gc until a ref names the artifact; call it before the blob is put."""
        with durable.explained("cannot write", self._holds), self._holds.open("a") as file:
            file.write(f"{blob}\n")

    def _hold_source(self) -> None:
        durable.write(self._holds, f"{self.plan.source}\n".encode(), tmp=self.scratch)

    @property
    def result(self) -> Digest | None:
        """The artifact an earlier run came to, if all of it is still in the store."""
        path = self.folder / "done"
        if not path.is_file():
            return None
        found = Digest.parse(path.read_text().strip())
        return found if is_whole(self._store, found) else None

    def expect_result(self) -> Digest:
        """The artifact this job came to. Raises StoreError when there is none."""
        if (found := self.result) is None:
            raise StoreError(f"{self.folder}: expected a finished job, found none")
        return found

    def pending(self, share: Share) -> set[int]:
        """The chunks this share has still to do."""
        indices = (chunk.index for chunk in self.plan.chunks)
        return {index for index in indices if share.takes(index) and not self._spill.has(index)}

    @property
    def done_tokens(self) -> int:
        """The work that is safely on disk, in tokens."""
        return sum(c.tokens for c in self.plan.chunks if self._spill.has(c.index))

    def keep(self, index: int, rows: pa.RecordBatch, skipped: list[SkippedRow]) -> None:
        """Keep a finished chunk."""
        self._spill.write(index, rows, skipped)

    def rows(self) -> Iterator[pa.RecordBatch]:
        """The kept rows of every chunk, in row order."""
        for chunk in self.plan.chunks:
            yield self._spill.read(chunk.index)

    def skipped(self) -> Iterator[SkippedRow]:
        """The rows left out, in row order."""
        for chunk in self.plan.chunks:
            yield from self._spill.skipped(chunk.index)

    def remember(self, artifact: Digest) -> None:
        """Remember what the job came to."""
        durable.write(self.folder / "done", f"{artifact}\n".encode(), tmp=self.scratch)

    def finish(self) -> None:
        """Give the job's disk space back, now that a ref names what it came to."""
        with durable.explained("cannot remove", self.folder):
            self._holds.unlink(missing_ok=True)
            for path in self._spill.files():
                path.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
