"""Rows to write, built from plain lists, and a small signed shard to damage."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.rows import columns, sample_id
from lopd_store.shards.writer import ShardFile, write_shards

IDENTITY = b'{"format":"lopd.identity.v1","kind":"signal"}'
Samples = Sequence[tuple[list[int], list[int]]]
Rows = Callable[..., pa.RecordBatch]


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_disks() -> Iterator[None]:
    """A property writes hundreds of shards; one test looks at fsync itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def identity() -> bytes:
    """Identity bytes of a signal: enough for a footer."""
    return IDENTITY


@pytest.fixture(scope="session")
def rows() -> Rows:
    """`rows(samples, **more)`: a batch of signal rows; log-probs follow from a seed."""
    return make


@pytest.fixture
def shard(tmp_path: Path) -> ShardFile:
    """One shard of 40 rows in 4 row groups."""
    samples = [([row, row + 1], list(range(1 + row % 7, 9 + row % 7))) for row in range(40)]
    batch = make(samples, answer=[f"answer {row % 3}" for row in range(40)])
    (written,) = write_shards([batch], identity=IDENTITY, folder=tmp_path, row_group_tokens=100)
    return written


def make(samples: Samples, **more: list[Any]) -> pa.RecordBatch:
    """Signal rows with these ids, in shard order; `more` are further columns."""
    random = np.random.default_rng(7)
    prompts: Any = pa.array([prompt for prompt, _ in samples], pa.list_(pa.int32()))
    responses: Any = pa.array([response for _, response in samples], pa.list_(pa.int32()))
    logprobs = [
        (-random.exponential(size=len(response))).astype(np.float32) for _, response in samples
    ]
    given: dict[str, Any] = {
        "sample_id": sample_id.sample_ids(prompts, responses),
        "prompt_id": sample_id.prompt_ids_digests(prompts),
        "prompt_ids": prompts,
        "response_ids": responses,
        "teacher_logprobs": pa.array(logprobs, pa.list_(pa.float32())),
        "finish_reason": pa.array(["stop"] * len(samples), pa.string()),
        **{name: pa.array(values, _type(name)) for name, values in more.items()},
    }
    return pa.record_batch({name: given[name] for name in columns.ordered(given)})


def _type(name: str) -> pa.DataType | None:
    return pa.list_(pa.string()) if name == "tags" else columns.TYPES.get(name)
