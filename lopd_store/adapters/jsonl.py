"""JSON Lines of the format's own columns: one object a row, nothing lost, any language reads it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store.adapters.source import Source
from lopd_store.inputs.files import read_file
from lopd_store.inputs.source import RowSource
from lopd_store.inputs.text import Renderer, with_prompt_ids

FILE: Final = "jsonl"


def export(source: Source) -> Iterator[pa.RecordBatch]:
    """Every column that all shards have, and every row: those without a trained token too."""
    yield from source.every(source.columns)


def read(path: Path, renderer: Renderer | None) -> RowSource:
    """Rows with keys named as the format's columns; other keys are pass-through columns.

    `response_ids` are needed. Where there are no `prompt_ids`, `messages` or `prompt` text will
    do, if there is a renderer.

    Raises:
        NotFoundError: no such file.
        FormatError: neither Parquet nor JSON Lines, no prompt, or text and no renderer.
    """
    first = next(read_file(path), None)
    names = first.schema.names if first is not None else []

    def rows() -> Iterator[pa.RecordBatch]:
        for batch in read_file(path):
            yield with_prompt_ids(batch, renderer)

    return RowSource.of_file(path, rows, retokenised="prompt_ids" not in names)
