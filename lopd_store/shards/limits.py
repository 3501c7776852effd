"""What a shard may claim and what its pages may expand to, checked before anything is decoded.

Caught here: row groups and pages that claim more than the limits (decompression bombs), footers
that disagree with themselves or with the page headers, encodings through which few bytes become
many. What is left to the decoder is bounded: a column of a row group has at most `MAX_VALUES`
values, a row group decompresses to at most `MAX_ROW_GROUP_BYTES`, strings behind a dictionary
expand to at most as much again.
"""

from typing import Any, BinaryIO, Final

import pyarrow.parquet as pq

from lopd_store.errors import FormatError
from lopd_store.shards.pages import Page, pages

MAX_FOOTER_BYTES: Final = 64 << 20
MAX_ROW_GROUP_BYTES: Final = 1 << 30  # 3,000 times an ordinary row group's ids
MAX_VALUES: Final = 1 << 26  # of one column in one row group
MAX_RATIO: Final = 1000  # decompressed to stored, where it is more than RATIO_BYTES
RATIO_BYTES: Final = 64 << 20
_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA, _RLE_DICTIONARY, _SPLIT = 0, 2, 3, 5, 8, 9
# Not DELTA_BYTE_ARRAY: each value may repeat the one before it, so a few bytes can mean gigabytes.
_ENCODINGS: Final = (_PLAIN, _PLAIN_DICTIONARY, _RLE, _DELTA, _RLE_DICTIONARY, _SPLIT)


def check_footer(metadata: pq.FileMetaData, *, size: int) -> None:
    """Raise FormatError unless the footer agrees with itself and stays inside the limits."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    if (rows := sum(group.num_rows for group in groups)) != metadata.num_rows or rows < 1:
        raise FormatError(
            f"expected at least one row, as many as in the row groups; "
            f"found {metadata.num_rows} rows claimed and {rows} in row groups"
        )
    for index, group in enumerate(groups):
        try:
            _check_group(group, size=size)
        except FormatError as error:
            raise FormatError(f"row group {index}: {error}") from None


def check_pages(file: BinaryIO, metadata: pq.FileMetaData, group: int, names: set[str]) -> None:
    """Raise FormatError unless the pages of these columns are what the footer claims."""
    claims = metadata.row_group(group)
    for index in range(claims.num_columns):
        chunk = claims.column(index)
        if _top_level(chunk.path_in_schema, names):
            start, length = _extent(chunk)
            try:
                _check_chunk(list(pages(file, start=start, length=length)), chunk)
            except FormatError as error:
                where = f"row group {group}, column {chunk.path_in_schema}"
                raise FormatError(f"{where}: {error}") from None


def _check_group(group: Any, *, size: int) -> None:
    chunks = [group.column(index) for index in range(group.num_columns)]
    stored = sum(chunk.total_compressed_size for chunk in chunks)
    expanded = sum(chunk.total_uncompressed_size for chunk in chunks)
    _check_expansion(expanded, stored)
    if not 1 <= group.num_rows <= MAX_VALUES:
        raise FormatError(f"expected 1 to {MAX_VALUES} rows, found {group.num_rows}")
    for chunk in chunks:
        start, length = _extent(chunk)
        if start < 4 or length < 1 or start + length > size:  # noqa: PLR2004 - the magic bytes
            raise FormatError(
                f"expected column {chunk.path_in_schema} inside the file's {size} bytes, "
                f"found {length} bytes at {start}"
            )
        is_list = "." in chunk.path_in_schema
        least, most = group.num_rows, MAX_VALUES if is_list else group.num_rows
        if not least <= chunk.num_values <= most:
            raise FormatError(
                f"expected {least} to {most} values in {chunk.path_in_schema}, "
                f"found {chunk.num_values}"
            )


def _check_expansion(expanded: int, stored: int) -> None:
    if not 0 <= expanded <= MAX_ROW_GROUP_BYTES:
        raise FormatError(
            f"expected at most {MAX_ROW_GROUP_BYTES} bytes once decompressed, found {expanded}"
        )
    if expanded > RATIO_BYTES and expanded > MAX_RATIO * stored:
        raise FormatError(
            f"expected at most {MAX_RATIO} bytes a stored byte, found {expanded} of {stored}"
        )


def _check_chunk(found: list[Page], chunk: Any) -> None:
    values = sum(page.values for page in found if not page.is_dictionary)
    if values != chunk.num_values:
        raise FormatError(f"expected {chunk.num_values} values in its pages, found {values}")
    _check_expansion(sum(page.size for page in found), chunk.total_compressed_size)
    for page in found:
        if page.encoding not in _ENCODINGS:
            raise FormatError(f"expected an encoding of {_ENCODINGS}, found {page.encoding}")
    dictionary = sum(page.size for page in found if page.is_dictionary)
    if chunk.physical_type == "BYTE_ARRAY" and dictionary * values > 2 * MAX_ROW_GROUP_BYTES:
        raise FormatError(
            f"expected a dictionary of at most {2 * MAX_ROW_GROUP_BYTES // values} bytes "
            f"for {values} values, found {dictionary} bytes"
        )


def _extent(chunk: Any) -> tuple[int, int]:
    """Where a column chunk stands: its first byte and its bytes."""
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start, chunk.total_compressed_size


def _top_level(path: str, names: set[str]) -> bool:
    """May the Parquet column `path` belong to one of these columns? Names may hold dots."""
    return any(path == name or path.startswith(f"{name}.") for name in names)
