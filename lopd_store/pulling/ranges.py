"""Some columns of a shard from the Hub: its footer and their chunks, at their places in a file.

What lies between stays a hole. The file reads as the shard does, for whoever asks for these columns
only; nothing of it is proven until their values are compared with a digest.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from lopd_store.errors import FormatError
from lopd_store.hub.fetching import fetch_range, fetch_ranges
from lopd_store.hub.snapshot import Snapshot
from lopd_store.hub.together import Told
from lopd_store.pulling.bringing import Part, resumable
from lopd_store.pulling.stage import Stage
from lopd_store.shards import footer, limits
from lopd_store.store import durable, regular

_TAIL: Final = 8  # bytes of a Parquet file: the footer's length, the magic
_FIRST_LOOK: Final = 64 << 10  # most footers fit
_GAP: Final = 64 << 10  # bytes that cost less than another request
_ENDS: Final = ".end"  # beside a blob in the stage: its last bytes

Range = tuple[int, int]
"""First byte, and the one behind the last."""


def ranges_of(
    snapshot: Snapshot, part: Part, *, columns: Sequence[str], stage: Stage
) -> list[Range]:
    """Where these columns are in a shard, in the file's order; neighbours are joined.

    Its footer is fetched, unless an earlier run did, and kept in the stage.

    Raises:
        FormatError: not a shard's footer.
        NotFoundError, StoreError: as `fetch_range` and `Stage.write` do.
    """
    claims = footer.parse(_footer(snapshot, part, stage)[:-_TAIL])
    limits.check_footer(claims, size=part.blob.size)
    chunks = sorted(
        (chunk.start, chunk.start + chunk.stored)
        for group in claims.groups
        for chunk in group.chunks
        if chunk.path[0] in columns
    )
    return list(_joined(chunks))


def begun_of(part: Part, stage: Stage) -> int:
    """Up to which byte an earlier run came."""
    return min(stage.size(part.blob.digest), part.blob.size)


def bytes_of(ranges: Sequence[Range], *, begun: int = 0) -> int:
    """How many bytes have still to come, once those before `begun` are there."""
    return sum(max(0, end - max(start, begun)) for start, end in ranges)


def bring_ranges(
    snapshot: Snapshot, part: Part, ranges: Sequence[Range], *, stage: Stage, told: Told
) -> Path:
    """Bring these bytes of a shard here, and its end; what an earlier run brought is kept.

    The file grows in the order of its bytes, so its size says how far an earlier run came.

    Raises NotFoundError and StoreError; the stage keeps what came.
    """
    path = stage.path(part.blob.digest)
    begun = begun_of(part, stage)
    if begun == part.blob.size:
        return path
    left = [(max(start, begun), end) for start, end in ranges if end > begun]
    ends = _footer(snapshot, part, stage)
    with durable.explained("cannot write", path):
        path.touch()
    with durable.explained("cannot write", path), path.open("r+b") as file:
        file.write(limits.MAGIC)
        with resumable():
            for at, block in fetch_ranges(snapshot, part.path, left, whole=part.blob.size):
                file.seek(at)
                file.write(block)
                told(len(block))
        file.flush()
        file.seek(part.blob.size - len(ends))
        file.write(ends)
    return path


def _footer(snapshot: Snapshot, part: Part, stage: Stage) -> bytes:
    """A shard's footer, its length and the magic behind it."""
    size = part.blob.size
    if stage.size(part.blob.digest, _ENDS):
        return regular.read(stage.path(part.blob.digest, _ENDS), limit=size)
    first = min(size, _FIRST_LOOK)
    data = fetch_range(snapshot, part.path, start=size - first, length=first)
    if size < _TAIL + len(limits.MAGIC):
        raise FormatError(f"{snapshot} {part.path}: expected a Parquet file, found {size} bytes")
    length = _TAIL + int.from_bytes(data[-_TAIL : -len(limits.MAGIC)], "little")
    most = min(size, limits.MAX_FOOTER_BYTES + _TAIL)
    if not data.endswith(limits.MAGIC) or length > most:
        raise FormatError(f"{snapshot} {part.path}: expected a Parquet file's end, found another")
    if length > first:
        missing = length - first
        data = fetch_range(snapshot, part.path, start=size - length, length=missing) + data
    stage.write(part.blob.digest, data[-length:], _ENDS)
    return data[-length:]


def _joined(ranges: Sequence[Range]) -> Iterator[Range]:
    """The same bytes, and small gaps between them, in as few ranges."""
    held: Range | None = None
    for start, end in ranges:
        if held is not None and start <= held[1] + _GAP:
            held = held[0], max(held[1], end)
        else:
            if held is not None:
                yield held
            held = start, end
    if held is not None:
        yield held
