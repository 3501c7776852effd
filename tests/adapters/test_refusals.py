"""What does not belong in a trainer's file does not get there."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lopd_store.adapters import offering
from lopd_store.adapters.exporting import export
from lopd_store.errors import FormatError, UsageError
from lopd_store.shards.writer import write_shards
from lopd_store.signals import Signal, open_signal
from tests.train.signals_made import Made, make_signals

OURS = ("slime", "trl", "verl")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_signals(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def signal(made: Made) -> Signal:
    return open_signal("signal", root=made.store.root)


def test_sft_data_is_for_trl_alone(made: Made, tmp_path: Path) -> None:
    sft = open_signal("sft", root=made.store.root)
    export(sft, tmp_path / "sft.parquet", format="trl")
    assert "teacher_logprobs" not in pq.read_schema(tmp_path / "sft.parquet").names
    for name in ("slime", "verl"):
        with pytest.raises(UsageError, match="expected kind signal, found sft"):
            export(sft, tmp_path / "no.parquet", format=name)


@pytest.mark.parametrize("name", OURS)
def test_rollouts_nobody_scored_are_for_no_trainer(name: str, made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found rollouts; `lopd-store build`"):
        export(open_signal("rollouts", root=made.store.root), tmp_path / "no", format=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", OURS)
def test_values_that_are_no_log_probs_do_not_leave_the_house(
    name: str, signal: Signal, tmp_path: Path
) -> None:
    """A stray shard whose teacher says NaN: coherent in every digest, wrong in a number."""
    shard = next(iter(signal.open_shards()))
    batch = next(shard.batches())
    columns = {one: batch.column(one) for one in batch.schema.names}
    values: Any = columns["teacher_logprobs"]
    numbers = np.array(values.values)
    numbers[3] = np.nan
    columns["teacher_logprobs"] = pa.ListArray.from_arrays(values.offsets, pa.array(numbers))
    bad = pa.RecordBatch.from_pydict(columns)
    [written] = write_shards([bad], identity=shard.identity_bytes, folder=tmp_path)
    with pytest.raises(FormatError, match="not-finite"):
        export(open_signal(str(written.path), root=None), tmp_path / "out", format=name)
    assert [path.name for path in tmp_path.iterdir()] == [written.path.name]


def test_every_format_of_ours_is_on_the_table() -> None:
    assert set(OURS) <= set(offering("export"))
    assert set(OURS) <= set(offering("collate"))


def test_an_unknown_format_is_refused_with_those_there_are(signal: Signal, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"slime.*trl.*verl.*found 'axolotl'"):
        export(signal, tmp_path / "out", format="axolotl")
