"""Content names: `sha256:<64 lowercase hex>`, and hashing with a domain tag.

A name binds everything it names: `tagged` writes the length before each part, so no two
different lists of parts share a digest.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lopd_store.errors import FormatError

_GRAMMAR: Final = re.compile(r"sha256:[0-9a-f]{64}")
READ_BYTES: Final = 1 << 20  # a read this size keeps SHA-256 busy and stays in the L2 cache


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A content name, `sha256:<64 lowercase hex>`.

    `Digest.parse(str(d)) == d`, and a `Digest` that breaks the grammar cannot exist.
    """

    text: str

    def __post_init__(self) -> None:
        if not _GRAMMAR.fullmatch(self.text):
            raise FormatError(f"expected a digest like sha256:<64 hex>, found {self.text!r}")

    def __str__(self) -> str:
        return self.text

    @property
    def hex(self) -> str:
        """The 64 hex characters, which are also the blob's file name."""
        return self.text.removeprefix("sha256:")

    @property
    def short(self) -> str:
        """The first 12 hex characters, for people."""
        return self.hex[:12]

    @classmethod
    def parse(cls, text: str) -> "Digest":
        """Read a digest. Raises FormatError when it breaks the grammar."""
        return cls(text)

    @classmethod
    def from_hex(cls, text: str) -> "Digest":
        """Read 64 hex characters. Raises FormatError when they are not."""
        return cls(f"sha256:{text}")

    @classmethod
    def of(cls, data: bytes | memoryview) -> "Digest":
        """The digest of `data`."""
        return cls.from_hex(hashlib.sha256(data).hexdigest())

    @classmethod
    def of_file(cls, path: Path) -> "Digest":
        """The digest of a file's bytes, read in one pass. Releases the GIL while hashing."""
        state = hashlib.sha256()
        for block in read_blocks(path):
            state.update(block)
        return cls.from_hex(state.hexdigest())


def read_blocks(path: Path) -> Iterator[memoryview]:
    """The bytes of a file in blocks; each block is valid until the next one is asked for."""
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def tagged(tag: str, *parts: bytes) -> Digest:
    """SHA-256 over a versioned domain tag and length-prefixed parts (spec: conventions)."""
    state = hashlib.sha256(tag.encode() + b"\n")
    for part in parts:
        state.update(len(part).to_bytes(8, "little"))
        state.update(part)
    return Digest.from_hex(state.hexdigest())
