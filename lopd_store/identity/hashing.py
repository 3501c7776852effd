"""SHA-256 over byte ranges of files, on several threads.

Hashing releases the GIL, so threads scale with cores. Reads go through a buffer that stays in
the cache; mapping the file measured no faster and dies of SIGBUS when a file shrinks.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lopd_store.cores import usable_cores
from lopd_store.digest import Digest
from lopd_store.errors import FormatError

READ_BYTES: Final = 256 << 10  # fastest of 64 KiB to 4 MiB; see benchmarks/fingerprint.py

Progress = Callable[[int], None]
"""Called with the number of bytes just read, from any thread."""


@dataclass(frozen=True, slots=True)
class Range:
    """`size` bytes of a file from offset `start`."""

    start: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileRequest:
    """What to hash of one file.

    Attributes:
        path: the file.
        ranges: each gets a digest. With `whole`, they follow each other and end with the file.
        whole: also the digest of the whole file.
    """

    path: Path
    ranges: tuple[Range, ...]
    whole: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FileDigests:
    """Answer to a `FileRequest`: one digest a range, in order, and the file's where asked for."""

    ranges: tuple[Digest, ...]
    whole: Digest | None


def hash_files(
    requests: Sequence[FileRequest], *, threads: int | None = None, progress: Progress | None = None
) -> list[FileDigests]:
    """Hash what is asked for, on `threads` threads (default: every usable core).

    Enough whole files to keep the threads busy are each read once, both digests in one pass;
    otherwise ranges and whole files are separate tasks, largest first, so that one big file
    still uses every thread.

    Raises:
        FormatError: a file is shorter than a range says.
    """
    count = threads or usable_cores()
    whole_files = sum(request.whole for request in requests)
    tasks: dict[tuple[int, int], _Task] = {}
    for number, request in enumerate(requests):
        if request.whole and whole_files >= count:
            tasks[number, -1] = _Task(request.path, request.ranges, whole=True)
            continue
        for place, span in enumerate(request.ranges):
            tasks[number, place] = _Task(request.path, (span,), whole=False)
        if request.whole:
            tasks[number, -1] = _Task(request.path, (), whole=True)
    answers = _run(tasks, threads=count, progress=progress)
    return [_collect(number, request, answers) for number, request in enumerate(requests)]


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
    ranges: tuple[Range, ...]
    whole: bool

    def bytes(self) -> int:
        return self.path.stat().st_size if self.whole else sum(span.size for span in self.ranges)


def _run(
    tasks: dict[tuple[int, int], _Task], *, threads: int, progress: Progress | None
) -> dict[tuple[int, int], FileDigests]:
    order = sorted(tasks, key=lambda key: -tasks[key].bytes())
    local = threading.local()

    def work(key: tuple[int, int]) -> FileDigests:
        if not hasattr(local, "buffer"):
            local.buffer = memoryview(bytearray(READ_BYTES))
        return _hash(tasks[key], buffer=local.buffer, progress=progress)

    if threads == 1:
        return {key: work(key) for key in order}
    with ThreadPoolExecutor(threads, thread_name_prefix="lopd-hash") as pool:
        return dict(zip(order, pool.map(work, order), strict=True))


def _collect(
    number: int, request: FileRequest, answers: dict[tuple[int, int], FileDigests]
) -> FileDigests:
    last = answers.get((number, -1))
    if last is not None and len(last.ranges) == len(request.ranges):
        return last
    ranges = tuple(answers[number, place].ranges[0] for place in range(len(request.ranges)))
    return FileDigests(ranges=ranges, whole=last.whole if last else None)


def _hash(task: _Task, *, buffer: memoryview, progress: Progress | None) -> FileDigests:
    whole = hashlib.sha256()
    digests: list[Digest] = []
    with task.path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        first = task.ranges[0].start if task.ranges else size
        if task.whole:
            _feed(file.fileno(), Range(0, first), [whole], buffer, progress)
        for span in task.ranges:
            part = hashlib.sha256()
            states = [part, whole] if task.whole else [part]
            _feed(file.fileno(), span, states, buffer, progress)
            digests.append(Digest.from_hex(part.hexdigest()))
    found = Digest.from_hex(whole.hexdigest()) if task.whole else None
    return FileDigests(ranges=tuple(digests), whole=found)


def _feed(
    descriptor: int,
    span: Range,
    states: "Iterable[hashlib._Hash]",
    buffer: memoryview,
    progress: Progress | None,
) -> None:
    offset, end = span.start, span.start + span.size
    while offset < end:
        count = os.preadv(descriptor, [buffer[: end - offset]], offset)
        if not count:
            raise FormatError(f"expected {end} bytes, found a file that ends at {offset}")
        for state in states:
            state.update(buffer[:count])
        offset += count
        if progress:
            progress(count)
