"""Rows as plain arrays, the truth that SQL is compared with, and the same rows as shards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lopd_store.shards.writer import write_shards
from tests.building.chain import rows_of

Numbers = npt.NDArray[Any]
FLOATS = pa.list_(pa.float32())


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row; `trained` is its mask, all true where it has none."""

    sample_id: str
    prompt_id: str
    finish_reason: str
    ids: Numbers
    teacher: Numbers
    rollout: Numbers
    trained: Numbers

    @property
    def advantage(self) -> Numbers:
        return self.teacher.astype(np.float64) - self.rollout.astype(np.float64)


def random_batch(
    count: int, *, seed: int = 0, masked: bool = False, longest: int = 20, prompts: int = 7
) -> pa.RecordBatch:
    """Rows of few prompts; with a mask some rows train no token at all."""
    chance = np.random.default_rng(seed)
    lengths = chance.integers(1, longest, count)
    responses = [chance.integers(5, 267, n) for n in lengths]
    masks = [chance.random(n) < chance.choice([0.0, 0.6, 1.0]) for n in lengths]
    teacher, rollout = (
        [(-chance.exponential(2.0, n)).astype(np.float32) for n in lengths] for _ in range(2)
    )
    more: dict[str, Any] = {}
    if masked:
        more["loss_mask"] = pa.array([mask.tolist() for mask in masks], pa.list_(pa.bool_()))
        for values in (teacher, rollout):
            for value, mask in zip(values, masks, strict=True):
                value[~mask] = -99.0  # not 0.0, as verify wants it: it must not count
    rows = rows_of(
        [[5 + int(n)] for n in chance.integers(0, prompts, count)],
        [response.tolist() for response in responses],
        rollout_logprobs=[values.tolist() for values in rollout],
        teacher_logprobs=pa.array([values.tolist() for values in teacher], FLOATS),
        **more,
    )
    reasons = pa.array(chance.choice(["stop", "length", "abort"], count).tolist())
    return with_column(rows, "finish_reason", reasons)


def another_teacher(batch: pa.RecordBatch, *, seed: int, masked: bool) -> pa.RecordBatch:
    """The same samples with other log-probs of a teacher, and a mask of their own."""
    chance = np.random.default_rng(seed)
    lengths = [len(ids) for ids in batch["response_ids"].to_pylist()]
    teacher = [(-chance.exponential(2.0, n)).astype(np.float32).tolist() for n in lengths]
    changed = with_column(batch, "teacher_logprobs", pa.array(teacher, FLOATS))
    if not masked:
        return changed
    masks = [(chance.random(n) < 0.5).tolist() for n in lengths]
    return with_column(changed, "loss_mask", pa.array(masks, pa.list_(pa.bool_())))


def with_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """The rows with another column of that name."""
    columns = {each: batch.column(each) for each in batch.schema.names}
    return pa.RecordBatch.from_pydict(columns | {name: values})


def truth(*batches: pa.RecordBatch) -> list[Row]:
    """The rows of batches, in their order."""
    return [
        Row(
            sample_id=row["sample_id"],
            prompt_id=row["prompt_id"],
            finish_reason=row["finish_reason"],
            ids=np.array(row["response_ids"]),
            teacher=np.array(row["teacher_logprobs"], np.float32),
            rollout=np.array(row["rollout_logprobs"], np.float32),
            trained=np.array(row.get("loss_mask") or [True] * len(row["response_ids"])),
        )
        for batch in batches
        for row in batch.to_pylist()
    ]


def write_folder(
    folder: Path, batches: Sequence[pa.RecordBatch], *, identity: bytes, shard_tokens: int
) -> None:
    """Shards of batches, in their order; batches may differ in their columns."""
    for number, batch in enumerate(batches):
        part = folder / f"part-{number}"
        part.mkdir(parents=True)
        shards = write_shards(
            [batch], identity=identity, folder=part, shard_tokens=shard_tokens, row_group_tokens=60
        )
        for shard in list(shards):
            shard.path.rename(folder / f"{number:03}-{shard.path.name}")
        part.rmdir()


def tokens_of(rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Each token that trains: its row and its position."""
    return ((row, at) for row in rows for at in range(len(row.ids)) if row.trained[at])
