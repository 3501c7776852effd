"""Killed, repeated, or next to gc: what was made is not made again, and nothing is lost."""

import os
import shutil
import time
from pathlib import Path

import pyarrow as pa
import pytest

from lopd_store.artifacts import Artifact, load
from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError
from lopd_store.identity.model import Fingerprint
from lopd_store.publishing.derive import derive
from lopd_store.rows.precision import Precision
from lopd_store.store import Store
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.chain import identity_of, publish, random_rows, rows_in
from tests.publishing.saying import Heard

DAY = 24 * 60 * 60


class Stops(Heard):
    """Ctrl-C after the first shard."""

    def advance(self, amount: int, /) -> None:
        super().advance(amount)
        raise KeyboardInterrupt


class Collects(Heard):
    """A gc without grace after each shard."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def advance(self, amount: int, /) -> None:
        super().advance(amount)
        self.store.gc(grace_seconds=0)


def settle(store: Store) -> None:
    """Make all blobs as old as they are when a person comes back."""
    for path in store.blobs.folder.iterdir():
        then = path.stat().st_mtime - DAY / 2
        os.utime(path, (then, then))
    time.sleep(0.05)  # what changed a moment ago is not remembered


def damage(store: Store, blob: Digest) -> None:
    """One bit of the first byte."""
    path = store.blobs.path(blob)
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(bytes([data[0] ^ 1]) + data[1:])


def is_valid(store: Store, artifact: Artifact) -> bool:
    return verify_artifact(store, str(artifact.id), Depth()).problems == []


def times(store: Store, artifact: Artifact) -> list[int]:
    return [store.blobs.path(part.digest).stat().st_mtime_ns for part in artifact.shards]


def test_a_shard_that_is_done_is_not_decoded_again(signal: Store) -> None:
    """The tokenizer is damaged, so whoever opened it would raise."""
    source = load(signal, "signal")
    settle(signal)
    made = derive(signal, source)
    signal.blobs.path(made.id).unlink()
    damage(signal, source.manifest.tokenizers[0].digest)
    assert derive(signal, source).id == made.id
    with pytest.raises(IntegrityError):
        derive(signal, source, precision=Precision.parse("2^-6"))


def test_what_is_whole_is_taken_as_it_is(signal: Store) -> None:
    source = load(signal, "signal")
    settle(signal)
    made, heard = derive(signal, source), Heard()
    assert derive(signal, source, progress=heard).id == made.id
    assert heard.total == 0


def test_a_stopped_run_keeps_its_finished_shards(signal: Store) -> None:
    source = load(signal, "signal")
    settle(signal)
    before = set(signal.blobs.all())
    with pytest.raises(KeyboardInterrupt):
        derive(signal, source, progress=Stops())
    (first,) = set(signal.blobs.all()) - before
    assert not list(signal.builds.glob("derive-*"))
    was = signal.blobs.path(first).stat().st_mtime_ns
    made = derive(signal, source)
    assert made.shards[0].digest == first
    assert times(signal, made)[0] == was
    assert is_valid(signal, made)


def test_a_run_that_was_killed_leaves_nothing_in_the_way(signal: Store, tmp_path: Path) -> None:
    class Copies(Heard):
        def advance(self, amount: int, /) -> None:
            super().advance(amount)
            (folder,) = signal.builds.glob("derive-*")
            shutil.copytree(folder, tmp_path / folder.name, dirs_exist_ok=True)

    made = derive(signal, load(signal, "signal"), progress=Copies())
    (left,) = tmp_path.glob("derive-*")
    shutil.copytree(left, signal.builds / left.name)
    with (signal.builds / left.name / "holds").open("a") as holds:
        holds.write("sha256:00")  # cut short by the kill
    signal.gc(grace_seconds=0)
    assert derive(signal, load(signal, "signal"), progress=Collects(signal)).id == made.id
    assert not (signal.builds / left.name).exists()


def test_gc_takes_nothing_from_a_run_at_work(signal: Store) -> None:
    held: list[Digest] = []
    made = derive(signal, load(signal, "signal"), progress=Collects(signal), hold=held.append)
    assert held == [made.id]
    assert is_valid(signal, made)
    assert signal.fsck() == []


def test_gc_takes_what_nobody_published(signal: Store) -> None:
    before = set(signal.blobs.all())
    derive(signal, load(signal, "signal"))
    signal.gc(grace_seconds=0)
    assert set(signal.blobs.all()) == before
    assert is_valid(signal, derive(signal, load(signal, "signal")))


def test_a_rotten_result_is_made_again(signal: Store) -> None:
    source = load(signal, "signal")
    settle(signal)
    made = derive(signal, source)
    damage(signal, made.shards[1].digest)
    assert derive(signal, source).id == made.id
    assert is_valid(signal, made)


def test_a_rotten_source_is_refused(signal: Store) -> None:
    source = load(signal, "signal")
    damage(signal, source.shards[1].digest)
    with pytest.raises(IntegrityError):
        derive(signal, source)


def test_a_link_in_the_place_of_the_memory_is_refused(signal: Store, tmp_path: Path) -> None:
    (signal.work / "derived").symlink_to(tmp_path)
    with pytest.raises(IntegrityError, match="symbolic link"):
        derive(signal, load(signal, "signal"))
    assert list(tmp_path.glob("*.json")) == []


def test_versions_that_share_shards_share_what_is_made_of_them(
    store: Store, teacher: Fingerprint
) -> None:
    identity = identity_of("sft", teacher)
    assert teacher.tokenizer_blob is not None
    old, new = random_rows(300), random_rows(30, seed=1)
    found = []
    for ref, rows in (("v1", [old]), ("v2", [old, new])):
        publish(store, ref, identity, rows, tokenizer_blob=teacher.tokenizer_blob, shard_tokens=800)
        found.append(derive(store, load(store, ref)))
    one, other = ([part.digest for part in each.shards] for each in found)
    assert len(one) > 4
    assert other[: len(one) - 1] == one[:-1]
    assert is_valid(store, found[1])


def test_numbers_of_repeated_samples_stay(store: Store, teacher: Fingerprint) -> None:
    identity = identity_of("sft", teacher)
    rows = random_rows(5)
    assert teacher.tokenizer_blob is not None
    publish(store, "sft", identity, [rows, rows], tokenizer_blob=teacher.tokenizer_blob)
    made = derive(store, load(store, "sft"))
    assert made.document.duplicates == 5
    assert is_valid(store, made)


def test_text_that_is_there_already_stays(store: Store, teacher: Fingerprint) -> None:
    shown = pa.array([None, *(f"question {i}" for i in range(4))], pa.string())
    rows = random_rows(5, prompt_text=shown)
    assert teacher.tokenizer_blob is not None
    identity = identity_of("sft", teacher)
    publish(store, "sft", identity, [rows], tokenizer_blob=teacher.tokenizer_blob)
    made = derive(store, load(store, "sft"))
    found = rows_in(store, str(made.id))
    assert found.column("prompt_text").to_pylist() == shown.to_pylist()
    assert all(found.column("response_text").to_pylist())
    assert is_valid(store, made)
