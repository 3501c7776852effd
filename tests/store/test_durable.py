"""A full disk, a read-only one, a limit on file sizes: said clearly, and nothing is lost.

The disks are small tmpfs mounts; where that is not permitted these tests are skipped and say so.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lopd_store.errors import StoreError
from lopd_store.store import Store, durable

LIMITED = """
import resource, sys
from pathlib import Path
from lopd_store.errors import StoreError
from lopd_store.store import Store
store = Store.open(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    store.blobs.put(bytes(10_000))
except StoreError as error:
    print(error)
"""


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(
            f"this machine does not permit `mount {' '.join(words)}`: {done.stderr.strip()}"
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(512)):
            pass
    assert shutil.disk_usage(folder).free == 0


def test_on_a_full_disk_nothing_is_lost_and_gc_frees_space(
    small_disk: Path, publish: Any, independent: Callable[[str], dict[str, Any]]
) -> None:
    store = Store.open(small_disk / "store", create=True)
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    waste = store.blobs.put(bytes(200_000))
    for path in store.blobs.folder.iterdir():
        os.utime(path, (1, 1))
    fill(small_disk)
    before = independent(str(store.root))
    for change in (
        lambda: store.blobs.put(b"x" * 100_000),
        lambda: store.refs.remove("a"),
        lambda: store.refs.move("b", artifact, expected=None),
        lambda: Store.open(small_disk / "other", create=True),
    ):
        with pytest.raises(StoreError, match="No space left on device: free some space"):
            change()
    assert independent(str(store.root)) == before
    assert before["problems"] == []
    assert store.fsck() == []
    assert list(store.tmp.iterdir()) == []
    assert [entry.after for entry in store.log.read("a")] == [artifact.digest]
    assert store.log.read("b") == []
    assert store.gc().removed == (waste,)
    store.refs.move("b", artifact, expected=None)
    assert list(store.refs.list()) == ["a", "b"]


def test_a_file_too_large_for_a_full_disk_stays_with_its_owner(
    small_disk: Path, tmp_path: Path
) -> None:
    store = Store.open(small_disk / "store", create=True)
    source = tmp_path / "shard"
    source.write_bytes(bytes(2 << 20))
    with pytest.raises(StoreError, match="No space left"):
        store.blobs.put_file(source)
    assert source.stat().st_size == 2 << 20
    assert list(store.tmp.iterdir()) == []
    assert store.fsck() == []


def test_a_read_only_store_is_read_and_says_that_it_is(small_disk: Path, publish: Any) -> None:
    store = Store.open(small_disk / "store", create=True)
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    store.refs.attach(publish(store, "noise", subject=artifact))
    mount("-o", "remount,ro", str(small_disk))
    store = Store.open(small_disk / "store", create=True)
    assert store.refs.resolve("a") == artifact.digest
    assert store.blobs.get(artifact.digest, size=artifact.size)
    assert len(store.evidence(artifact.digest)) == 1
    assert len(store.log.read("a")) == 1
    assert store.fsck() == []
    assert store.gc(dry_run=True).removed == ()
    for change in (
        lambda: store.blobs.put(b"more"),
        lambda: store.blobs.put(b"rows"),
        lambda: store.refs.remove("a"),
        lambda: store.refs.move("b", artifact, expected=None),
        store.gc,
        lambda: Store.open(small_disk / "other", create=True),
    ):
        with pytest.raises(StoreError, match="can be read but not written"):
            change()


def test_a_store_copied_without_our_folder_can_be_read_and_written(
    store: Store, publish: Any
) -> None:
    """As another tool copies it: layout, index and blobs."""
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    store.work.rename(store.root.parent / "gone")
    again = Store.open(store.root)
    assert again.refs.resolve("a") == artifact.digest
    assert again.log.read("a") == []
    assert again.fsck() == []
    assert again.gc().removed == ()
    again.refs.move("b", publish(again, "more"), expected=None)
    assert again.fsck() == []


def test_a_limit_on_file_sizes_is_an_error_and_not_a_torn_blob(store: Store) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(store.root)], capture_output=True, text=True, check=True
    )
    assert "File too large: raise the limit" in done.stdout
    assert list(store.blobs.all()) == []
    assert list(store.tmp.iterdir()) == []


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (13, "ask its owner for write permission"),
        (1, "ask its owner for write permission"),
        (5, "the disk reports an error: check it"),
        (122, "free some space"),
    ],
    ids=["EACCES", "EPERM", "EIO", "EDQUOT"],
)
def test_every_refusal_says_what_to_do(store: Store, number: int, said: str) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    again = Store.open(store.root, sync=refuse)
    with pytest.raises(StoreError, match=f"cannot write .*{os.strerror(number)}: {said}"):
        again.blobs.put(b"rows")
    assert list(store.blobs.all()) == []
    assert list(store.tmp.iterdir()) == []


def test_bytes_reach_the_disk_before_their_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(tmp_path / "store", create=True)
    events: list[str] = []
    rename = Path.replace

    def watched(self: Path, target: Path) -> Path:
        events.append(f"rename to {target.parent.name}")
        return rename(self, target)

    def sync(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        place = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(f"sync folder {place.name}" if is_folder else f"sync in {place.parent.name}")
        os.fsync(descriptor)

    monkeypatch.setattr(Path, "replace", watched)
    source = tmp_path / "shard"
    source.write_bytes(b"rows")
    watching = Store.open(store.root, sync=sync)
    watching.blobs.put(b"text")
    watching.blobs.put_file(source)
    durable.write(tmp_path / "file", b"text", tmp=store.tmp, sync=sync)
    assert events == [
        *("sync in tmp", "rename to sha256", "sync folder sha256"),
        *(f"sync in {tmp_path.name}", "rename to sha256", "sync folder sha256"),
        *("sync in tmp", f"rename to {tmp_path.name}", f"sync folder {tmp_path.name}"),
    ]


def test_a_new_store_is_an_empty_layout(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "a" / "b", create=True)
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert json.loads((store.root / "index.json").read_text()) == {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [],
    }
    assert store.fsck() == []
