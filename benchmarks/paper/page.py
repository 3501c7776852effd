"""Puts the tables into `docs/paper.md`: the text between a table's two marks is replaced."""

import re
from collections.abc import Mapping
from pathlib import Path

from lopd_store.errors import FormatError


def fill(text: str, tables: Mapping[str, str]) -> str:
    """`text` with every table in its place.

    Raises FormatError where the page lacks a table's marks, or has those of none.
    """
    marked = set(re.findall(r"<!-- table: (\S+) -->", text))
    if marked != tables.keys():
        raise FormatError(
            f"expected marks of the tables {sorted(tables)}, found those of {sorted(marked)}"
        )
    for name, table in tables.items():
        begin, end = f"<!-- table: {name} -->", "<!-- end -->"
        before, _, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not closed:
            raise FormatError(f"expected {end} after {begin}, found none")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def refresh(file: Path, tables: Mapping[str, str]) -> None:
    """The same for a file."""
    file.write_text(fill(file.read_text(encoding="utf-8"), tables), encoding="utf-8")
