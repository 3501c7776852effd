"""Blobs: what is put comes back, and nothing else does."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lopd_store.digest import Digest
from lopd_store.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
)
from lopd_store.store import Store

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256sum of "hello"
NOBODY = Digest.from_hex("0" * 64)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
def test_what_is_put_comes_back(store: Store, data: bytes) -> None:
    digest = store.blobs.put(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert store.blobs.get(digest) == data
    assert store.blobs.get(digest, size=len(data)) == data
    assert store.blobs.path(digest).read_bytes() == data
    with store.blobs.open(digest) as file:
        assert file.read() == data


def test_a_blob_is_a_read_only_file_named_by_its_sha256(store: Store) -> None:
    store.blobs.put(b"hello")
    path = store.root / "blobs" / "sha256" / HELLO
    assert path.read_bytes() == b"hello"
    assert path.stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("known", [True, False], ids=["digest-known", "digest-computed"])
def test_a_file_is_moved_in(store: Store, tmp_path: Path, known: bool) -> None:  # noqa: FBT001 - a case
    source = tmp_path / "shard.parquet"
    source.write_bytes(b"hello")
    digest = Digest.from_hex(HELLO) if known else None
    assert store.blobs.put_file(source, digest=digest).hex == HELLO
    assert not source.exists()
    assert store.blobs.path(Digest.from_hex(HELLO)).stat().st_mode & 0o777 == 0o444


def test_a_file_that_is_there_already_is_taken_off_the_callers_hands(
    store: Store, tmp_path: Path
) -> None:
    digest = store.blobs.put(b"hello")
    source = tmp_path / "again"
    source.write_bytes(b"hello")
    assert store.blobs.put_file(source) == digest
    assert not source.exists()


def test_a_file_of_another_file_system_is_copied_in(store: Store) -> None:
    memory = Path("/dev/shm")  # noqa: S108 - another file system is the point
    if not memory.is_dir() or memory.stat().st_dev == store.root.stat().st_dev:
        pytest.skip("this machine has no second file system at /dev/shm")
    source = memory / f"lopd-test-{os.getpid()}"
    source.write_bytes(b"hello")
    assert store.blobs.put_file(source).hex == HELLO
    assert not source.exists()
    assert list(store.tmp.iterdir()) == []
    assert store.fsck() == []


def test_a_missing_file_is_not_found(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no file"):
        store.blobs.put_file(tmp_path / "nothing")


def test_a_link_is_not_moved_in(store: Store, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"hello")
    link = tmp_path / "link"
    link.symlink_to(secret)
    with pytest.raises(IntegrityError, match="a symbolic link"):
        store.blobs.put_file(link)
    assert secret.exists()


def test_putting_again_makes_a_blob_young(store: Store) -> None:
    path = store.blobs.path(store.blobs.put(b"hello"))
    os.utime(path, (1_000_000, 1_000_000))
    store.blobs.put(b"hello")
    assert path.stat().st_mtime > 1_600_000_000


def test_putting_again_repairs_a_damaged_blob(store: Store) -> None:
    digest = store.blobs.put(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"jello")
    store.blobs.put(b"hello")
    assert store.blobs.get(digest) == b"hello"


def test_putting_again_replaces_a_link_and_leaves_its_target(store: Store, tmp_path: Path) -> None:
    digest = store.blobs.put(b"hello")
    path = store.blobs.path(digest)
    path.unlink()
    other = tmp_path / "other"
    other.write_bytes(b"mine")
    path.symlink_to(other)
    store.blobs.put(b"hello")
    assert store.blobs.get(digest) == b"hello"
    assert other.read_bytes() == b"mine"


def test_a_missing_blob_is_not_found(store: Store) -> None:
    assert not store.blobs.has(NOBODY)
    for read in (store.blobs.get, store.blobs.path, store.blobs.check, store.blobs.open):
        with pytest.raises(NotFoundError, match="no blob sha256:000"):
            read(NOBODY)


def test_a_changed_byte_is_refused(store: Store) -> None:
    digest = store.blobs.put(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"jello")
    for read in (store.blobs.get, store.blobs.check):
        with pytest.raises(DigestMismatchError) as caught:
            read(digest)
        (problem,) = caught.value.problems
        assert problem.expected == f"sha256:{HELLO}"
        assert problem.where == f"blobs/sha256/{HELLO}"


@pytest.mark.parametrize("data", [b"hell", b"hello!", b""], ids=["shorter", "longer", "empty"])
def test_the_size_is_checked_before_the_digest(store: Store, data: bytes) -> None:
    digest = store.blobs.put(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(data)
    for read in (store.blobs.get, store.blobs.check):
        with pytest.raises(IntegrityError) as caught:
            read(digest, size=5)
        (problem,) = caught.value.problems
        assert (problem.kind, problem.expected) == ("size-mismatch", "5 bytes")
        assert problem.found == f"{len(data)} bytes"


def test_more_than_the_limit_is_not_taken_into_memory(store: Store) -> None:
    digest = store.blobs.put(b"hello")
    with pytest.raises(FormatError, match="expected at most 4 bytes, found 5"):
        store.blobs.get(digest, limit=4)


def test_a_file_without_end_is_cut_off(store: Store) -> None:
    """A sparse petabyte costs nothing to make and must cost nothing to refuse."""
    digest = store.blobs.put(b"hello")
    path = store.blobs.path(digest)
    path.chmod(0o644)
    os.truncate(path, 1 << 40)
    with pytest.raises(FormatError, match="expected at most"):
        store.blobs.get(digest)


def test_all_names_blobs_only(store: Store) -> None:
    digests = {store.blobs.put(text.encode()) for text in "abc"}
    (store.blobs.folder / "README").write_text("not a blob")
    (store.blobs.folder / HELLO.upper()).write_text("not a blob either")
    assert set(store.blobs.all()) == digests
