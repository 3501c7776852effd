"""Logical types in our words: the closed list of what a column may hold."""

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

from lopd_store.errors import FormatError

_PRIMITIVES: Final[Mapping[str, pa.DataType]] = {
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
}
ARROW: Final[Mapping[str, pa.DataType]] = {
    **_PRIMITIVES,
    **{f"list<{text}>": pa.list_(arrow) for text, arrow in _PRIMITIVES.items()},
}
_LISTS: Final = (
    pa.ListType,
    pa.LargeListType,
    pa.FixedSizeListType,
)


def type_text(arrow: pa.DataType) -> str:
    """The logical type in our words: `list<float32>` for list and large_list alike.

    Widths of offsets, views and dictionaries are how Arrow holds values, not what they are, and
    are left out. A type outside the closed list comes back as Arrow spells it.
    """
    if isinstance(arrow, pa.DictionaryType):
        return type_text(arrow.value_type)
    if isinstance(arrow, _LISTS):
        return f"list<{type_text(arrow.value_type)}>"
    if pa.types.is_large_string(arrow) or pa.types.is_string_view(arrow):
        return "string"
    return next((text for text, ours in ARROW.items() if ours == arrow), str(arrow))


def arrow_type(text: str) -> pa.DataType:
    """The Arrow type of a type text. Raises FormatError when it is not on the closed list."""
    if text not in ARROW:
        raise FormatError(f"expected one of {', '.join(ARROW)}; found the type {text!r}")
    return ARROW[text]
