"""Prompts: a JSONL or Parquet file of text, messages or token ids."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store.inputs.conform import conformed
from lopd_store.inputs.files import read_file
from lopd_store.inputs.source import RowSource
from lopd_store.inputs.text import Renderer, with_prompt_ids
from lopd_store.rows.columns import TYPES

# A file of rollouts is a file of prompts too: what others made of them is left behind.
_NOT_OF_PROMPTS: Final = frozenset(TYPES) - {"prompt_ids"} | {"response"}


def prompts_from_file(path: Path, renderer: Renderer | None) -> RowSource:
    """Prompts as rows of `prompt_ids` and the file's other columns.

    `messages` go through the model's chat template up to where the assistant begins; `prompt` is
    raw text, encoded as it stands; `prompt_ids` are taken as they are.

    Raises:
        NotFoundError: no such file.
        FormatError: not JSONL or Parquet, or no column to take prompts from.
    """

    def read() -> Iterator[pa.RecordBatch]:
        for batch in read_file(path):
            rows = with_prompt_ids(batch, renderer)
            yield conformed(
                rows.drop_columns([n for n in rows.schema.names if n in _NOT_OF_PROMPTS])
            )

    read_file(path)
    return RowSource.of_file(path, read)
