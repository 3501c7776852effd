"""Every name that opens a signal, and what is said of those that do not."""

import shutil
from pathlib import Path

import pytest

from lopd_store.errors import FormatError, NotFoundError, UsageError
from lopd_store.signals import open_signal
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, root, signal, store, student, teacher

__all__ = ["built", "models", "origin", "root", "signal", "store", "student", "teacher"]


def shards_of(store: Store, to: Path) -> Path:
    """The signal's shards as plain files in a folder."""
    to.mkdir()
    for number, shard in enumerate(open_signal("signal", root=store.root).open_shards()):
        shutil.copy(shard.path, to / f"{number:05}.parquet")
    return to


def test_a_ref_and_an_id_open_the_same_artifact(signal: Store) -> None:
    by_ref = open_signal("signal", root=signal.root)
    assert by_ref.id is not None
    by_id = open_signal(str(by_ref.id), root=signal.root)
    assert (by_id.id, by_id.rows, by_id.kind) == (by_ref.id, 60, "signal")
    assert sum(shard.rows for shard in by_id.open_shards()) == 60


def test_a_folder_of_shards_is_the_rows_of_its_artifact(signal: Store, tmp_path: Path) -> None:
    artifact = open_signal("signal", root=signal.root)
    found = open_signal(str(shards_of(signal, tmp_path / "shards")), root=None)
    assert (found.id, found.kind, found.rows) == (None, "signal", artifact.rows)
    assert found.identities == artifact.identities


def test_a_whole_store_is_not_a_signal(signal: Store) -> None:
    with pytest.raises(UsageError, match="is a whole store"):
        open_signal(str(signal.root), root=signal.root)


def test_a_missing_shard_is_found_before_any_is_opened(signal: Store) -> None:
    *_, last = open_signal("signal", root=signal.root).open_shards()
    last.path.unlink()
    with pytest.raises(NotFoundError, match=last.path.name):
        open_signal("signal", root=signal.root)


def test_shards_of_several_kinds_are_refused(signal: Store, tmp_path: Path) -> None:
    folder = shards_of(signal, tmp_path / "shards")
    for shard in open_signal("rollouts", root=signal.root).open_shards():
        shutil.copy(shard.path, folder / "rollouts.parquet")
    with pytest.raises(FormatError, match="one kind, found rollouts and signal"):
        open_signal(str(folder), root=None)
