"""Page headers of a column chunk, read without decoding a page.

The footer claims sizes; the page headers are what a decoder obeys. Reading them first, a few
bytes a page, makes the claims facts before anything is decompressed. Headers are Thrift structs
in the compact protocol.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from lopd_store.errors import FormatError

_HEADER_BYTES: Final = 1 << 16  # of a page header; statistics of long strings stand in it
_MAX_DEPTH: Final = 8
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_INTEGERS: Final = (4, 5, 6)
_DICTIONARY_PAGE: Final = 2
_PAGE_FIELDS: Final = {0: 5, _DICTIONARY_PAGE: 7, 3: 8}  # page type → field of its own header


@dataclass(frozen=True, slots=True)
class Page:
    """What one page header says.

    Attributes:
        is_dictionary: does the page hold a dictionary, not rows?
        encoding: Parquet's number of the encoding of its values.
        values: values and nulls in it; entries of a dictionary.
        size: bytes once decompressed.
    """

    is_dictionary: bool
    encoding: int
    values: int
    size: int


def pages(file: BinaryIO, *, start: int, length: int) -> Iterator[Page]:
    """The pages of the column chunk at `start`. Raises FormatError unless they fill `length`."""
    position, end = start, start + length
    while position < end:
        file.seek(position)
        reader = _Compact(file.read(min(_HEADER_BYTES, end - position)))
        header = reader.struct()
        size, stored = _count(header, 2), _count(header, 3)
        position += reader.position + stored
        kind = _count(header, 1)
        own = header.get(_PAGE_FIELDS.get(kind, -1))
        if position > end or not isinstance(own, dict):
            raise FormatError(f"expected pages that fill {length} bytes, found a page over the end")
        encoding = own.get(4 if kind == 3 else 2)  # noqa: PLR2004 - version 2 counts nulls first
        if not isinstance(encoding, int):
            raise FormatError("expected a page header with an encoding, found none")
        yield Page(kind == _DICTIONARY_PAGE, encoding, _count(own, 1), size)


def _count(header: dict[int, Any], field: int) -> int:
    found = header.get(field)
    if not isinstance(found, int) or isinstance(found, bool) or found < 0:
        raise FormatError(f"expected a count in a page header, found {found!r}")
    return found


class _Compact:
    """Reads Thrift's compact protocol: enough of it for page headers, bounded in depth."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def struct(self, depth: int = 0) -> dict[int, Any]:
        """The fields of a struct by number."""
        if depth > _MAX_DEPTH:
            raise FormatError("expected a page header, found structs nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._zigzag()
            fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in {_TRUE, _FALSE}:
            return kind == _TRUE
        if kind in _INTEGERS:
            return self._zigzag()
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            return self._list(depth + 1)
        self._skip({_BYTE: 1, _DOUBLE: 8}.get(kind, 0) if kind != _BINARY else self._varint())
        if kind not in {_BYTE, _DOUBLE, _BINARY}:
            raise FormatError(f"expected a page header, found a field of type {kind}")
        return None

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 != 15 else self._varint()  # noqa: PLR2004 - Thrift's escape
        if count > len(self._data):
            raise FormatError(f"expected a page header, found a list of {count} values in it")
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        self._skip(1)
        return self._data[self.position - 1]

    def _skip(self, count: int) -> None:
        self.position += count
        if self.position > len(self._data):
            raise FormatError("expected a page header, found the end of the chunk")

    def _varint(self) -> int:
        result = shift = 0
        while True:
            byte = self._byte()
            result |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return result
            if shift > 63:  # noqa: PLR2004 - 64 bits
                raise FormatError("expected a page header, found an overlong integer")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
