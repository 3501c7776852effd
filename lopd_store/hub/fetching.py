"""Bytes of files on the Hub: as a stream, never more than were asked for, resumed when it breaks.

Plain HTTP through the client's own session, so its proxies, tokens and endpoint count. Nothing is
decompressed on the way: the length that was asked for is the length that is written.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.errors import HubError, IntegrityError, Problem
from lopd_store.hub.asking import answer, file_address, raise_for_status
from lopd_store.hub.explaining import in_words, reading
from lopd_store.hub.patience import seconds_until_again
from lopd_store.hub.snapshot import Snapshot

Advance = Callable[[int], None]
"""Is told the bytes that have come since it was last called."""

_BLOCK: Final = 1 << 20
_TRIES: Final = 8  # without `_PROGRESS` between them
_PROGRESS: Final = 1 << 16  # bytes: who sends fewer at a time is as good as gone
_LONGEST_WAIT: Final = 10.0
_LOOK_AFTER: Final = 60.0  # seconds of waiting, in which …
_LEAST: Final = 60_000  # … so many bytes must have come


def _nobody(_count: int) -> None:
    """Nobody is waiting."""


def fetch(
    snapshot: Snapshot, path: str, destination: Path, *, size: int, advance: Advance = _nobody
) -> Digest:
    """Bring a file here and say what its bytes hash to; what an earlier try brought is kept.

    Args:
        snapshot: the repository.
        path: the file in it.
        destination: grows to `size` bytes; what stands there already is taken for the beginning,
            and its bytes count in the digest.
        size: how many bytes the file must have; not one more is taken.
        advance: see `Advance`; what stands there already is not told.

    Raises:
        NotFoundError: no such file.
        HubError: the Hub stopped answering; `destination` keeps what came.
        IntegrityError: the Hub's file has another size.
        OSError: the disk refuses.
    """
    state = hashlib.sha256()
    have = _hash_beginning(destination, state, size)
    with destination.open("ab") as file:
        for block in _blocks(snapshot, path, start=have, length=size - have, whole=size):
            file.write(block)
            state.update(block)
            advance(len(block))
    return Digest.from_hex(state.hexdigest())


def fetch_range(snapshot: Snapshot, path: str, *, start: int, length: int) -> bytes:
    """Some bytes of a file, in memory. Raises as `fetch` does."""
    return b"".join(_blocks(snapshot, path, start=start, length=length, whole=None))


def fetch_ranges(
    snapshot: Snapshot, path: str, ranges: Iterable[tuple[int, int]], *, whole: int
) -> Iterator[tuple[int, bytes]]:
    """Some ranges of a file, one after another: blocks of them, each with its place.

    Args:
        snapshot: the repository.
        path: the file in it.
        ranges: first byte of each, and the one behind the last.
        whole: how many bytes the file must have.

    Raises as `fetch` does.
    """
    for start, end in ranges:
        at = start
        for block in _blocks(snapshot, path, start=start, length=end - start, whole=whole):
            yield at, block
            at += len(block)


def _hash_beginning(destination: Path, state: Any, size: int) -> int:
    """Take what is there for the beginning of the file; more than the file has is no beginning."""
    if not destination.exists():
        return 0
    if destination.stat().st_size > size:
        destination.unlink()
        return 0
    have = 0
    with destination.open("rb") as file:
        while block := file.read(_BLOCK):
            state.update(block)
            have += len(block)
    return have


def _blocks(
    snapshot: Snapshot, path: str, *, start: int, length: int, whole: int | None
) -> Iterator[bytes]:
    """The bytes of a range, asked for again from where they stopped; each try has to get some."""
    end, failures, worth = start + length, 0, start + _PROGRESS
    while start < end:
        try:
            with _answer(snapshot, path, start=start, end=end, whole=whole) as blocks:
                for block in blocks:
                    taken = block[: end - start]
                    start += len(taken)
                    yield taken
                    if start == end:
                        return
            broken = _BrokenError(f"it ended {end - start} bytes early")
        except _BrokenError as error:
            broken = error
        if start >= worth:
            failures, worth = 0, start + _PROGRESS
        failures += 1
        if failures >= _TRIES:
            raise HubError(f"{snapshot} {path}: the Hub stopped answering: {broken}; run it again")
        time.sleep(max(broken.seconds, min(_LONGEST_WAIT, 0.2 * 2**failures)))


class _BrokenError(Exception):
    """The answer broke off on its way.

    Attributes:
        seconds: to wait at least before asking again.
    """

    def __init__(self, reason: str, *, seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.seconds = seconds


@contextmanager
def _answer(
    snapshot: Snapshot, path: str, *, start: int, end: int, whole: int | None
) -> Iterator[Iterator[bytes]]:
    """One answer of the Hub: the bytes from `start`, in blocks."""
    from huggingface_hub import errors

    where, wanted = f"{snapshot} {path}", {"Range": f"bytes={start}-{end - 1}"}
    with reading(where, snapshot.repo, snapshot.what):
        url = file_address(snapshot.repo, path, what=snapshot.what, commit=snapshot.commit)
        try:
            with answer(url, headers=wanted) as response:
                if response.status_code != 416:  # noqa: PLR2004 - beyond the file's end
                    raise_for_status(response)
                skip = _first_byte(response, start=start, whole=whole, where=where)
                # Blocks as they come: gathered, those before a break would be lost.
                yield _without(skip, _in_time(response.iter_raw()))
        except errors.HfHubHTTPError as error:
            if (seconds := seconds_until_again(error, 0)) is None:
                raise
            raise _BrokenError(in_words(error), seconds=seconds) from error
        except (errors.HTTPError, TimeoutError) as error:
            raise _BrokenError(type(error).__name__) from error


def _in_time(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks, as long as they come fast enough. Raises _BrokenError."""
    waited, count = 0.0, 0
    while True:
        begun = time.monotonic()
        block = next(blocks, None)
        waited += time.monotonic() - begun  # not what the disk takes
        if block is None:
            return
        yield block
        count += len(block)
        if waited > _LOOK_AFTER:
            if count < _LEAST:
                raise _BrokenError(f"{count} bytes in {waited:.0f} seconds")
            waited, count = 0.0, 0


def _first_byte(response: Any, *, start: int, whole: int | None, where: str) -> int:
    """How many bytes of the answer come before `start`: none, unless it is the whole file.

    Raises IntegrityError where the answer is of a file of another size than `whole`.
    """
    partial = response.status_code == 206  # noqa: PLR2004 - Partial Content
    said = str(response.headers.get("Content-Range", ""))
    total = said.rpartition("/")[2] if said else str(response.headers.get("Content-Length", ""))
    if whole is not None and total.isascii() and total.isdigit() and int(total) != whole:
        problem = Problem("size-mismatch", where, f"{whole} bytes", f"{total} bytes")
        raise IntegrityError(str(problem), problems=[problem])
    return 0 if partial else start


def _without(skip: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    for block in blocks:
        kept = block[skip:]
        skip = max(0, skip - len(block))
        if kept:
            yield kept
