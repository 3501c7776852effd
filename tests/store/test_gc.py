"""gc: what anything refers to stays, the rest goes, and nothing goes when in doubt."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from lopd_store.digest import Digest
from lopd_store.errors import IntegrityError
from lopd_store.store import Store

DAY = 24 * 60 * 60


def age(store: Store, *, seconds: float = 2 * DAY) -> None:
    for path in (*store.blobs.folder.iterdir(), *store.tmp.rglob("*")):
        then = path.lstat().st_mtime - seconds
        os.utime(path, (then, then), follow_symlinks=False)


def blobs(store: Store) -> set[Digest]:
    return set(store.blobs.all())


def test_what_a_ref_names_stays_and_the_rest_goes(store: Store, publish: Any) -> None:
    kept = publish(store, "kept", "shared")
    store.refs.move("a", kept, expected=None)
    before = blobs(store)
    lost = publish(store, "lost!", "shared")
    age(store)
    report = store.gc()
    assert set(report.removed) == {lost.digest, Digest.of(b"lost!")}
    assert report.removed_bytes == lost.size + 5
    assert (report.kept, report.young, report.dry_run) == (4, 0, False)
    assert blobs(store) == before
    assert store.fsck() == []


def test_a_removed_ref_frees_its_blobs(store: Store, publish: Any) -> None:
    store.refs.move("a", publish(store, "rows"), expected=None)
    store.refs.remove("a")
    age(store)
    assert len(store.gc().removed) == 3
    assert blobs(store) == set()


def test_a_dry_run_says_the_same_and_removes_nothing(store: Store, publish: Any) -> None:
    publish(store, "rows")
    (store.tmp / "left").write_bytes(b"1234567")
    age(store)
    dry = store.gc(dry_run=True)
    assert len(blobs(store)) == 3
    assert dry.dry_run
    assert (dry.temporary, dry.temporary_bytes) == (1, 7)
    real = store.gc()
    assert (dry.removed, dry.temporary, dry.removed_bytes) == (
        *(real.removed, real.temporary, real.removed_bytes),
    )
    assert list(store.tmp.iterdir()) == []


def test_the_young_stay_for_their_grace(store: Store, publish: Any) -> None:
    publish(store, "rows")
    report = store.gc()
    assert (report.removed, report.young) == ((), 3)
    age(store, seconds=DAY - 60)
    assert store.gc().removed == ()
    assert len(store.gc(grace_seconds=DAY - 120).removed) == 3


def test_a_young_manifest_keeps_its_old_layers(store: Store, publish: Any) -> None:
    """A long job puts its first shard days before its manifest."""
    artifact = publish(store, "rows")
    age(store)
    os.utime(store.blobs.path(artifact.digest))
    assert store.gc().removed == ()


def test_a_blob_put_again_is_young_again(store: Store) -> None:
    digest = store.blobs.put(b"rows")
    age(store)
    store.blobs.put(b"rows")
    assert store.gc().removed == ()
    assert store.blobs.has(digest)


def test_what_a_build_holds_stays_whole(store: Store, publish: Any) -> None:
    source = publish(store, "rows of a source")
    chunk = store.blobs.put(b"a chunk")
    (store.builds / "b1").mkdir()
    holds = store.builds / "b1" / "holds"
    holds.write_text(f"{source.digest}\n{chunk}\nsha256:{'0' * 64}\nsha256:12")
    store.blobs.put(b"nobody's")
    age(store)
    assert store.gc().removed == (Digest.of(b"nobody's"),)
    shutil.rmtree(store.builds / "b1")
    assert len(store.gc().removed) == 4


@pytest.mark.parametrize("text", ["nonsense\n", "sha256:12\n", "é\n"])
def test_holds_that_cannot_be_read_stop_gc(store: Store, text: str) -> None:
    (store.builds / "b1").mkdir()
    (store.builds / "b1" / "holds").write_text(text)
    store.blobs.put(b"old")
    age(store)
    with pytest.raises(IntegrityError, match=r"nothing removed.*holds"):
        store.gc()
    assert len(blobs(store)) == 1


def test_evidence_stays_and_goes_with_its_subject(store: Store, publish: Any) -> None:
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    noise = publish(store, "noise", subject=artifact)
    store.refs.attach(noise)
    signature = publish(store, "signature of the noise", subject=noise)
    store.refs.attach(signature)
    age(store)
    report = store.gc()
    assert (report.removed, report.evidence) == ((), ())
    store.refs.remove("a")
    report = store.gc()
    assert set(report.evidence) == {noise.digest, signature.digest}
    assert blobs(store) == set()
    assert json.loads((store.root / "index.json").read_text())["manifests"] == []


def test_evidence_about_a_young_nameless_artifact_stays(store: Store, publish: Any) -> None:
    """It is attached before the ref moves."""
    artifact = publish(store, "rows")
    noise = publish(store, "noise", subject=artifact)
    store.refs.attach(noise)
    age(store)
    os.utime(store.blobs.path(artifact.digest))
    assert store.gc().removed == ()
    assert len(store.evidence(artifact.digest)) == 1


def test_entries_of_other_tools_are_roots(store: Store, publish: Any) -> None:
    nameless, image = publish(store, "nameless"), publish(store, "in an image index")
    inner = {"schemaVersion": 2, "manifests": [image.to_json()]}
    data = json.dumps(inner).encode()
    entry = {
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "digest": str(store.blobs.put(data)),
        "size": len(data),
    }
    document = {"schemaVersion": 2, "manifests": [nameless.to_json(), entry]}
    (store.root / "index.json").write_text(json.dumps(document))
    age(store)
    assert store.gc().removed == ()
    assert store.fsck() == []


@pytest.mark.parametrize("harm", ["missing", "damaged"])
def test_nothing_goes_when_a_manifest_cannot_be_read(store: Store, publish: Any, harm: str) -> None:
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    store.blobs.put(b"nobody's")
    age(store)
    path = store.blobs.path(artifact.digest)
    path.unlink()
    if harm == "damaged":
        path.write_bytes(b"x" * artifact.size)
    before = blobs(store)
    with pytest.raises(IntegrityError, match="nothing removed"):
        store.gc()
    assert blobs(store) == before


def test_leftovers_of_crashes_go_when_old_and_links_are_not_followed(
    store: Store, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "text").write_text("text")
    (store.tmp / "link").symlink_to(precious)
    (store.tmp / "folder").mkdir()
    (store.tmp / "folder" / "link").symlink_to(precious)
    (store.tmp / "folder" / "shard").write_bytes(b"123")
    age(store)
    (store.tmp / "busy").mkdir()
    (store.tmp / "busy" / "shard").write_bytes(b"now")
    os.utime(store.tmp / "busy", (1, 1))
    assert store.gc().temporary == 2
    assert [path.name for path in store.tmp.iterdir()] == ["busy"]
    assert (precious / "text").read_text() == "text"


def test_strange_things_among_the_blobs_are_not_touched(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("text")
    (store.blobs.folder / ("a" * 64)).symlink_to(tmp_path / "precious")
    (store.blobs.folder / ("b" * 64)).mkdir()
    (store.blobs.folder / "notes").write_text("text")
    assert store.gc(grace_seconds=-1).removed == ()
    assert len(list(store.blobs.folder.iterdir())) == 3
