"""Answers to queries on stdout: as a table for people, as JSON or CSV; a batch at a time."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterator
from itertools import chain, islice
from typing import Any, Final

import click
import pyarrow as pa

from lopd_cli.output import harmless

_LOOKED_AT: Final = 100  # rows that decide how wide columns are
_WIDEST: Final = 60  # characters of a cell in a table
_ITEMS: Final = 6  # of a list in a table
_PAGED: Final = 40  # lines from which on a terminal gets a pager


def print_rows(answer: pa.RecordBatchReader) -> None:
    """A table on stdout, the number of rows on stderr; a pager where it is long."""
    counted = _Counted(answer)
    lines = _table(answer.schema, iter(counted))
    first = list(islice(lines, _PAGED))
    if sys.stdout.isatty() and len(first) == _PAGED:
        click.echo_via_pager(f"{line}\n" for line in chain(first, lines))
    else:
        for line in chain(first, lines):
            click.echo(line)
    click.echo(f"{counted.rows:,} {'row' if counted.rows == 1 else 'rows'}", err=True)


def print_json_rows(answer: pa.RecordBatchReader) -> None:
    """A JSON array of objects; NaN and infinities, which JSON lacks, are null."""
    before = "[\n "
    for row in _Counted(answer):
        text = json.dumps(_plain(row), ensure_ascii=False, allow_nan=False, default=str)
        click.echo(before + harmless(text), nl=False)
        before = ",\n "
    click.echo("[]" if before.startswith("[") else "\n]")


def print_csv(answer: pa.RecordBatchReader) -> None:
    """A heading and a line a row; lists are JSON, NULL is nothing."""
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    for values in chain([answer.schema.names], (row.values() for row in _Counted(answer))):
        writer.writerow([_csv_cell(value) for value in values])
        click.echo(line.getvalue(), nl=False)
        line.seek(0)
        line.truncate()


class _Counted:
    """The rows of an answer as dictionaries; how many there were."""

    def __init__(self, answer: pa.RecordBatchReader) -> None:
        self._answer = answer
        self.rows = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        from lopd_store.sql.session import refusing

        with refusing():
            for batch in self._answer:
                for row in batch.rename_columns(_distinct(batch.schema.names)).to_pylist():
                    self.rows += 1
                    yield row


def _distinct(names: list[str]) -> list[str]:
    """Two columns may have one name: the second gets a number."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def _table(schema: pa.Schema, rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    looked_at = list(islice(rows, _LOOKED_AT))
    heading = [harmless(name) for name in _distinct(schema.names)]
    cells = [[_cell(value) for value in row.values()] for row in looked_at]
    widths = [max(map(len, column)) for column in zip(heading, *cells, strict=True)]
    right = [_is_number(field.type) for field in schema]

    def line(texts: list[str]) -> str:
        padded = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(texts, widths, right, strict=True)
        )
        return "  ".join(padded).rstrip()

    yield line(heading)
    yield "  ".join("-" * width for width in widths)
    yield from map(line, cells)
    yield from (line([_cell(value) for value in row.values()]) for row in rows)


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _cell(value: Any) -> str:
    """A value in one line of bounded width, which cannot reach into the terminal."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        more = f", … {len(value)}" if len(value) > _ITEMS else ""
        text = f"[{', '.join(map(_cell, value[:_ITEMS]))}{more}]"
    else:
        text = harmless(str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list | dict):
        return json.dumps(_plain(value), ensure_ascii=False, default=str)
    return value


def _plain(value: Any) -> Any:
    """The value with null for the numbers that JSON lacks."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value
