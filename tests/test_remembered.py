"""What was read of a file counts for as long as it is that file."""

import os
import shutil
import time
from pathlib import Path

import pytest

from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError, NotFoundError
from lopd_store.remembered import FileState, Records, digest_of
from lopd_store.store import Store, regular
from lopd_store.store.durable import no_sync

SETTLED = 0.03  # seconds until a file's times tell a later change


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"as it was")
    time.sleep(SETTLED)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store", create=True, sync=no_sync)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that are hashed from now on."""
    seen: list[Path] = []
    real = regular.digest_of

    def counted(path: Path) -> Digest:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(regular, "digest_of", counted)
    return seen


def test_a_digest_is_read_once_and_again_after_any_change(file: Path, tmp_path: Path) -> None:
    records = Records(tmp_path / "records")
    first = digest_of(file, records)
    assert first == Digest.of(b"as it was") == digest_of(file, records)
    assert records.recall(file) == {"digest": str(first), "state": FileState.of(file).text}
    times = file.stat()
    file.write_bytes(b"as it is!")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert digest_of(file, records) == Digest.of(b"as it is!")


@pytest.mark.parametrize("name", [b"\xff\xfe", "é".encode(), b"two\nlines", b"'\""], ids=repr)
def test_a_file_is_remembered_whatever_its_name(tmp_path: Path, name: bytes) -> None:
    path, records = tmp_path / os.fsdecode(name), Records(tmp_path / "records")
    path.write_bytes(b"as it was")
    time.sleep(SETTLED)
    digest_of(path, records)
    assert (records.recall(path) or {})["digest"] == str(Digest.of(b"as it was"))


def test_a_file_too_young_is_not_remembered(tmp_path: Path) -> None:
    path, records = tmp_path / "young", Records(tmp_path / "records")
    path.write_bytes(b"young")
    records.remember(path, FileState.of(path), {"digest": "any"})
    assert records.recall(path) is None


@pytest.mark.parametrize("damage", [b"", b"{}", b"null", b"[" * 9999, b"\xff", b"{" + b"x" * 99])
def test_a_damaged_record_is_no_record(file: Path, tmp_path: Path, damage: bytes) -> None:
    records = Records(tmp_path / "records")
    digest_of(file, records)
    (record,) = (tmp_path / "records").iterdir()
    record.write_bytes(damage)
    assert records.recall(file) is None
    assert digest_of(file, records) == Digest.of(b"as it was")


def test_a_record_of_another_file_says_nothing(file: Path, tmp_path: Path) -> None:
    records, other = Records(tmp_path / "records"), tmp_path / "other"
    digest_of(file, records)
    (record,) = (tmp_path / "records").iterdir()
    shutil.copyfile(file, other)
    time.sleep(SETTLED)
    digest_of(other, records)
    (named,) = set((tmp_path / "records").iterdir()) - {record}
    named.write_bytes(record.read_bytes())
    assert records.recall(other) is None


@pytest.mark.parametrize("kind", ["another-user", "pipe", "folder", "link"])
def test_a_record_that_is_no_file_of_ours_is_no_record(
    file: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store of somebody else's can have any record in it: they know their files' times."""
    records = Records(tmp_path / "records")
    digest_of(file, records)
    (record,) = (tmp_path / "records").iterdir()
    if kind == "another-user":
        uid = os.geteuid() + 1
        monkeypatch.setattr(os, "geteuid", lambda: uid)
        assert records.recall(file) is None  # theirs has a name of its own
        record = record.rename(records._record(FileState.of(file)))
    else:
        kept = record.rename(tmp_path / "kept")
        if kind == "pipe":
            os.mkfifo(record)
        elif kind == "folder":
            record.mkdir()
        else:
            record.symlink_to(kept)
    assert records.recall(file) is None
    assert digest_of(file, records) == Digest.of(b"as it was")


def test_where_nothing_can_be_kept_the_file_is_read_each_time(file: Path, tmp_path: Path) -> None:
    (tmp_path / "in-the-way").write_bytes(b"")
    records = Records(tmp_path / "in-the-way")
    assert digest_of(file, records) == digest_of(file, None) == Digest.of(b"as it was")


def test_a_blob_that_passed_is_not_read_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.blobs.put(b"blob")
    time.sleep(SETTLED)
    seen = reads(monkeypatch)
    store.blobs.check_once(digest, size=4)
    store.blobs.check_once(digest, size=4)
    assert len(seen) == 1
    store.blobs.check(digest)
    assert len(seen) == 2


def test_a_blob_that_changed_after_it_passed_is_found_out(store: Store) -> None:
    digest = store.blobs.put(b"blob")
    time.sleep(SETTLED)
    store.blobs.check_once(digest)
    path = store.blobs.path(digest)
    path.chmod(0o644)
    times = path.stat()
    path.write_bytes(b"blab")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(IntegrityError, match="digest-mismatch"):
        store.blobs.check_once(digest)
    with pytest.raises(IntegrityError, match="size-mismatch"):
        store.blobs.check_once(digest, size=5)
    path.unlink()
    with pytest.raises(NotFoundError):
        store.blobs.check_once(digest)
