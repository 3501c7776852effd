"""Page headers of a column chunk, read without decoding a page.

The footer claims sizes; the page headers are what a decoder obeys. Reading them first, a few
bytes a page, makes the claims facts before anything is decompressed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from lopd_store.errors import FormatError
from lopd_store.shards.thrift import Compact, Int32, count32

_HEADER_BYTES: Final = 1 << 16  # of a page header; statistics of long strings stand in it
_PAGES: Final = 4096  # of a column chunk, and one more for each 256 bytes: each costs a read
_DICTIONARY_PAGE: Final = 2
_VERSION_2: Final = 3
_PAGE_FIELDS: Final = {
    0: 5,
    _DICTIONARY_PAGE: 7,
    _VERSION_2: 8,
}  # page type → field of its own header


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one page header says.

    Attributes:
        is_dictionary: does the page hold a dictionary, not rows?
        encoding: Parquet's number of the encoding of its values.
        values: values and nulls in it; entries of a dictionary.
        size: bytes once decompressed.
        start: where its bytes begin in the file, behind its header.
        stored: how many there are.
        crc: their CRC-32, if the header has it.
    """

    is_dictionary: bool
    encoding: int
    values: int
    size: int
    start: int
    stored: int
    crc: int | None


def pages(file: BinaryIO, *, start: int, length: int) -> Iterator[Page]:
    """The pages of the column chunk at `start`. Raises FormatError unless they fill `length`."""
    position, end = start, start + length
    left = _PAGES + length // 256
    while position < end:
        if (left := left - 1) < 0:
            raise FormatError(f"expected fewer pages in {length} bytes, found more")
        file.seek(position)
        reader = Compact(file.read(min(_HEADER_BYTES, end - position)))
        header = reader.struct()
        size, stored = count32(header, 2), count32(header, 3)
        start = position + reader.position
        position = start + stored
        kind = count32(header, 1)
        own = header.get(_PAGE_FIELDS.get(kind, -1))
        if position > end or not isinstance(own, dict):
            raise FormatError(f"expected pages that fill {length} bytes, found a page over the end")
        encoding = own.get(4 if kind == _VERSION_2 else 2)
        if not isinstance(encoding, Int32):
            raise FormatError("expected a page header with an encoding, found none")
        crc = header.get(4)
        yield Page(
            is_dictionary=kind == _DICTIONARY_PAGE,
            encoding=encoding,
            values=count32(own, 1),
            size=size,
            start=start,
            stored=stored,
            crc=crc & 0xFFFFFFFF if isinstance(crc, Int32) else None,
        )
