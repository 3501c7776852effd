"""Columns as `datasets` spells them in a card; what a card says there, it makes of the rows."""

from collections.abc import Iterable
from typing import Any

from lopd_store.documents.artifact import Column


def features_of(columns: Iterable[Column]) -> list[dict[str, str]]:
    """`list<int32>` is a list of int32."""
    return [_feature(column.name, column.type) for column in columns]


def differing(found: Any, columns: Iterable[Column]) -> list[str]:
    """The columns that features in a card name otherwise, too many or not at all; never raises."""
    entries = found if isinstance(found, list) else [found]
    said = {_name(entry): entry for entry in entries}
    wanted = {feature["name"]: feature for feature in features_of(columns)}
    names = sorted(said.keys() | wanted.keys())
    return [name for name in names if said.get(name) != wanted.get(name)]


def _feature(name: str, type_text: str) -> dict[str, str]:
    if type_text.startswith("list<"):
        return {"name": name, "list": type_text.removeprefix("list<").removesuffix(">")}
    return {"name": name, "dtype": type_text}


def _name(entry: Any) -> str:
    return str(entry.get("name")) if isinstance(entry, dict) else "something that is no column"
