"""Rows of an input that can be worked on, and the reasons for those that cannot."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from lopd_store.documents.skipped import SkippedRow
from lopd_store.errors import FormatError, Problem
from lopd_store.inputs.source import PROBLEM
from lopd_store.rows.columns import LOGPROB_COLUMNS

Judge = Callable[[pa.RecordBatch], pa.StringArray]


def triage(
    rows: pa.RecordBatch, judge: Judge, *, first_row: int, on_error: str
) -> tuple[pa.RecordBatch, list[SkippedRow]]:
    """Split rows into those to work on and those to leave out.

    Args:
        rows: conformed rows, with or without the reader's own problem column.
        judge: the reason against each row, or null: `rows.check.bad_rows` or `bad_prompts`.
        first_row: the place of their first row in the input.
        on_error: `skip` lists bad rows, `fail` raises for them.

    Raises:
        FormatError: a row is bad and `on_error` is `fail`.
    """
    bare, unread = _split(rows)
    reasons = judge(bare).to_pylist()
    skipped = [
        SkippedRow(row=first_row + i, reason=reason, detail=_detail(bare, i, reason, unread[i]))
        for i, reason in enumerate(
            "unreadable-row" if note else reason
            for note, reason in zip(unread, reasons, strict=True)
        )
        if reason
    ]
    if skipped and on_error == "fail":
        problems = [Problem(r.reason, f"row {r.row}", "a usable row", r.detail) for r in skipped]
        raise FormatError.of(problems, subject="input rows")
    left_out = {row.row - first_row for row in skipped}
    good = np.array([i for i in range(len(bare)) if i not in left_out], np.int64)
    return (bare if not skipped else bare.take(pa.array(good))), skipped


def _split(rows: pa.RecordBatch) -> tuple[pa.RecordBatch, list[str | None]]:
    if PROBLEM not in rows.schema.names:
        return rows, [None] * len(rows)
    return rows.drop_columns([PROBLEM]), rows.column(PROBLEM).to_pylist()


def _detail(rows: pa.RecordBatch, row: int, reason: str, unread: str | None) -> str:
    if unread:
        return unread
    lengths = {
        name: len(rows.column(name)[row]) if rows.column(name)[row].is_valid else "null"
        for name in ("prompt_ids", "response_ids", *LOGPROB_COLUMNS)
        if name in rows.schema.names
    }
    return f"{reason}; " + ", ".join(f"{name} {length}" for name, length in lengths.items())
