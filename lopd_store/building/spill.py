"""Finished chunks on disk: one Arrow file each, there whole or not at all."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store.documents.skipped import SkippedRow, encode_skipped, parse_skipped
from lopd_store.store import durable

_SKIPPED: Final = b"lopd.skipped"


class Spill:
    """The chunks of one job in a folder. `read(i)` gives back what `write(i, …)` was given."""

    def __init__(self, folder: Path, *, tmp: Path) -> None:
        self._folder = folder
        self._tmp = tmp

    def has(self, index: int) -> bool:
        """Whether chunk `index` is there, whole."""
        return self._path(index).exists()

    def write(self, index: int, rows: pa.RecordBatch, skipped: Sequence[SkippedRow]) -> None:
        """Keep a chunk: written to the side, synced, then given its name."""
        listed = encode_skipped(skipped)
        sink = io.BytesIO()
        schema = rows.schema.with_metadata({_SKIPPED: listed})
        with pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(rows.replace_schema_metadata({_SKIPPED: listed}))
        durable.write(self._path(index), sink.getvalue(), tmp=self._tmp)

    def read(self, index: int) -> pa.RecordBatch:
        """The rows of a chunk, without a copy."""
        with pa.memory_map(str(self._path(index))) as file:
            return pa.ipc.open_file(file).get_batch(0)

    def skipped(self, index: int) -> list[SkippedRow]:
        """The rows that were left out of a chunk."""
        with pa.memory_map(str(self._path(index))) as file:
            listed = (pa.ipc.open_file(file).schema.metadata or {}).get(_SKIPPED, b"")
        return parse_skipped(listed)

    def files(self) -> Iterator[Path]:
        """Every chunk's file."""
        return self._folder.glob("chunk-*.arrow")

    def _path(self, index: int) -> Path:
        return self._folder / f"chunk-{index:06d}.arrow"
