"""What a Parquet footer claims, read without Arrow.

Arrow's own accessors end the whole process on some footers that contradict themselves (a column
chunk of another type than its column, for one): a C++ exception leaves a function that may not
throw. So a footer is read here first, and Arrow sees only those that agree with themselves.
"""

from dataclasses import dataclass
from typing import Final

from lopd_store.errors import FormatError
from lopd_store.shards.thrift import Compact, Fields, count, count32, structs

BYTE_ARRAY: Final = 6  # Parquet's number of the physical type of strings
_WIDTHS: Final = {0: 1, 1: 4, 4: 4}  # bytes of a bool, an int32, a float; the others have more
_WIDEST: Final = 8
_MAX_COLUMNS: Final = 4096
_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """A column of a row group, as claimed.

    Attributes:
        path: the Parquet column: names of the fields down to it.
        physical: Parquet's number of its physical type.
        values: values and nulls in it.
        stored: bytes in the file.
        expanded: bytes once decompressed.
        start: its first byte in the file.
    """

    path: tuple[str, ...]
    physical: int
    values: int
    stored: int
    expanded: int
    start: int

    @property
    def decoded(self) -> int:
        """Bytes of its values in memory at least: run lengths and dictionaries hide these."""
        return self.values * _WIDTHS.get(self.physical, _WIDEST)


@dataclass(frozen=True, slots=True)
class Group:
    """A row group, as claimed: its rows and its chunks in column order."""

    rows: int
    chunks: tuple[Chunk, ...]

    @property
    def size(self) -> int:
        """About the bytes that it takes in memory."""
        return sum(max(chunk.expanded, chunk.decoded) for chunk in self.chunks)


@dataclass(frozen=True, slots=True)
class Footer:
    """A footer that agrees with itself: every row group has every column, of the column's type.

    Attributes:
        rows: rows claimed for the file.
        groups: its row groups in order.
        metadata: its key-values, each key once.
    """

    rows: int
    groups: tuple[Group, ...]
    metadata: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: tuple[str, ...]
    physical: int


def parse(data: bytes) -> Footer:
    """Read a footer's bytes. Raises FormatError when they are none or contradict themselves."""
    reader = Compact(data)
    fields = reader.struct()
    if reader.position != len(data):
        raise FormatError(f"expected a footer of {len(data)} bytes, found {reader.position}")
    leaves = _leaves(structs(fields, 2))
    groups = tuple(_group(group, leaves) for group in structs(fields, 4))
    rows = count(fields, 3)
    if rows < 1 or rows != sum(group.rows for group in groups):
        raise FormatError(
            f"expected at least one row, as many as in the row groups; found {rows} rows claimed "
            f"and {sum(group.rows for group in groups)} in row groups"
        )
    metadata: dict[bytes, bytes] = {}
    for pair in structs(fields, 5) if 5 in fields else []:  # noqa: PLR2004 - key-values
        key = _bytes(pair, 1)
        if key in metadata:  # readers differ on which of the two counts
            raise FormatError(f"expected each key once in the footer, found {key!r} twice")
        metadata[key] = _bytes(pair, 2) if 2 in pair else b""  # noqa: PLR2004 - its value
    return Footer(rows, groups, metadata)


def _leaves(elements: list[Fields]) -> list[_Leaf]:
    """The Parquet columns, from the schema tree laid flat in depth-first order."""
    if not 1 < len(elements) <= _MAX_COLUMNS:
        raise FormatError(f"expected a schema of at most {_MAX_COLUMNS}, found {len(elements)}")
    queue = iter(elements[1:])
    leaves: list[_Leaf] = []

    def descend(path: tuple[str, ...], children: int) -> None:
        if len(path) > _MAX_DEPTH or children > len(elements):
            raise FormatError("expected a schema tree, found one too deep or too wide")
        for _ in range(children):
            element = next(queue, None)
            if element is None:
                raise FormatError("expected a schema tree, found its end too early")
            below = (*path, _text(element.get(4)))
            if element.get(5):
                descend(below, count32(element, 5))
            else:
                leaves.append(_Leaf(below, count32(element, 1)))

    descend((), count32(elements[0], 5))
    if next(queue, None) is not None:
        raise FormatError("expected a schema tree, found elements outside it")
    return leaves


def _group(fields: Fields, leaves: list[_Leaf]) -> Group:
    chunks = structs(fields, 1)
    if len(chunks) != len(leaves):
        raise FormatError(f"expected {len(leaves)} columns in a row group, found {len(chunks)}")
    pairs = zip(chunks, leaves, strict=True)
    return Group(count(fields, 3), tuple(_chunk(chunk, leaf) for chunk, leaf in pairs))


def _chunk(fields: Fields, leaf: _Leaf) -> Chunk:
    claims = fields.get(3)
    if 1 in fields or not isinstance(claims, dict):
        raise FormatError("expected a column chunk in this file, found one elsewhere")
    names = claims.get(3)
    path = tuple(_text(name) for name in names) if isinstance(names, list) else ()
    found = _Leaf(path, count32(claims, 1))
    if found != leaf:
        raise FormatError(f"expected a column chunk of {leaf}, found one of {found}")
    sizes = claims.get(16)
    if isinstance(sizes, dict) and 1 in sizes and leaf.physical != BYTE_ARRAY:
        raise FormatError(f"expected no byte array sizes for {leaf}, found some")
    start = count(claims, 9)
    if 11 in claims and 0 < (dictionary := count(claims, 11)) < start:  # noqa: PLR2004 - its page
        start = dictionary
    return Chunk(
        path=path,
        physical=leaf.physical,
        values=count(claims, 5),
        expanded=count(claims, 6),
        stored=count(claims, 7),
        start=start,
    )


def _bytes(fields: Fields, number: int) -> bytes:
    found = fields.get(number)
    if not isinstance(found, bytes):
        raise FormatError(f"expected bytes in field {number}, found {found!r}")
    return found


def _text(name: object) -> str:
    if not isinstance(name, bytes):
        raise FormatError(f"expected a column name, found {name!r}")
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise FormatError(f"expected a column name in UTF-8, found {name!r}") from None
