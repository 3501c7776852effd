"""Samples for slime come out of the file whole, through classes shaped as slime's are."""

import copy
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lopd_store.adapters import slime
from lopd_store.adapters.exporting import export
from lopd_store.adapters.slime_rollout import generate_rollout
from lopd_store.errors import FormatError, UsageError
from lopd_store.loading.decoded_rows import DecodedRows
from lopd_store.signals import Signal
from tests.adapters.alike import Model


@dataclass
class Sample:
    """The fields of slime's `Sample` (624b824, utils/types.py) that its training reads."""

    prompt: str = ""
    index: int | None = None
    tokens: list[int] = field(default_factory=list)
    response_length: int = 0
    reward: float | None = None
    loss_mask: list[int] | None = None
    rollout_log_probs: list[float] | None = None
    teacher_log_probs: list[float] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    class Status(Enum):
        PENDING = "pending"
        COMPLETED = "completed"
        TRUNCATED = "truncated"
        ABORTED = "aborted"

    status: Status = Status.PENDING


@dataclass
class DataSource:
    """As slime's `RolloutDataSource`: rows in file order, copied, one group a prompt."""

    samples: list[Sample]
    taken: int = 0

    @classmethod
    def of(cls, path: Path) -> "DataSource":
        """As slime's `Dataset` with --input-key prompt."""
        rows = [row for batch in pq.ParquetFile(path).iter_batches() for row in batch.to_pylist()]
        return cls(
            [Sample(prompt=row["prompt"], metadata=row.get("metadata") or {}) for row in rows]
        )

    def get_samples(self, count: int) -> list[list[Sample]]:
        found = copy.deepcopy(self.samples[self.taken : self.taken + count])
        for place, sample in enumerate(found):
            sample.index = self.taken + place
        self.taken += count
        return [[sample] for sample in found]


def arguments(**more: int) -> Any:
    return SimpleNamespace(**({"rollout_batch_size": 4, "n_samples_per_prompt": 1} | more))


@pytest.fixture
def source(alike: tuple[Signal, Model], tmp_path: Path) -> DataSource:
    export(alike[0], tmp_path / "signal.parquet", format="slime")
    return DataSource.of(tmp_path / "signal.parquet")


def test_the_samples_are_those_of_the_batch(source: DataSource, rows: DecodedRows) -> None:
    """Twice four samples: what slime makes of them is what `collate` gives for these rows."""
    for first in (0, 4):
        groups = generate_rollout(arguments(), 0, source)
        assert [len(group) for group in groups] == [1] * 4
        samples = [group[0] for group in groups]
        data = slime.collate(rows, range(first, first + 4))
        found = {
            "tokens": [one.tokens for one in samples],
            "response_lengths": [one.response_length for one in samples],
            "rewards": [one.reward for one in samples],
            "truncated": [int(one.status is Sample.Status.TRUNCATED) for one in samples],
            "sample_indices": [one.index for one in samples],
            "loss_masks": [one.loss_mask for one in samples],
            "rollout_log_probs": [one.rollout_log_probs for one in samples],
            "teacher_log_probs": [one.teacher_log_probs for one in samples],
        }
        for name, values in found.items():
            expected = [np.asarray(one).tolist() for one in data[name]]
            assert values == expected, name


def test_a_filled_sample_does_not_keep_its_lists_twice(source: DataSource) -> None:
    [[sample], *_] = generate_rollout(arguments(), 0, source)
    assert list(sample.metadata) == ["sample_id"]
    assert set(source.samples[0].metadata) > {"sample_id", "tokens"}


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        ("stop", "COMPLETED"),
        ("length", "TRUNCATED"),
        ("abort", "ABORTED"),
        ("unknown", "COMPLETED"),
    ],
)
def test_why_a_response_ended_is_its_status(reason: str, status: str, source: DataSource) -> None:
    source.samples[0].metadata["finish_reason"] = reason
    [[sample], *_] = generate_rollout(arguments(), 0, source)
    assert sample.status is Sample.Status[status]


def test_an_evaluation_is_refused(source: DataSource) -> None:
    with pytest.raises(UsageError, match="expected training"):
        generate_rollout(arguments(), 0, source, evaluation=True)


def test_several_samples_a_prompt_are_refused(source: DataSource) -> None:
    with pytest.raises(UsageError, match="--n-samples-per-prompt 1"):
        generate_rollout(arguments(n_samples_per_prompt=8), 0, source)


def test_metadata_of_another_file_is_refused() -> None:
    other = DataSource([Sample(metadata={"tokens": [1, 2]})])
    with pytest.raises(FormatError, match="no response_length, loss_mask, teacher_log_probs"):
        generate_rollout(arguments(), 0, other)
