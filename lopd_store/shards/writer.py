"""Deterministic shards: the same rows give the same bytes, however their batches are cut.

One row group of rows is held in memory at a time. SHA-256 is taken from the bytes as they are
written, so a shard is never read back. `benchmarks/shard_size.py` says why each encoding.
"""

import contextlib
import hashlib
import io
import itertools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.errors import FormatError, StoreError, UsageError
from lopd_store.rows import columns, flat
from lopd_store.shards.cutting import row_groups

SHARD_TOKENS: Final = 16_000_000
ROW_GROUP_TOKENS: Final = 300_000
_ZSTD_LEVEL: Final = 1  # beats level 3 on byte-stream-split log-probs, and is faster
# Readers bound what a dictionary may expand to, so no text of others has one: it may be long. Hex
# ids take 5 to 8 % more with one, even at 8 rows a prompt.
_DICTIONARY: Final = ("finish_reason",)
_BUFFER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """A finished shard.

    Attributes:
        path: where it was written; its bytes are on the disk, its folder entry may not be yet.
        digest: SHA-256 of the file.
        size: bytes.
        rows: rows in it.
        tokens: response ids in it.
        prompt_tokens: prompt ids in it.
    """

    path: Path
    digest: Digest
    size: int
    rows: int
    tokens: int
    prompt_tokens: int


def write_shards(
    batches: Iterable[pa.RecordBatch],
    *,
    identity: bytes,
    folder: Path,
    shard_tokens: int = SHARD_TOKENS,
    row_group_tokens: int = ROW_GROUP_TOKENS,
) -> Iterator[ShardFile]:
    """Write rows to `folder/shard-00000.parquet`, …, yielding each shard once it is on the disk.

    Both bounds count prompt and response ids; see `cutting.row_groups`. Rows are not checked
    here: `rows.check` does. A shard left unfinished (an error, a closed generator) is removed.

    Args:
        batches: rows with the same columns throughout; any batching gives the same shards.
        identity: the identity document's bytes, which stand in every shard's footer.
        folder: an existing folder; files of the same names are replaced.
        shard_tokens: ids after which a shard ends.
        row_group_tokens: ids after which a row group ends.

    Raises:
        FormatError: no rows, columns that change, or a type the format lacks.
        StoreError: the disk refused.
        UsageError: a bound below 1.
    """
    if min(shard_tokens, row_group_tokens) < 1:
        raise UsageError("expected shard_tokens and row_group_tokens of at least 1")
    groups = row_groups(batches, row_group_tokens=row_group_tokens, shard_tokens=shard_tokens)
    number = -1
    for number, members in itertools.groupby(groups, key=lambda group: group.shard):
        first = next(members)
        path = folder / f"shard-{number:05d}.parquet"
        with _Writing(path, first.rows.schema, identity) as shard:
            for group in itertools.chain([first], members):
                shard.add(group.rows)
            finished = shard.finish()
        yield finished
    if number < 0:
        raise FormatError("expected at least one row, found no rows")


class _Writing:
    """One shard while it is written; leaving without `finish` removes the file."""

    def __init__(self, path: Path, schema: pa.Schema, identity: bytes) -> None:
        self._path = path
        self._rows = self._tokens = self._prompt_tokens = 0
        self._finished = False
        with _refusing(path):
            self._sink = _Sink(path)
            self._writer = _parquet_writer(self._sink, schema)
            self._writer.add_key_value_metadata(
                cast("dict[str, str]", {media.FOOTER_KEY: identity})
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._finished:
            self._sink.abandon()
            with contextlib.suppress(OSError, pa.ArrowException):
                self._writer.close()
            self._path.unlink(missing_ok=True)

    def add(self, rows: pa.RecordBatch) -> None:
        with _refusing(self._path):
            self._writer.write_table(pa.Table.from_batches([rows]), row_group_size=rows.num_rows)
        self._rows += rows.num_rows
        self._tokens += int(np.sum(flat.lengths(rows.column("response_ids"))))
        self._prompt_tokens += int(np.sum(flat.lengths(rows.column("prompt_ids"))))

    def finish(self) -> ShardFile:
        with _refusing(self._path):
            self._writer.close()
            digest = self._sink.finish()
        self._finished = True
        return ShardFile(
            path=self._path,
            digest=digest,
            size=self._sink.size,
            rows=self._rows,
            tokens=self._tokens,
            prompt_tokens=self._prompt_tokens,
        )


class _Sink(io.RawIOBase):
    """A file that hashes what is written to it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file = path.open("wb", buffering=_BUFFER_BYTES)
        self._state = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any, /) -> int:
        count = memoryview(data).nbytes
        if not self._file.closed:
            self._state.update(data)
            self._file.write(data)
            self.size += count
        return count

    def finish(self) -> Digest:
        """Make the bytes durable and name them."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return Digest.from_hex(self._state.hexdigest())

    def abandon(self) -> None:
        """Swallow what is still written: Parquet writers can only be closed by finishing them."""
        with contextlib.suppress(OSError):
            self._file.close()


def _parquet_writer(sink: _Sink, schema: pa.Schema) -> pq.ParquetWriter:
    scalars = [field.name for field in schema if not pa.types.is_list(field.type)]
    dictionary = [name for name in scalars if name in _DICTIONARY]
    options: dict[str, Any] = {
        "compression": "zstd",
        "compression_level": _ZSTD_LEVEL,
        "use_dictionary": dictionary,
        "column_encoding": _encodings(schema, dictionary),
        "write_statistics": scalars,  # what SQL filters on; bounds of a list's items tell nothing
        "write_page_index": True,
        "write_page_checksum": True,
        "store_schema": False,  # Parquet's own types say it all, to every reader alike
    }
    return pq.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, **options)


def _encodings(schema: pa.Schema, dictionary: list[str]) -> dict[str, str]:
    """Encoding of each Parquet column without a dictionary."""
    encodings = {}
    for field in schema:
        text = columns.type_text(field.type)
        if field.name not in dictionary:
            path = f"{field.name}.list.element" if text.startswith("list<") else field.name
            encodings[path] = "BYTE_STREAM_SPLIT" if text == "list<float32>" else "PLAIN"
    return encodings


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Errors of the disk and of Arrow as ours."""
    try:
        yield
    except pa.ArrowException as error:
        raise FormatError(f"{path.name}: these rows cannot be written: {error}") from error
    except OSError as error:
        raise StoreError(f"{path}: cannot write: {error}") from error
