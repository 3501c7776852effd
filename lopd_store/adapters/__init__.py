"""Signals in the layouts of other trainers: a file an adapter, and a line in the table.

A module may offer any of these; the functions share no state and no base class.

    FILE: "parquet" or "jsonl"
        The kind of file that `export` fills.
    export(source: Source) -> Iterator[pa.RecordBatch]
        Rows as the trainer's own loader wants them, a row group at a time, all of one schema.
    collate(rows: DecodedRows, chosen: Ints, ...) -> dict[str, Any]
        Chosen rows as the trainer's own batch, in NumPy arrays.
    read(path: Path, renderer: Renderer | None) -> RowSource
        Rows of such a file in our columns, for `lopd-store import`.

docs/adapters.md says for each what its keys hold, and how to add one.
"""

from collections.abc import Mapping
from types import MappingProxyType, ModuleType
from typing import Final

from lopd_store.adapters import jsonl, lightning_opd, slime, trl, verl
from lopd_store.errors import UsageError

ADAPTERS: Final[Mapping[str, ModuleType]] = MappingProxyType(
    {
        "jsonl": jsonl,
        "lightning-opd": lightning_opd,
        "slime": slime,
        "trl": trl,
        "verl": verl,
    }
)
"""Name of a format, as `--format` takes it → the module that knows it."""


def offering(function: str) -> tuple[str, ...]:
    """Names of the formats whose adapter has this function, in order."""
    return tuple(sorted(name for name, module in ADAPTERS.items() if hasattr(module, function)))


def adapter(name: str, *, function: str) -> ModuleType:
    """The adapter of a format, once it has this function.

    Raises UsageError where there is no such format, or it does not go this way.
    """
    if name not in offering(function):
        raise UsageError(
            f"{function}: expected a format of {', '.join(offering(function))}, found {name!r}"
        )
    return ADAPTERS[name]
