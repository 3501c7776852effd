"""Imports in a line, and what came of them."""

from pathlib import Path
from typing import Any

from lopd_store.importing import Claims, Import, NamedTokenizer, import_file
from lopd_store.store import Store
from tests.building.chain import rows_in
from tests.importing.files import Row, write_lines


def of_release(
    store: Store, path: Path, tokenizer: NamedTokenizer, ref: str = "signal", **more: Any
) -> Import:
    claims = Claims(tokenizer=tokenizer)
    return import_file(store, path, format="lightning-opd", ref=ref, claims=claims, **more)


def of_lines(store: Store, rows: list[Row] | list[str], folder: Path, **more: Any) -> Import:
    path = write_lines(folder / "rows.jsonl", rows)
    return import_file(store, path, format="jsonl", ref="signal", **more)


def stored(store: Store, ref: str = "signal") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows_in(store, ref).to_pylist()
    return found
