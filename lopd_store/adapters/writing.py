"""Batches → one Parquet or JSON Lines file that is there whole or not at all.

The same batches give the same bytes. One batch is held in memory at a time.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_store.rows import flat
from lopd_store.store.durable import sync_folder
from lopd_store.store.outputs import check_output

Write = Callable[[pa.RecordBatch], None]

NOTE_KEY: Final = "lopd.source"
"""Key in a Parquet footer under which a file says whose rows it holds; see `provenance`."""

_ZSTD_LEVEL: Final = 1


def write_file(
    batches: Iterator[pa.RecordBatch], path: Path, *, file: str, note: bytes, overwrite: bool
) -> int:
    """Write batches to `path`; returns its bytes.

    Args:
        batches: at least one, all of one schema; each becomes a row group or its lines.
        path: the file.
        file: `parquet` or `jsonl`.
        note: whose rows these are, for the footer; JSON Lines has no place for it.
        overwrite: replace a file that is there.

    Raises:
        UsageError: as `check_output`, and for a kind of file nobody knows.
        FormatError: no batch, or values that JSON cannot say.
        StoreError: the disk refused; a file that was there is as it was.
    """
    if file not in _OPENERS:
        raise UsageError(f"expected a file of kind {', '.join(_OPENERS)}, found {file!r}")
    check_output(path, overwrite=overwrite)
    first = next(batches, None)
    if first is None:
        raise FormatError(f"{path}: expected at least one row to export, found none")
    temp = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    with _explained(path):
        try:
            with _OPENERS[file](temp, first.schema, note) as write:
                write(first)
                for batch in batches:
                    write(batch)
            size = _seal(temp)
            temp.replace(path)
            sync_folder(path.parent)
        finally:
            temp.unlink(missing_ok=True)
    return size


@contextlib.contextmanager
def _parquet(path: Path, schema: pa.Schema, note: bytes) -> Iterator[Write]:
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": _ZSTD_LEVEL,
        "use_dictionary": False,
        "write_statistics": False,
        "store_schema": False,
    }
    with pq.ParquetWriter(str(path), schema, **options) as writer:
        writer.add_key_value_metadata({NOTE_KEY: note.decode()})
        yield lambda batch: writer.write_batch(batch, row_group_size=batch.num_rows)


@contextlib.contextmanager
def _jsonl(path: Path, _schema: pa.Schema, _note: bytes) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda batch: file.writelines(json_lines(batch))


_OPENERS: Final = {"parquet": _parquet, "jsonl": _jsonl}


def json_lines(batch: pa.RecordBatch) -> Iterator[str]:
    """Rows as JSON objects, one a line; float32 in the fewest digits that give it back.

    Raises FormatError on NaN and infinities.
    """
    columns = [_shortest(batch.column(name)) for name in batch.schema.names]
    for row in pa.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist():
        try:
            text = json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        except ValueError as error:
            raise FormatError(f"expected numbers that JSON has, found another: {error}") from error
        yield text + "\n"


def _shortest(array: flat.Array) -> flat.Array:
    """Float32 as the float64 that prints in its fewest digits; everything else as it is."""
    if pa.types.is_float32(array.type):
        return array.cast(pa.string()).cast(pa.float64())
    if pa.types.is_list(array.type) and pa.types.is_float32(array.type.value_type):
        return flat.lists_of(_shortest(flat.items(array)), like=array)
    return array


def _seal(path: Path) -> int:
    """Bring the bytes to the disk; how many there are."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
    except pa.ArrowException as error:
        raise FormatError(f"{path}: these rows cannot be written: {error}") from error
