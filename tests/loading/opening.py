"""Processes that open decoded rows; they import no more than that needs."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.shard_sets import ShardSet, open_shard_set
from lopd_store.shards.reader import Shard


def while_decoding(shards: ShardSet, do: Callable[[], None]) -> ShardSet:
    """The same shards; `do` is done when the first of them is about to be decoded."""
    times = iter(range(9))

    def opened() -> Iterator[Shard]:
        if next(times) == 1:  # at first, the columns are looked at
            do()
        yield from shards.open_shards()

    return replace(shards, _open=opened)


def open_together(root: Path, barrier: Any, found: Any) -> None:
    """Open a store's signal when the others do, and put its sample ids into the queue."""
    shards = open_shard_set("signal", root=root)
    barrier.wait(60)
    found.put(DecodedRows.open(shards).column("sample_id").to_pylist())


def open_and_wait(root: Path, begun: Any) -> None:
    """Decode a store's signal, say so once files are there, and never come to an end."""

    def wait() -> None:
        begun.set()
        time.sleep(600)

    DecodedRows.open(while_decoding(open_shard_set("signal", root=root), wait))
