"""Tiny real signals and sft data in a store of the test's own, and rows as arrays by hand."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lopd_store.digest import Digest
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_train.rows import Rows
from tests.building.chain import build_signal, identity_of, publish, publish_rollouts, random_rows
from tests.models import save_model


@dataclass(frozen=True, kw_only=True)
class Made:
    """A store with `rollouts` of the student, the teacher's `signal` on them, and `sft` data."""

    store: Store
    teacher: Fingerprint
    student: Fingerprint
    rollouts: Digest
    signal: Digest
    sft: Digest


def make_signals(
    folder: Path,
    *,
    rows: int = 12,
    longest: int = 24,
    masked: bool = False,
    architecture: str = "qwen2",
    **options: Any,
) -> Made:
    """Models and a store below `folder`; `options` go to `build_signal`, as `shard_tokens` does.

    Log-probs are arithmetic, not the models'. `masked`: every third position is not trained.
    """
    teacher = fingerprint(str(save_model(folder / "teacher", architecture, seed=1)))
    student = fingerprint(str(save_model(folder / "student", architecture, seed=2)))
    store = Store.open(folder / "store", create=True, sync=no_sync)
    batch = random_rows(rows, longest=longest)
    sft = identity_of("sft", teacher)
    assert teacher.tokenizer_blob is not None
    rollouts = publish_rollouts(store, student, [masked_rows(batch) if masked else batch])
    signal = build_signal(store, teacher, **options).artifact
    assert signal is not None
    return Made(
        store=store,
        teacher=teacher,
        student=student,
        rollouts=rollouts,
        signal=signal,
        sft=publish(store, "sft", sft, [batch], tokenizer_blob=teacher.tokenizer_blob),
    )


def masked_rows(batch: pa.RecordBatch, *, every: int = 3) -> pa.RecordBatch:
    """The same rows with a loss_mask that is false at every so many positions, from the first."""
    responses = batch.column("response_ids").to_pylist()
    masks = [[place % every != 0 for place, _ in enumerate(ids)] for ids in responses]
    logprobs = [
        [value if on else 0.0 for value, on in zip(row, mask, strict=True)]
        for row, mask in zip(batch.column("rollout_logprobs").to_pylist(), masks, strict=True)
    ]
    columns = {name: batch.column(name) for name in batch.schema.names}
    columns["rollout_logprobs"] = pa.array(logprobs, pa.list_(pa.float32()))
    columns["loss_mask"] = pa.array(masks, pa.list_(pa.bool_()))
    return pa.RecordBatch.from_pydict(columns)


def rows_by_hand(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    *,
    trained: Sequence[Sequence[bool]] | None = None,
    teacher: Sequence[Sequence[float]] | None = None,
    rollout: Sequence[Sequence[float]] | None = None,
) -> Rows:
    """Rows of plain lists; all response ids are trained unless `trained` says otherwise."""
    masks = trained or [[True] * len(ids) for ids in responses]
    return Rows(
        prompt_offsets=np.cumsum([0, *map(len, prompts)]),
        prompt_ids=np.array([i for ids in prompts for i in ids], np.int32),
        response_offsets=np.cumsum([0, *map(len, responses)]),
        response_ids=np.array([i for ids in responses for i in ids], np.int32),
        trained=np.array([on for mask in masks for on in mask], np.bool_),
        teacher_logprobs=_flat(teacher),
        rollout_logprobs=_flat(rollout),
    )


def random_rows_by_hand(count: int, *, seed: int = 0, longest: int = 12) -> Rows:
    """Rows with prompts of 1 to 8 ids and random masks; every row has a trained position."""
    chance = np.random.default_rng(seed)
    prompts = [chance.integers(5, 267, chance.integers(1, 9)).tolist() for _ in range(count)]
    responses = [chance.integers(5, 267, chance.integers(1, longest)).tolist() for _ in prompts]
    trained = [(chance.random(len(ids)) < 0.7).tolist() for ids in responses]
    for mask in trained:
        mask[chance.integers(len(mask))] = True
    logprobs = [
        [(-chance.exponential(1.0, len(ids))).tolist() for ids in responses] for _ in range(2)
    ]
    teacher, rollout = logprobs
    return rows_by_hand(prompts, responses, trained=trained, teacher=teacher, rollout=rollout)


def _flat(rows: Sequence[Sequence[float]] | None) -> Any:
    return None if rows is None else np.array([v for row in rows for v in row], np.float32)
