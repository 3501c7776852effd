"""One column of strangers' Arrow data brought to a type of the format, or refused with a reason."""

from typing import Any, Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from lopd_store.errors import FormatError
from lopd_store.rows import logical

Column: TypeAlias = Any  # pa.Array or pa.ChunkedArray: the stubs know no type for the two
_ID_RANGE: Final = (-(2**31), 2**31 - 1)


def conform_column(name: str, column: Column, *, wanted: pa.DataType | None) -> Column:
    """The column as `wanted`, or as its own type if that is on the closed list (`wanted` None).

    Raises FormatError naming the column, the type expected and the type found.
    """
    found = logical.type_text(column.type)
    if wanted is None:
        try:
            wanted = logical.arrow_type(found)
        except FormatError as error:
            raise FormatError(f"column {name}: {error}; drop the column or cast it") from None
    if column.type == wanted:
        return column
    if found not in {logical.type_text(wanted), "null"}:
        _refuse_loss(name, column, wanted, found)
    try:
        return _cast(column, wanted)
    except pa.ArrowException as error:
        raise _mismatch(name, wanted, found, str(error)) from error


def _cast(column: Column, wanted: pa.DataType) -> Column:
    """Cast; floats are rounded where they narrow, and dictionaries are decoded first."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(wanted, safe=logical.type_text(wanted) != "list<float32>")


def _refuse_loss(name: str, column: Column, wanted: pa.DataType, found: str) -> None:
    """Raise FormatError unless every value survives the cast from `found` to `wanted`."""
    expected = logical.type_text(wanted)
    if not (found.startswith("list<") and expected.startswith("list<")):
        raise _mismatch(name, wanted, found, "the types do not convert")
    item = column.type.value_type
    if expected == "list<float32>" and pa.types.is_floating(item):
        return
    if not pa.types.is_integer(item) or expected not in {"list<int32>", "list<bool>"}:
        raise _mismatch(name, wanted, found, "the types do not convert")
    low, high = (0, 1) if expected == "list<bool>" else _ID_RANGE
    values: Column = pc.list_flatten(column)
    extremes: Any = pc.min_max(values)
    seen = extremes.as_py()
    if seen["min"] is not None and not (low <= seen["min"] and seen["max"] <= high):
        reason = f"values from {seen['min']} to {seen['max']} do not fit {low} to {high}"
        raise _mismatch(name, wanted, found, reason)


def _mismatch(name: str, wanted: pa.DataType, found: str, reason: str) -> FormatError:
    return FormatError(
        f"column {name}: expected {logical.type_text(wanted)}, found {found}: {reason}"
    )
