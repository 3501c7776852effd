"""The bytes of a journal's segment: a header, then records; what a crash can leave is told apart.

    header   16 bytes magic, the identity's digest (32 bytes), CRC-32 of both
    record   length of the body, CRC-32 of the body, CRC-32 of these two numbers; then the body:
             prompt length, number of ids, ids as int32, log-probs as float32
All numbers are little-endian, lengths and checksums unsigned and of 32 bits.

A segment only grows at its end, so a killed writer leaves a prefix of what it wrote, and a power
cut at most zeros after that: both are cut off. Anything else that is wrong is damage.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, Problem
from lopd_store.serving.answers import Floats, Ids

_MAGIC: Final = b"lopd.journal.v1\n"
_SUM: Final = struct.Struct("<I")
_HEAD: Final = struct.Struct("<III")
_LENGTHS: Final = struct.Struct("<II")
HEADER_BYTES: Final = len(_MAGIC) + 32 + _SUM.size
_BLOCK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """A sequence that a live teacher scored.

    Attributes:
        prompt_length: ids before the first log-prob, at least 1.
        ids: prompt and response joined, int32, shape (length,), none negative; the response is not
            empty.
        logprobs: nats, float32, shape (length - prompt_length,), finite and at most 0.
    """

    prompt_length: int
    ids: Ids
    logprobs: Floats

    def __post_init__(self) -> None:
        expected = len(self.ids) - self.prompt_length
        if self.prompt_length < 1 or expected < 1 or len(self.logprobs) != expected:
            raise FormatError(
                f"expected a prompt, a response and a log-prob a response id, found"
                f" {self.prompt_length} prompt ids of {len(self.ids)} and {len(self.logprobs)}"
            )
        if self.ids.min() < 0 or not (self.logprobs <= 0).all() or np.isinf(self.logprobs).any():
            raise FormatError("expected ids ≥ 0 and finite log-probs ≤ 0, found others")

    @property
    def tokens(self) -> int:
        """Prompt and response ids."""
        return len(self.ids)

    @property
    def response(self) -> Ids:
        """The ids after the prompt."""
        return self.ids[self.prompt_length :]


def encode_header(identity: Digest) -> bytes:
    """The first bytes of a segment: who gave its numbers."""
    start = _MAGIC + bytes.fromhex(identity.hex)
    return start + _SUM.pack(zlib.crc32(start))


def encode_record(record: Record) -> bytes:
    """A record as it stands in a segment."""
    lengths = _LENGTHS.pack(record.prompt_length, len(record.ids))
    ids = record.ids.astype("<i4", copy=False).tobytes()
    body = lengths + ids + record.logprobs.astype("<f4", copy=False).tobytes()
    numbers = struct.pack("<II", len(body), zlib.crc32(body))
    return numbers + _SUM.pack(zlib.crc32(numbers)) + body


def read_header(file: BinaryIO, path: Path) -> Digest:
    """Who gave a segment's numbers. Raises IntegrityError: it got its name with a whole header."""
    data = file.read(HEADER_BYTES)
    start, checksum = data[: -_SUM.size], data[-_SUM.size :]
    if len(data) < HEADER_BYTES or checksum != _SUM.pack(zlib.crc32(start)):
        raise _damaged(path, 0, "a header", f"{len(data)} bytes that are none")
    if not start.startswith(_MAGIC):
        raise _damaged(path, 0, f"{_MAGIC!r}", f"{start[: len(_MAGIC)]!r}")
    return Digest.from_hex(start[len(_MAGIC) :].hex())


def read_records(file: BinaryIO, path: Path, *, size: int) -> Iterator[Record]:
    """The whole records after the header, in order; what a crash cut short at the end is left out.

    Args:
        file: stands after the header.
        path: for the message.
        size: the file's bytes: what a record claims beyond them was never written.

    Raises:
        IntegrityError: bytes that no crash leaves; names the record's place. The records before
            it have been given.
    """
    place = HEADER_BYTES
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, checksum, of_head = _HEAD.unpack(head)
        if of_head != zlib.crc32(head[: -_SUM.size]):
            if not any(head) and _only_zeros(file):
                return
            raise _damaged(path, place, "a record's lengths", "a wrong checksum")
        if place + _HEAD.size + length > size:
            return
        body = file.read(length)
        if zlib.crc32(body) != checksum:
            raise _damaged(path, place, "a record", "a wrong checksum")
        yield _decode_body(body, path, place)
        place += _HEAD.size + length


def _decode_body(body: bytes, path: Path, place: int) -> Record:
    """The record of a body whose checksum is right; whoever wrote it may still have been wrong."""
    try:
        prompt_length, count = _LENGTHS.unpack_from(body)
        ids = np.frombuffer(body, "<i4", count=count, offset=_LENGTHS.size)
        logprobs = np.frombuffer(body, "<f4", offset=_LENGTHS.size + 4 * count)
        return Record(prompt_length=prompt_length, ids=ids, logprobs=logprobs)
    except (FormatError, ValueError, struct.error) as error:
        raise _damaged(path, place, "ids and log-probs", str(error)) from error


def _only_zeros(file: BinaryIO) -> bool:
    return not any(any(block) for block in iter(lambda: file.read(_BLOCK), b""))


def _damaged(path: Path, place: int, expected: str, found: str) -> IntegrityError:
    problem = Problem("damaged-journal", f"{path} byte {place}", expected, found)
    advice = "nothing was removed: bring the file back from a copy, or move it out of the store"
    return IntegrityError(f"{problem}; {advice}", problems=(problem,))
