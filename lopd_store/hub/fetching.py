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
from lopd_store.hub.client import LIBRARY
from lopd_store.hub.explaining import reading
from lopd_store.hub.snapshot import Snapshot

Advance = Callable[[int], None]
"""Is told the bytes that have come since it was last called."""

_BLOCK: Final = 1 << 20
_TRIES: Final = 6  # without a byte between them
_SECONDS: Final = 30.0  # without a byte
_LONGEST_WAIT: Final = 10.0


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
    end, failures = start + length, 0
    while start < end:
        before = start
        try:
            with _answer(snapshot, path, start=start, end=end, whole=whole) as blocks:
                for block in blocks:
                    taken = block[: end - start]
                    start += len(taken)
                    yield taken
                    if start == end:
                        return
            reason = f"it ended {end - start} bytes early"
        except _BrokenError as error:
            reason = str(error)
        failures = failures + 1 if start == before else 0
        if failures >= _TRIES:
            raise HubError(f"{snapshot} {path}: the Hub stopped answering: {reason}; run it again")
        time.sleep(min(_LONGEST_WAIT, 0.2 * 2**failures))


class _BrokenError(Exception):
    """The answer broke off on its way."""


@contextmanager
def _answer(
    snapshot: Snapshot, path: str, *, start: int, end: int, whole: int | None
) -> Iterator[Iterator[bytes]]:
    """One answer of the Hub: the bytes from `start`, in blocks."""
    from huggingface_hub import errors, hf_hub_url
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_stream_backoff

    url = hf_hub_url(snapshot.repo, path, repo_type=snapshot.what, revision=snapshot.commit)
    headers = {
        **build_hf_headers(library_name=LIBRARY),
        "Accept-Encoding": "identity",
        "Range": f"bytes={start}-{end - 1}",
    }
    with (
        reading(f"{snapshot} {path}", snapshot.repo, snapshot.what),
        http_stream_backoff("GET", url, headers=headers, timeout=_SECONDS) as response,
    ):
        if response.status_code != 416:  # noqa: PLR2004 - the range is beyond the file's end
            hf_raise_for_status(response)
        skip = _first_byte(response, start=start, whole=whole, where=f"{snapshot} {path}")
        try:
            # Blocks as they come: gathered into larger ones, those before a break would be lost.
            yield _without(skip, response.iter_raw())
        except (errors.HTTPError, TimeoutError, ConnectionError) as error:
            raise _BrokenError(type(error).__name__) from error


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
