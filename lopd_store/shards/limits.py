"""What a shard may claim and what its pages may expand to, checked before anything is decoded.

Caught here: row groups and pages that claim more than the limits (decompression bombs), pages that
are not what the footer claims, encodings through which few bytes become many. What is left to the
decoder is bounded: a row group has at most `MAX_ROWS` rows, a column of it at most `MAX_VALUES`
values; all its numbers, whatever encodes them, take at most `MAX_ROW_GROUP_BYTES`; strings behind
a dictionary expand to at most twice that a column.
"""

from typing import BinaryIO, Final

from lopd_store.errors import FormatError
from lopd_store.shards.footer import BYTE_ARRAY, Chunk, Footer, Group
from lopd_store.shards.pages import Page, pages

MAGIC: Final = b"PAR1"
MAX_FOOTER_BYTES: Final = 64 << 20
MAX_ROW_GROUP_BYTES: Final = 1 << 30  # 3,000 times an ordinary row group's ids
MAX_VALUES: Final = 1 << 26  # of one column in one row group
MAX_ROWS: Final = 1 << 20  # of one row group; 64 times as many as we write
MAX_RATIO: Final = 1000  # in memory to stored, where it is more than RATIO_BYTES
RATIO_BYTES: Final = 64 << 20
_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA, _RLE_DICTIONARY, _SPLIT = 0, 2, 3, 5, 8, 9
# Not DELTA_BYTE_ARRAY: each value may repeat the one before it, so a few bytes can mean gigabytes.
_ENCODINGS: Final = (_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA, _RLE_DICTIONARY, _SPLIT)


def check_footer(footer: Footer, *, size: int) -> None:
    """Raise FormatError unless the footer of a file of `size` bytes stays inside the limits."""
    for index, group in enumerate(footer.groups):
        try:
            _check_group(group, size=size)
        except FormatError as error:
            raise FormatError(f"row group {index}: {error}") from None


def check_pages(file: BinaryIO, group: Group, names: set[str]) -> None:
    """Raise FormatError unless the pages of the columns `names` are what the footer claims."""
    for chunk in group.chunks:
        if chunk.path[0] in names:
            try:
                found = list(pages(file, start=chunk.start, length=chunk.stored))
                _check_chunk(found, chunk)
            except FormatError as error:
                raise FormatError(f"column {chunk.path[0]}: {error}") from None


def _check_group(group: Group, *, size: int) -> None:
    stored = sum(chunk.stored for chunk in group.chunks)
    if not 1 <= group.rows <= MAX_ROWS:
        raise FormatError(f"expected 1 to {MAX_ROWS} rows, found {group.rows}")
    for chunk in group.chunks:
        end = chunk.start + chunk.stored
        if chunk.start < len(MAGIC) or chunk.stored < 1 or end > size:
            raise FormatError(
                f"expected column {chunk.path[0]} inside the file's {size} bytes, "
                f"found {chunk.stored} bytes at {chunk.start}"
            )
        most = group.rows if len(chunk.path) == 1 else MAX_VALUES
        if not group.rows <= chunk.values <= most:
            raise FormatError(
                f"expected {group.rows} to {most} values in {chunk.path[0]}, found {chunk.values}"
            )
    _check_expansion(group.size, stored)


def _check_expansion(expanded: int, stored: int) -> None:
    if expanded > MAX_ROW_GROUP_BYTES:
        raise FormatError(
            f"expected at most {MAX_ROW_GROUP_BYTES} bytes once decompressed and decoded, "
            f"found {expanded}"
        )
    if expanded > RATIO_BYTES and expanded > MAX_RATIO * stored:
        raise FormatError(
            f"expected at most {MAX_RATIO} bytes a stored byte, found {expanded} of {stored}"
        )


def _check_chunk(found: list[Page], chunk: Chunk) -> None:
    values = sum(page.values for page in found if not page.is_dictionary)
    if values != chunk.values:
        raise FormatError(f"expected {chunk.values} values in its pages, found {values}")
    _check_expansion(sum(page.size for page in found), chunk.stored)
    for page in found:
        if page.encoding not in _ENCODINGS:
            raise FormatError(f"expected an encoding of {_ENCODINGS}, found {page.encoding}")
    dictionary = sum(page.size for page in found if page.is_dictionary)
    if chunk.physical == BYTE_ARRAY and dictionary * values > 2 * MAX_ROW_GROUP_BYTES:
        raise FormatError(
            f"expected a dictionary of at most {2 * MAX_ROW_GROUP_BYTES // values} bytes "
            f"for {values} values, found {dictionary} bytes"
        )
