"""Answers as they are found: batches that Ctrl-C can end, and a Parquet file of them."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.errors import UsageError
from lopd_store.sql.session import ask, refusing
from lopd_store.store.durable import sync_folder, temporary
from lopd_store.store.outputs import check_output

Found = TypeVar("Found")
_BATCH_ROWS: Final = 2048  # of a thousand tokens each, in several columns: tens of megabytes
_ROW_GROUP_BYTES, _BATCHES = 32 << 20, 64  # of a file; whichever comes first
_LISTEN_SECONDS: Final = 0.1  # a signal may have gone to another thread than the one that waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The rows of a statement. They are found while they are read, and can be read once.

    Attributes:
        schema: their columns, no two of one name.
    """

    schema: pa.Schema
    _batches: Iterator[pa.RecordBatch]

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches of at most 2,048 rows. Raises as `answering`."""
        return self._batches


@contextmanager
def answering(connection: Any, text: str) -> Iterator[Answer]:
    """The answer to one statement on a connection of `session.connect`.

    DuckDB works in a thread of its own, so that Ctrl-C is heard at once: it ends the query, and
    the connection takes the next.

    Raises:
        UsageError: as `session.query`, also while batches are read.
        FormatError: what is in the shards cannot be read.
    """
    with ThreadPoolExecutor(1) as worker, _ended(worker, connection):

        def done(work: Callable[[], Found]) -> Found:
            future = worker.submit(work)
            while not future.done():
                wait([future], timeout=_LISTEN_SECONDS)
            with refusing():
                return future.result()

        reader = done(lambda: ask(connection, text).to_arrow_reader(_BATCH_ROWS))
        schema = _distinct(reader.schema)

        def batches() -> Iterator[pa.RecordBatch]:
            while (batch := done(lambda: next(reader, None))) is not None:
                yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)

        try:
            yield Answer(schema=schema, _batches=batches())
        finally:
            worker.submit(reader.close)


@contextmanager
def _ended(worker: ThreadPoolExecutor, connection: Any) -> Iterator[None]:
    """Leave only when the worker is done, and tell it so until it is."""
    try:
        yield
    finally:
        last = worker.submit(int)
        while not wait([last], timeout=_LISTEN_SECONDS).done:
            connection.interrupt()


def _distinct(schema: pa.Schema) -> pa.Schema:
    """The schema with a number behind each further column of one name."""
    first, taken = set(schema.names), set(schema.names)
    fields = []
    for field in schema:
        name = field.name
        if name in first:
            first.remove(name)
        else:
            numbered = (f"{name}_{number}" for number in itertools.count(2))
            name = next(each for each in numbered if each not in taken)
            taken.add(name)
        fields.append(field.with_name(name))
    return pa.schema(fields)


def write_parquet(answer: Answer, path: Path, *, overwrite: bool = False) -> int:
    """Write an answer as a Parquet file that is there whole or not at all; returns its rows.

    Arrow writes it: DuckDB itself can write nothing.

    Raises:
        UsageError: as `check_output`, and for columns of a type that Parquet lacks.
        StoreError: the disk refused.
        UsageError, FormatError: as `answering`.
    """
    check_output(path, overwrite=overwrite)
    with temporary(path.parent, path) as temp:
        rows = _written(answer, temp)
        temp.replace(path)
        sync_folder(path.parent)
    return rows


def _written(answer: Answer, path: Path) -> int:
    """Write the file and bring it to the disk."""
    rows = 0
    try:
        with path.open("xb") as file:
            with pq.ParquetWriter(file, answer.schema, compression="zstd") as writer:
                for table in _row_groups(answer):
                    writer.write_table(table)
                    rows += table.num_rows
            file.flush()
            os.fsync(file.fileno())
    except pa.ArrowException as error:
        raise UsageError(f"expected columns that Parquet has: {error}") from error
    return rows


def _row_groups(answer: Answer) -> Iterator[pa.Table]:
    """The batches in tables of a row group each."""
    held: list[pa.RecordBatch] = []
    for batch in answer:
        held.append(batch)
        if sum(each.nbytes for each in held) >= _ROW_GROUP_BYTES or len(held) == _BATCHES:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)
