"""A build on a full or read-only disk: said clearly, nothing lost, and it goes on afterwards.

The disks are small tmpfs mounts; where that is not permitted these tests are skipped and say so.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from lopd_store.errors import StoreError
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from tests.building.chain import build_signal, publish_rollouts, random_rows

ROWS = 400


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not permit `mount {' '.join(words)}`: {done.stderr}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def leave_free(folder: Path, count: int) -> Path:
    """Fill the disk but for `count` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(folder).free > count:
            file.write(bytes(4096))
    return ballast


def refusal(store: Store, teacher: Fingerprint) -> str:
    """What a build says that cannot go on; nothing if it comes to its end."""
    try:
        build_signal(store, teacher, chunk_tokens=2000)
    except StoreError as error:
        return str(error)
    return ""


def test_a_full_disk_costs_nothing_wherever_in_a_build_it_fills_up(
    disk: Path, tmp_path: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    elsewhere = Store.open(tmp_path / "elsewhere", create=True)
    publish_rollouts(elsewhere, student, [random_rows(ROWS)])
    expected = build_signal(elsewhere, teacher, chunk_tokens=2000).artifact
    store = Store.open(disk / "store", create=True)
    publish_rollouts(store, student, [random_rows(ROWS)])
    failures = 0
    for free in (0, *range(20_000, 400_000, 20_000)):
        ballast = leave_free(disk, free)
        said = refusal(store, teacher)
        ballast.unlink()
        if not said:
            break
        failures += 1
        assert "free some space" in said or "No space left" in said
        assert list(store.refs.list()) == ["rollouts"]
        assert store.fsck() == []
    assert failures > 5
    assert build_signal(store, teacher, chunk_tokens=2000).artifact == expected
    assert store.fsck() == []
    assert list(store.tmp.iterdir()) == []


def test_a_read_only_disk_refuses_a_build_and_stays_as_it_was(
    disk: Path, student: Fingerprint, teacher: Fingerprint
) -> None:
    store = Store.open(disk / "store", create=True)
    publish_rollouts(store, student, [random_rows(10)])
    mount("-o", "remount,ro", str(disk))
    with pytest.raises(StoreError, match="can be read but not written"):
        build_signal(Store.open(disk / "store", create=True), teacher)
    assert store.fsck() == []
