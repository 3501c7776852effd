"""Decoded rows as a `datasets.Dataset`, without a copy."""

from typing import Any

from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.loading.packages import package


def dataset(rows: DecodedRows) -> Any:
    """The open columns as a `datasets.Dataset` over the same memory maps.

    A process that is forked shares them. One that is spawned, as `map(num_proc=…)` does, gets a
    copy of the rows it works on. `.to_iterable_dataset()` makes an IterableDataset of it.

    Raises UsageError where `datasets` is not installed.
    """
    datasets = package("datasets")
    table = datasets.table.InMemoryTable(rows.table())
    # By itself `datasets` would read all rows to name them.
    return datasets.Dataset(table, fingerprint=rows.name.hex[:16])
