"""One store with a signal; further shard sets are made of its identity and its tokenizer."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.shard_sets import ShardSet, open_shard_set
from tests.sql.rows_made import write_folder
from tests.train.signals_made import Made, make_signals

Attach = Callable[..., ShardSet]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A store with `rollouts`, `signal` and `sft`; the signal has a mask and several shards."""
    return make_signals(tmp_path_factory.mktemp("made"), rows=40, shard_tokens=150, masked=True)


@pytest.fixture
def signal(made: Made) -> ShardSet:
    return open_shard_set("signal", root=made.store.root)


@pytest.fixture
def attach(made: Made, tmp_path: Path) -> Attach:
    """`attach(*batches)`: a shard set of theirs, each batch in files of its own."""
    identity = load(made.store, "signal").identities[0].encode()
    count = iter(range(1000))

    def attached(
        *batches: pa.RecordBatch, folder: str = "set", shard_tokens: int = 150
    ) -> ShardSet:
        place = tmp_path / f"{folder}{next(count)}"
        write_folder(place, batches, identity=identity, shard_tokens=shard_tokens)
        return open_shard_set(str(place), root=made.store.root)

    return attached


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_disks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
