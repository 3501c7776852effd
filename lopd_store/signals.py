"""A signal with what people do to it: `open_signal` is the way in.

    signal = open_signal("math/qwen3-8b:v3", root=Path("store"))
    signal.sql("select avg(advantage) from tokens").fetchall()
    rows = signal.open_rows(where="finish_reason = 'stop'")

What answers (DuckDB, polars, pandas, `datasets`) is imported when it is asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa

from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.loading.packages import package
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.store import default_root


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal(ShardSet):
    """Rows to train on, to check or to ask, and who made them.

    `columns` are names, None for all of the format but texts and top-k. `where` is a condition on
    a row in SQL, such as `finish_reason = 'stop' and len(response_ids) > 100`; it is answered from
    the shards, where only the columns that it names are read. All methods raise UsageError on a
    column that is not there, on none, or on a condition that DuckDB does not take; IntegrityError,
    NotFoundError and FormatError where a shard or a value is damaged, gone or not valid.
    """

    def open_rows(
        self, columns: Sequence[str] | None = None, *, where: str | None = None
    ) -> DecodedRows:
        """Rows as memory-mapped arrays, decoded and checked once; those of a condition, copied."""
        rows = DecodedRows.open(self, columns)
        if where is None:
            return rows
        from lopd_store.sql.selecting import matching_rows

        return rows.only(matching_rows(self, where))

    def sql(self, query: str, **others: ShardSet | str) -> Any:
        """A DuckDB relation over `signals`, `rollouts`, `tokens` and the macros of docs/sql.md.

        Args:
            query: one statement that reads. It can read nothing but these signals.
            others: further ones by the names of their schemas, as in `from b.tokens`; this one's
                is `a`. A name is looked up where this one's was.
        """
        from lopd_store.sql.session import query as run

        root = self.store.root if self.store else None
        sets = {
            name: open_shard_set(other, root=root) if isinstance(other, str) else other
            for name, other in others.items()
        }
        return run({"a": self} | sets, query)

    def arrow(self, columns: Sequence[str] | None = None, *, where: str | None = None) -> pa.Table:
        """A pyarrow.Table over the memory of `open_rows`."""
        return self.open_rows(columns, where=where).table()

    def pl(self, columns: Sequence[str] | None = None, *, where: str | None = None) -> Any:
        """A polars.DataFrame over the buffers of `arrow`. Raises UsageError without polars."""
        polars = package("polars")
        return polars.from_arrow(self.arrow(columns, where=where))

    def df(self, columns: Sequence[str] | None = None, *, where: str | None = None) -> Any:
        """A pandas.DataFrame; lists become NumPy arrays. Raises UsageError without pandas."""
        package("pandas")
        return self.arrow(columns, where=where).to_pandas()

    def dataset(self, columns: Sequence[str] | None = None, *, where: str | None = None) -> Any:
        """A `datasets.Dataset` over the memory of `open_rows`; see `loading.huggingface`."""
        from lopd_store.loading.huggingface import dataset

        return dataset(self.open_rows(columns, where=where))


def open_signal(name: str, *, root: Path | None = None) -> Signal:
    """Open what a person names: a file, a folder, else a ref or id, else a name on the Hub.

    On the Hub that is `org/name[/config[/split]][@revision][@sha256:…]`, downloaded into the cache
    of the Hub's client. With a digest it can only be that artifact; where there is a store, it
    remembers what was opened, so that a tag that moved is noticed.

    Args:
        name: see `open_shard_set`, also for what is raised.
        root: the store's folder; None for the commands' own: LOPD_STORE, else ~/.cache/lopd.
    """
    found = open_shard_set(name, root=default_root() if root is None else root)
    return Signal(**{each.name: getattr(found, each.name) for each in fields(found)})
