"""Parquet and JSONL files of strangers as streams of Arrow batches.

A JSONL line that cannot be read becomes a row whose `lopd_problem` says why, so that one bad
line does not cost the others.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from lopd_store.errors import FormatError, NotFoundError
from lopd_store.inputs.source import PROBLEM
from lopd_store.rows.columns import TYPES, type_text

JSONL_SUFFIXES: Final = (".jsonl", ".ndjson", ".json")
LINES_A_BATCH: Final = 512
MAX_LINE_BYTES: Final = 256 << 20

# What a JSON key means; every other key is a pass-through column typed by its first value.
_KNOWN: Final = {
    **TYPES,
    "prompt": pa.string(),
    "response": pa.string(),
    "messages": pa.string(),  # carried as JSON text; rendered by inputs.text
}
# JSON types of the items of list columns; a null inside is for the row checks to refuse.
_NUMBERS: Final[Mapping[str, frozenset[type]]] = {
    "list<int32>": frozenset({int, type(None)}),
    "list<float32>": frozenset({float, int, type(None)}),
    "list<bool>": frozenset({bool, type(None)}),
}
_ITEMS: Final = {
    name: _NUMBERS[text] for name, kind in TYPES.items() if (text := type_text(kind)) in _NUMBERS
}
_UNFIT: Final = (pa.ArrowException, OverflowError, TypeError, ValueError)


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
            names = file.schema_arrow.names
            if bad := sorted({name for name in names if names.count(name) > 1 or name == PROBLEM}):
                raise FormatError(
                    f"{path}: expected each column once and none called {PROBLEM}, found {bad}"
                )
            for batch in file.iter_batches(batch_size=LINES_A_BATCH):
                yield _messages_as_text(batch)
    except (pa.ArrowException, OSError) as error:
        raise FormatError(f"{path}: expected a readable Parquet file: {error}") from error


def _messages_as_text(batch: pa.RecordBatch) -> pa.RecordBatch:
    index = batch.schema.get_field_index("messages")
    if index < 0 or pa.types.is_string(batch.schema.field(index).type):
        return batch
    texts = [_json_or_none(messages) for messages in batch.column(index).to_pylist()]
    return batch.set_column(index, "messages", pa.array(texts, pa.string()))


def _json_or_none(value: Any) -> str | None:
    try:
        return None if value is None else json.dumps(value)
    except TypeError:  # bytes, times: no messages
        return None


def _read_jsonl(path: Path) -> Iterator[pa.RecordBatch]:
    types: dict[str, pa.DataType] = {}
    with path.open("rb") as file:
        rows: list[dict[str, Any]] = []
        while line := file.readline(MAX_LINE_BYTES + 1):
            if line.strip():
                rows.append(_row(line))
            if len(rows) >= LINES_A_BATCH and (types or any(PROBLEM not in row for row in rows)):
                yield _batch(rows, types)
                rows = []
        if rows or not types:
            yield _batch(rows, types)


def _row(line: bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE_BYTES:
        return {PROBLEM: f"expected a line of at most {MAX_LINE_BYTES} bytes"}
    try:
        row = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        return {PROBLEM: f"expected one JSON object a line: {error}"}
    if not isinstance(row, dict):
        return {PROBLEM: f"expected a JSON object, found {type(row).__name__}"}
    if bad := [key for key in row if not key or not key.isprintable() or key == PROBLEM]:
        return {PROBLEM: f"expected printable keys other than {PROBLEM}, found {bad[0]!r}"}
    if "messages" in row:
        row["messages"] = json.dumps(row["messages"])
    mask = row.get("loss_mask")
    if isinstance(mask, list) and all(type(item) is int and item in (0, 1) for item in mask):
        row["loss_mask"] = [item == 1 for item in mask]
    return row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("duplicate key")
    return row


def _batch(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> pa.RecordBatch:
    """Columns keep the type of the file's first batch; what does not fit is a problem of its row.

    Rows after the first batch bring no new columns: such a row is a problem too.
    """
    if not types:
        _settle_types(rows, types)
    problems = [row.get(PROBLEM) or _new_columns(row, types) for row in rows]
    columns = [_column(name, kind, rows, problems) for name, kind in types.items()]
    columns.append(pa.array(problems, pa.string()))
    return pa.record_batch(columns, names=[*types, PROBLEM])


def _new_columns(row: dict[str, Any], types: dict[str, pa.DataType]) -> str | None:
    if PROBLEM in row or not (new := [key for key in row if key not in types]):
        return None
    return f"expected the columns of the first {LINES_A_BATCH} rows, found {new[0]!r} too"


def _settle_types(rows: list[dict[str, Any]], types: dict[str, pa.DataType]) -> None:
    for name in dict.fromkeys(key for row in rows for key in row if key != PROBLEM):
        values = [row[name] for row in rows if row.get(name) is not None]
        types[name] = _KNOWN.get(name) or _type_of(values) or _commonest_type(values)


def _type_of(values: list[Any]) -> pa.DataType | None:
    """The type that holds all values; None when there is none."""
    try:
        return pa.array(values).type if values else pa.string()
    except _UNFIT:
        return None


def _commonest_type(values: list[Any]) -> pa.DataType:
    counts = Counter(filter(None, (_type_of([value]) for value in values)))
    return counts.most_common(1)[0][0] if counts else pa.string()


def _column(
    name: str, kind: pa.DataType, rows: list[dict[str, Any]], problems: list[str | None]
) -> pa.Array:
    values = [row.get(name) for row in rows]
    if name in _ITEMS:  # Arrow would cut 5.5 to 5
        return pa.array(_fitting(name, kind, values, problems), kind)
    try:
        return pa.array(values, kind)
    except _UNFIT:
        return pa.array(_fitting(name, kind, values, problems), kind)


def _fitting(
    name: str, kind: pa.DataType, values: list[Any], problems: list[str | None]
) -> list[Any]:
    kept = []
    for index, value in enumerate(values):
        try:
            if not _has_items_of(value, _ITEMS.get(name)):
                raise TypeError
            pa.scalar(value, kind)
            kept.append(value)
        except _UNFIT:
            kept.append(None)
            problems[index] = problems[index] or f"{name}: expected {kind}, found {value!r:.80}"
    return kept


def _has_items_of(value: Any, types: frozenset[type] | None) -> bool:
    if types is None or value is None:
        return True
    return isinstance(value, list) and types.issuperset(map(type, value))
