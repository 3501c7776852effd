"""Thrift's compact protocol, as much of it as Parquet footers and page headers use, bounded.

Stricter than the decoder that reads the same bytes after us: where that one passes over a field
of another type, cuts a number to its width or takes the last of two, a file could show each of us
something else. Such bytes are refused.
"""

from typing import Any, Final, TypeAlias

from lopd_store.errors import FormatError

Fields: TypeAlias = dict[int, Any]

_MAX_DEPTH: Final = 16
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_I16, _I32, _I64 = 4, 5, 6
_BITS: Final = {_I16: 16, _I32: 32, _I64: 64}
_ESCAPE: Final = 15  # a list's length follows as an integer of its own
_MAX_SHIFT: Final = 63
_MAX_FIELD: Final = 2**15 - 1
_MAX_ITEMS: Final = 1 << 22  # an empty struct is one byte in a file, and 72 in memory


class Int16(int):
    """An integer that was written as an i16."""


class Int32(int):
    """An integer that was written as an i32; one written as an i64 is an `int`."""


_TYPES: Final = {_I16: Int16, _I32: Int32, _I64: int}


class Compact:
    """Reads structs from bytes; refuses to go past their end or too deep.

    Attributes:
        position: bytes read so far.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._items = 0
        self.position = 0

    def struct(self, depth: int = 0) -> Fields:
        """The fields of a struct by number. Raises FormatError when the bytes are not one."""
        if depth > _MAX_DEPTH:
            raise FormatError("expected a Thrift struct, found structs nested too deep")
        fields: Fields = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 15
            number = number + delta if delta else self._integer(_I16)
            if number in fields or not 1 <= number <= _MAX_FIELD:
                raise FormatError(f"expected a Thrift struct, found field {number} out of place")
            fields[number] = kind == _TRUE if kind in {_TRUE, _FALSE} else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _BITS:
            return _TYPES[kind](self._integer(kind))
        if kind == _BINARY:
            return self._take(self._varint())
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in {_LIST, _SET}:
            return self._list(depth + 1)
        if kind in {_TRUE, _FALSE, _BYTE}:
            return self._byte()
        if kind == _DOUBLE:
            return self._take(8)
        raise FormatError(f"expected a Thrift struct, found a field of type {kind}")

    def _list(self, depth: int) -> list[Any]:
        head = self._byte()
        kind, count = head & 15, head >> 4
        if count == _ESCAPE:
            count = self._varint()
        if count > len(self._data) - self.position:  # each value takes a byte or more
            raise FormatError(f"expected a Thrift struct, found a list of {count} values in it")
        self._items += count
        if self._items > _MAX_ITEMS:
            raise FormatError(f"expected at most {_MAX_ITEMS} values in lists, found more")
        return [self._value(kind, depth) for _ in range(count)]

    def _byte(self) -> int:
        if self.position >= len(self._data):
            raise FormatError("expected a Thrift struct, found the end of the bytes")
        self.position += 1
        return self._data[self.position - 1]

    def _take(self, count: int) -> bytes:
        start = self.position
        if count > len(self._data) - start:
            raise FormatError("expected a Thrift struct, found the end of the bytes")
        self.position += count
        return self._data[start : self.position]

    def _varint(self) -> int:
        result = shift = 0
        while (byte := self._byte()) & 0x80:
            result |= (byte & 0x7F) << shift
            shift += 7
            if shift > _MAX_SHIFT:
                raise FormatError("expected a Thrift struct, found an overlong integer")
        return result | byte << shift

    def _integer(self, kind: int) -> int:
        value = self._varint()
        if value >> _BITS[kind]:
            raise FormatError(f"expected an integer of {_BITS[kind]} bits, found a longer one")
        return (value >> 1) ^ -(value & 1)


def count(fields: Fields, number: int) -> int:
    """A field that must be an i64 of at least 0. Raises FormatError when it is not."""
    return _count(fields, number, int)


def count32(fields: Fields, number: int) -> int:
    """A field that must be an i32 of at least 0. Raises FormatError when it is not."""
    return _count(fields, number, Int32)


def _count(fields: Fields, number: int, kind: type[int]) -> int:
    found = fields.get(number)
    if type(found) is not kind or found < 0:
        raise FormatError(f"expected a count in field {number}, found {found!r}")
    return found


def structs(fields: Fields, number: int) -> list[Fields]:
    """A field that must be a list of structs. Raises FormatError when it is not."""
    found = fields.get(number)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise FormatError(f"expected a list of structs in field {number}")
    return found
