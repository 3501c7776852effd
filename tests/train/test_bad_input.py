"""What a training run says to bad data and bad disks, and what it leaves behind."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.errors import StoreError
from lopd_store.identity.model import fingerprint
from lopd_store.stamping import read_stamp
from lopd_train.batches import BatchOptions
from lopd_train.checkpoints import Checkpoints
from lopd_train.opd import OpdOptions, train_opd
from lopd_train.options import OptimiserOptions, TrainOptions
from lopd_train.output import Output
from lopd_train.run import StepReport
from tests.building.chain import build_signal, identity_of, publish, random_rows, set_aside
from tests.train.chain import Chain, make_chain, metrics, opd


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Chain:
    return make_chain(tmp_path_factory.mktemp("chain"))


def shard_of(chain: Chain) -> Path:
    descriptor = load(chain.store, "signal").shards[-1]
    return chain.store.blobs.path(descriptor.digest)


def test_a_signal_with_a_missing_shard_is_refused_before_the_first_step(
    chain: Chain, tmp_path: Path
) -> None:
    with set_aside(shard_of(chain)):
        said = opd(chain, tmp_path / "out")
    assert said.code == 4, said.err
    assert not (tmp_path / "out").exists()


def test_a_signal_with_a_changed_shard_is_refused_before_the_first_step(
    chain: Chain, tmp_path: Path
) -> None:
    path = shard_of(chain)
    with set_aside(path):
        data = bytearray(path.with_name(path.name + ".aside").read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        said = opd(chain, tmp_path / "out")
        path.unlink()
    assert said.code == 3, said.err
    assert not (tmp_path / "out").exists()


def test_a_signal_that_is_empty_after_masking_is_refused(tmp_path: Path) -> None:
    chain = make_chain(tmp_path)
    rows = random_rows(5)
    responses = rows.column("response_ids").to_pylist()
    columns = {name: rows.column(name) for name in rows.schema.names}
    for name, value, kind in (
        ("loss_mask", False, pa.bool_()),
        ("rollout_logprobs", 0.0, pa.float32()),
    ):
        columns[name] = pa.array([[value] * len(ids) for ids in responses], pa.list_(kind))
    policy = fingerprint(str(chain.student))
    identity = identity_of("rollouts", policy, policy_stamp=read_stamp(chain.student))
    masked = [pa.RecordBatch.from_pydict(columns)]
    assert policy.tokenizer_blob is not None
    publish(chain.store, "masked", identity, masked, tokenizer_blob=policy.tokenizer_blob)
    build_signal(chain.store, chain.teacher, rollouts="masked", ref="signal")
    said = opd(chain, tmp_path / "out")
    assert said.code == 5
    assert "expected rows to train on, found none" in said.err


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_checkpoint(
    chain: Chain, tmp_path: Path
) -> None:
    many = ("--steps", 9, "--checkpoint-every", 1, "--learning-rate", "1e14")
    said = opd(chain, tmp_path / "out", *many)
    assert said.code == 1
    done = len(metrics(tmp_path / "out"))
    assert 0 < done < 9
    assert f"step {done + 1} of 9: expected a finite" in said.err
    kept = Checkpoints(tmp_path / "out" / "run" / "checkpoints").latest()
    assert kept is not None
    assert f"the last good checkpoint is kept: {kept}" in said.err
    assert f"{done}".zfill(8) in kept.name
    assert not (tmp_path / "out" / "lopd.json").exists()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not permit `{' '.join(mount)}`: {done.stderr}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class Filler:
    """A listener that fills the disk once a checkpoint is there."""

    def __init__(self, ballast: Path, *, after: int) -> None:
        self.ballast = ballast
        self.after = after

    def say(self, message: str) -> None:
        """Nobody reads this."""

    def begin(self, output: Output, *, step: int, steps: int) -> None:
        """Nothing to open."""

    def report(self, report: StepReport) -> None:
        if report.step == self.after:
            with self.ballast.open("wb", buffering=0) as file, suppress(OSError):
                while shutil.disk_usage(self.ballast.parent).free:
                    file.write(bytes(4096))


def test_a_full_disk_at_a_checkpoint_keeps_the_old_one_and_the_run_goes_on_later(
    chain: Chain, disk: Path, tmp_path: Path
) -> None:
    options = OpdOptions(
        train=TrainOptions(
            steps=4,
            checkpoint_every=2,
            batches=BatchOptions(batch=4),
            optimiser=OptimiserOptions(learning_rate=1e-3),
        )
    )
    filler = Filler(disk / "ballast", after=3)
    given = ("signal", str(chain.student))
    with pytest.raises(StoreError, match=r"the last good checkpoint is kept: .*step-00000002"):
        train_opd(*given, disk / "out", root=chain.root, options=options, listener=filler)
    checkpoints = Checkpoints(disk / "out" / "run" / "checkpoints")
    assert [path.name for path in checkpoints.all()] == ["step-00000002"]
    filler.ballast.unlink()
    filler.after = 99
    for folder in (disk / "out", tmp_path / "whole"):
        train_opd(*given, folder, root=chain.root, options=options, listener=filler)
    ours, whole = (folder / "model.safetensors" for folder in (disk / "out", tmp_path / "whole"))
    assert ours.read_bytes() == whole.read_bytes()
