"""Answers to queries on stdout: a table for people, JSON or CSV for programs; a batch at a time."""

import csv
import json
import math
import os
import sys
from collections.abc import Iterator
from decimal import Decimal
from itertools import chain, islice
from typing import Any, Final
from unicodedata import combining, east_asian_width

import click
import pyarrow as pa

from lopd_cli.output import echo, harmless
from lopd_store.errors import UsageError
from lopd_store.sql.answers import Answer

_LOOKED_AT: Final = 1000  # rows that decide how wide columns are
_WIDEST: Final = 60  # characters of a cell in a table
_ITEMS: Final = 6  # of a list in a table
_PAGED: Final = 40  # lines from which on a terminal gets a pager
_PLAN: Final = ["explain_key", "explain_value"]

Rows = Iterator[tuple[Any, ...]]


def print_rows(answer: Answer) -> None:
    """A table on stdout, the number of rows on stderr; a pager where it is long."""
    if answer.schema.names == _PLAN:
        for _, plan in _rows(answer):
            for text in str(plan).split("\n"):
                echo(text.rstrip())
        return
    counted = _Counted(_rows(answer))
    lines = _table(answer.schema, counted)
    first = list(islice(lines, _PAGED))
    if sys.stdout.isatty() and len(first) == _PAGED:
        os.environ.setdefault("LESS", "FRSX")  # wide tables scroll, short ones stay
        os.environ.setdefault("LESS", "-FRSX")  # wide rows are cut, not wrapped
        click.echo_via_pager(f"{line}\n" for line in chain(first, lines))
    else:
        for line in chain(first, lines):
            click.echo(line)
    print_count(counted.count)


def print_count(rows: int) -> None:
    """How many rows there were, on stderr."""
    click.echo(f"{rows:,} {'row' if rows == 1 else 'rows'}", err=True)


def print_json_rows(answer: Answer) -> None:
    """A JSON array of objects; NaN and infinities, which JSON lacks, are null."""
    before = "[\n "
    for row in _rows(answer):
        values = dict(zip(answer.schema.names, map(_plain, row), strict=True))
        text = json.dumps(values, ensure_ascii=False, allow_nan=False, default=str)
        click.echo(before + harmless(text), nl=False)
        before = ",\n "
    click.echo("[]" if before.startswith("[") else "\n]")


def print_csv(answer: Answer) -> None:
    """A heading and a line a row; lists are JSON, NULL is nothing. Terminals get no controls."""
    shown = harmless if sys.stdout.isatty() else str
    writer = csv.writer(
        sys.stdout, lineterminator="\n"
    )  # click.echo would drop what looks like ANSI
    for values in chain([answer.schema.names], _rows(answer)):
        writer.writerow(["" if value is None else shown(_csv_cell(value)) for value in values])


class _Counted:
    """An iterator that counts."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Rows:
        for row in self._rows:
            self.count += 1
            yield row


def _rows(answer: Answer) -> Rows:
    for batch in answer:
        yield from zip(*map(_values, batch.columns, batch.schema.names), strict=True)


def _values(column: Any, name: str) -> list[Any]:
    """Python's values. Raises UsageError: DuckDB has dates that Python has not."""
    try:
        return _shortest(column).to_pylist()  # type: ignore[no-any-return]
    except OverflowError as error:
        raise UsageError(
            f"{name}: expected dates of the years 1 to 9999, found others ({error}): cast them to"
            " varchar"
        ) from error


def _shortest(column: Any) -> Any:
    """Float32 as the float64 that prints in its fewest digits; everything else as it is."""
    if pa.types.is_float32(column.type):
        return column.cast(pa.string()).cast(pa.float64())
    if column.type == pa.list_(pa.float32()):
        return column.cast(pa.list_(pa.string())).cast(pa.list_(pa.float64()))
    return column


def _table(schema: pa.Schema, rows: _Counted) -> Iterator[str]:
    cells = ([_cell(value) for value in row] for row in rows)
    looked_at = [[harmless(name) for name in schema.names], *islice(cells, _LOOKED_AT)]
    widths = [max(map(_width, column)) for column in zip(*looked_at, strict=True)]
    numbers = [_is_number(field.type) for field in schema]

    def line(texts: list[str]) -> str:
        padded = []
        for text, width, number in zip(texts, widths, numbers, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if number else text + space)
        return "  ".join(padded).rstrip()

    yield line(looked_at[0])
    yield "  ".join("-" * width for width in widths)
    yield from map(line, chain(looked_at[1:], cells))


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    )


def _width(text: str) -> int:
    """Columns of a terminal that a text takes."""
    if text.isascii():
        return len(text)
    wide = sum(east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(combining(char) != 0 for char in text)


def _cell(value: Any) -> str:
    """A value in one line of bounded width, which cannot reach into the terminal."""
    if value is None:
        return "NULL"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        more = f", … {len(value):,} items" if len(value) > _ITEMS else ""
        text = f"[{', '.join(map(_cell, value[:_ITEMS]))}{more}]"
    else:
        text = harmless(str(value))
    return text if len(text) <= _WIDEST else f"{text[: _WIDEST - 1]}…"


def _csv_cell(value: Any) -> str:
    if isinstance(value, list | dict):
        return json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, default=str)
    return value.hex() if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """The value in what JSON has: sums of integers are integers, not a number is null."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case _:
            return value
