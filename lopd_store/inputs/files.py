"""Parquet and JSONL files of strangers as streams of Arrow batches.

A JSONL line that cannot be read becomes a row whose `lopd_problem` says why, so that one bad
line does not cost the others.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.errors import FormatError, NotFoundError
from lopd_store.inputs.source import PROBLEM

JSONL_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
LINES_A_BATCH: Final = 512
MAX_LINE_BYTES: Final = 256 << 20

# What a JSON key means; every other key is a pass-through column typed by its first value.
_KNOWN: Final = {
    "prompt_ids": pa.list_(pa.int32()),
    "response_ids": pa.list_(pa.int32()),
    "rollout_logprobs": pa.list_(pa.float32()),
    "loss_mask": pa.list_(pa.bool_()),
    "finish_reason": pa.string(),
    "prompt": pa.string(),
    "response": pa.string(),
    "messages": pa.string(),  # carried as JSON text; rendered by inputs.text
}


def read_file(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet or JSONL file, by its ending.

    Raises:
        NotFoundError: no such file.
        FormatError: neither ending, or not readable as what its ending says.
    """
    if not path.is_file():
        raise NotFoundError(f"no such file: {path}")
    if path.suffix == ".parquet":
        return _read_parquet(path)
    if path.suffix in JSONL_SUFFIXES:
        return _read_jsonl(path)
    raise FormatError(f"{path}: expected a .parquet or .jsonl file, found {path.suffix!r}")


def _read_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            for batch in file.iter_batches(batch_size=LINES_A_BATCH):
                yield _messages_as_text(batch)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: expected a readable Parquet file: {error}") from error


def _messages_as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    index = batch.schema.get_field_index("messages")
    if index < 0 or pa.types.is_string(batch.schema.field(index).type):
        return batch
    texts = [None if m is None else json.dumps(m) for m in batch.column(index).to_pylist()]
    return batch.set_column(index, "messages", pa.array(texts, pa.string()))


def _read_jsonl(path: Path) -> Iterator[pa.RecordBatch]:
    types: dict[str, pa.DataType] = {}
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = []
        while line := file.readline(MAX_LINE_BYTES + 1):
            if line.strip():
                rows.append(_row(line))
            if len(rows) == LINES_A_BATCH:
                yield _batch(rows, types, path)
                rows = []
        if rows or not types:
            yield _batch(rows, types, path)


def _row(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        return {PROBLEM: f"expected a line of at most {MAX_LINE_BYTES} bytes"}
    try:
        row = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        return {PROBLEM: f"expected one JSON object a line: {error}"}
    if not isinstance(row, dict):
        return {PROBLEM: f"expected a JSON object, found {type(row).__name__}"}
    if "messages" in row:
        row["messages"] = json.dumps(row["messages"])
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("duplicate key")
    return row


def _batch(rows: list[dict[str, Any]], types: dict[str, pa.DataType], path: Path) -> pa.RecordBatch:
    """Columns keep the type of the file's first batch; a value that does not fit is a problem."""
    if not types:
        _settle_types(rows, types, path)
    problems = [row.get(PROBLEM) for row in rows]
    columns = [_column(name, kind, rows, problems) for name, kind in types.items()]
    columns.append(pa.array(problems, pa.string()))
    return pa.record_batch(columns, names=[*types, PROBLEM])


def _settle_types(rows: list[dict[str, Any]], types: dict[str, pa.DataType], path: Path) -> None:
    for name in dict.fromkeys(key for row in rows for key in row if key != PROBLEM):
        if name in _KNOWN:
            types[name] = _KNOWN[name]
            continue
        values = [row[name] for row in rows if row.get(name) is not None]
        try:
            types[name] = pa.array(values).type if values else pa.string()
        except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
            raise FormatError(f"{path}: column {name!r}: expected one type: {error}") from error


def _column(
    name: str, kind: pa.DataType, rows: list[dict[str, Any]], problems: list[str | None]
) -> pa.Array:
    values = [row.get(name) for row in rows]
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
        return pa.array(_fitting(name, kind, values, problems), kind)


def _fitting(
    name: str, kind: pa.DataType, values: list[Any], problems: list[str | None]
) -> list[Any]:
    kept = []
    for index, value in enumerate(values):
        try:
            pa.scalar(value, kind)
            kept.append(value)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError, TypeError):
            kept.append(None)
            problems[index] = problems[index] or f"{name}: expected {kind}, found {str(value)[:80]}"
    return kept
