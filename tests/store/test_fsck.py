"""fsck: every kind of damage has its name, all of it is found, nothing is changed."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, StoreError
from lopd_store.store import Store

Damage = Callable[[Path], None]


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def extend(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\n")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def link(path: Path) -> None:
    """To the very same bytes: following it would look fine."""
    path.rename(path.parent.parent.parent / "real")
    path.symlink_to(path.parent.parent.parent / "real")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "missing": (remove, "blob-missing"),
    "truncated": (truncate, "size-mismatch"),
    "extended": (extend, "size-mismatch"),
    "one-bit": (flip, "digest-mismatch"),
    "symbolic-link": (link, "not-a-regular-file"),
    "pipe": (pipe, "not-a-regular-file"),
    "folder": (folder, "not-a-regular-file"),
}
PARTS = ("layer", "config", "manifest")


def part_of(artifact: Descriptor, part: str) -> Digest:
    known = {"layer": Digest.of(b"rows one"), "config": Digest.of(b"{}")}
    return known.get(part, artifact.digest)


@pytest.fixture
def damaged(store: Store, publish: Any) -> Any:
    artifact = publish(store, "rows one", "rows two")
    store.refs.move("a", artifact, expected=None)
    store.refs.attach(publish(store, "noise", subject=artifact))
    assert store.fsck() == []
    for digest in store.blobs.all():
        store.blobs.path(digest).chmod(0o644)
    return artifact


def tree(root: Path) -> dict[str, tuple[int, int, int]]:
    found = {}
    for path in root.rglob("*"):
        stat = path.lstat()
        found[str(path)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_to_a_blob_is_named(
    store: Store, damaged: Descriptor, damage: str, part: str
) -> None:
    harm, kind = DAMAGES[damage]
    digest = part_of(damaged, part)
    harm(store.blobs.folder / digest.hex)
    before = tree(store.root)
    (problem,) = store.fsck()
    assert (problem.kind, problem.where) == (kind, f"blobs/sha256/{digest.hex}")
    assert tree(store.root) == before


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_blob_is_never_returned(
    store: Store, damaged: Descriptor, damage: str, part: str
) -> None:
    harm, _ = DAMAGES[damage]
    digest = part_of(damaged, part)
    harm(store.blobs.folder / digest.hex)
    with pytest.raises((IntegrityError, NotFoundError)):
        store.blobs.get(digest)


@pytest.mark.usefixtures("damaged")
def test_two_swapped_blobs_are_both_named(store: Store) -> None:
    one, two = (store.blobs.path(Digest.of(data)) for data in (b"rows one", b"rows two"))
    one.rename(one.with_suffix(".x"))
    two.rename(one)
    one.with_suffix(".x").rename(two)
    assert {(problem.kind, problem.where) for problem in store.fsck()} == {
        ("digest-mismatch", f"blobs/sha256/{path.name}") for path in (one, two)
    }


@pytest.mark.usefixtures("damaged")
def test_all_problems_are_found_not_the_first(store: Store) -> None:
    truncate(store.blobs.path(Digest.of(b"rows one")))
    remove(store.blobs.path(Digest.of(b"rows two")))
    flip(store.blobs.path(Digest.of(b"noise")))
    (store.blobs.folder / "notes.txt").write_text("stray")
    (store.blobs.folder.parent / "sha257").write_text("stray")
    os.mkfifo(store.work / "log" / "b.jsonl")
    assert sorted(problem.kind for problem in store.fsck()) == [
        *("blob-missing", "digest-mismatch", "log-unreadable", "size-mismatch"),
        *("stray-file", "stray-file"),
    ]


@pytest.mark.usefixtures("damaged")
def test_a_blob_that_nothing_names_is_hashed_too(store: Store) -> None:
    path = store.blobs.path(store.blobs.put(b"nobody names me"))
    path.chmod(0o644)
    flip(path)
    (problem,) = store.fsck()
    assert (problem.kind, problem.where) == ("digest-mismatch", f"blobs/sha256/{path.name}")


@pytest.mark.parametrize("data", [b"not JSON", b"{}", b'{"schemaVersion":2,"layers":[{}]}'])
@pytest.mark.usefixtures("damaged")
def test_a_manifest_that_is_none_is_named(store: Store, data: bytes) -> None:
    digest = store.blobs.put(data)
    document = json.loads((store.root / "index.json").read_text())
    document["manifests"][0] |= {"digest": str(digest), "size": len(data)}
    (store.root / "index.json").write_text(json.dumps(document))
    assert [problem.kind for problem in store.fsck()] == ["manifest-unreadable"]


@pytest.mark.parametrize("field", ["mediaType", "artifactType"])
@pytest.mark.usefixtures("damaged")
def test_a_manifest_under_another_type_is_named(store: Store, field: str) -> None:
    document = json.loads((store.root / "index.json").read_text())
    other = {"mediaType": "application/vnd.oci.image.index.v1+json", "artifactType": "a/b"}
    document["manifests"][1][field] = other[field]
    (store.root / "index.json").write_text(json.dumps(document))
    assert [problem.kind for problem in store.fsck()] == ["media-type-mismatch"]


@pytest.mark.usefixtures("damaged")
def test_names_that_no_ref_can_have_are_named(store: Store) -> None:
    document = json.loads((store.root / "index.json").read_text())
    (entry,) = (entry for entry in document["manifests"] if "annotations" in entry)
    evil = {**entry, "annotations": {"org.opencontainers.image.ref.name": "../../x"}}
    document["manifests"] += [entry, evil]
    (store.root / "index.json").write_text(json.dumps(document))
    found = {(problem.kind, problem.expected, problem.found) for problem in store.fsck()}
    assert found == {("duplicate-ref", "'a' once", "2"), ("ref-name", "a ref's name", "'../../x'")}


@pytest.mark.usefixtures("damaged")
def test_a_flipped_bit_in_the_index_is_found_unless_it_makes_another_good_name(
    store: Store,
) -> None:
    """What an index says only once cannot be checked: names, and which keys are there."""
    path = store.root / "index.json"
    good = path.read_bytes()
    unseen = {}
    for position in range(0, len(good) * 8, 7):  # 7 and 8 share no factor: all bits of a byte
        data = bytearray(good)
        data[position // 8] ^= 1 << (position % 8)
        path.write_bytes(data)
        if not Store.open(store.root).fsck():
            unseen[position] = json.loads(data)
    path.write_bytes(good)
    said = json.loads(good)
    for changed in unseen.values():
        for before, after in zip(said["manifests"], changed["manifests"], strict=True):
            assert (before["digest"], before["size"]) == (after["digest"], after["size"])
            assert after.get("mediaType", before["mediaType"]) == before["mediaType"]
    assert len(unseen) < len(good) * 8 // 7 // 4


@pytest.mark.parametrize("harm", [link, pipe, folder], ids=["symbolic-link", "pipe", "folder"])
@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
@pytest.mark.usefixtures("damaged")
def test_a_part_of_the_layout_that_is_no_file_is_refused(
    store: Store, harm: Damage, name: str
) -> None:
    harm(store.root / name)
    with pytest.raises(IntegrityError, match="not-a-regular-file"):
        Store.open(store.root).refs.list()
    if name == "index.json":
        assert [problem.kind for problem in store.fsck()] == ["index-unreadable"]


@pytest.mark.parametrize(
    "name", ["blobs", "blobs/sha256", ".lopd", ".lopd/tmp", ".lopd/log", ".lopd/builds"]
)
def test_a_link_where_a_folder_belongs_is_refused(store: Store, tmp_path: Path, name: str) -> None:
    """Followed, it would let gc remove files anywhere."""
    elsewhere = tmp_path / "elsewhere"
    (store.work / "log").mkdir()
    (store.root / name).rename(elsewhere)
    (store.root / name).symlink_to(elsewhere)
    with pytest.raises(IntegrityError, match="expected a folder, found a symbolic link"):
        Store.open(store.root)


@pytest.mark.usefixtures("damaged")
def test_an_index_that_is_gone_is_not_found(store: Store) -> None:
    (store.root / "index.json").unlink()
    with pytest.raises(NotFoundError, match=r"no index\.json"):
        store.refs.list()
    assert [problem.kind for problem in store.fsck()] == ["index-unreadable"]


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ('{"imageLayoutVersion":"1.1.0"}', "found '1.1.0': a newer spec"),
        ('{"imageLayoutVersion":"2.0.0"}', "found '2.0.0': a newer spec"),
        ("{}", "found None"),
        ("[]", "found None"),
        ("", "expected JSON"),
        (" " * 5000, "expected at most 4096 bytes, found 5000"),
    ],
    ids=["minor", "major", "no-version", "list", "empty", "large"],
)
def test_another_layout_is_refused(store: Store, layout: str, said: str) -> None:
    (store.root / "oci-layout").write_text(layout)
    with pytest.raises(FormatError, match=said):
        Store.open(store.root)


@pytest.mark.usefixtures("damaged")
def test_a_disk_that_cannot_be_read_is_a_problem_not_a_crash(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def broken(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if Path(path).name == Digest.of(b"rows one").hex:
            raise OSError(5, "Input/output error")
        return opened(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", broken)
    (problem,) = store.fsck()
    assert problem.kind == "unreadable"
    with pytest.raises(StoreError, match="check it, then run `lopd-store fsck`"):
        store.blobs.get(Digest.of(b"rows one"))
