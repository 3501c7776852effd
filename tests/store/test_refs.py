"""Refs: compare-and-swap, names that are never paths, what other tools wrote is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    RefMovedError,
    UsageError,
)
from lopd_store.store import Store

REF_NAME = "org.opencontainers.image.ref.name"
GOOD_NAMES = ["a", "v1", "math/qwen3-8b:v3", "Qwen/Qwen3-0.6B", "a--b", "a_b.c+d/e:f-1", "x" * 80]
BAD_NAMES = [
    *("", ".", "..", "../x", "/x", "x/", "x//y", "a/../b", "a/./b", ".hidden", "-x", "x-", "a..b"),
    *("a b", "a\n", "a\x00", "é", "a\\b", "a:b:c", "a:b/c", ":b", "a:", "a@b", "x" * 81),
    *("~/x", "%2e%2e", "a---b", "sha256:" + "0" * 64),
]
NOBODY = Digest.from_hex("0" * 64)


def index_of(store: Store) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((store.root / "index.json").read_text())
    return document


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_a_good_name_can_be_moved_read_and_removed(store: Store, publish: Any, name: str) -> None:
    artifact = publish(store, "rows")
    store.refs.move(name, artifact, expected=None)
    found = store.refs.get(name)
    assert found is not None
    assert found.digest == artifact.digest
    assert store.refs.resolve(name) == artifact.digest
    assert list(store.refs.list()) == [name]
    store.refs.remove(name)
    assert store.refs.get(name) is None
    assert [entry.after for entry in store.log.read(name)] == [artifact.digest, None]


@pytest.mark.parametrize("name", BAD_NAMES, ids=repr)
def test_a_bad_name_is_refused_everywhere(store: Store, publish: Any, name: str) -> None:
    artifact = publish(store, "rows")
    for use in (
        lambda: store.refs.move(name, artifact, expected=None),
        lambda: store.refs.get(name),
        lambda: store.refs.remove(name),
        lambda: store.log.read(name),
    ):
        with pytest.raises(UsageError, match="expected a ref like"):
            use()
    assert not (store.work / "log").exists()


def test_an_entry_says_what_it_names_and_keeps_annotations(store: Store, publish: Any) -> None:
    artifact = replace(publish(store, "rows"), annotations={"host": "h1", REF_NAME: "old"})
    store.refs.move("a", artifact, expected=None)
    assert index_of(store)["manifests"] == [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": str(artifact.digest),
            "size": artifact.size,
            "annotations": {"host": "h1", REF_NAME: "a"},
        }
    ]


def test_a_ref_that_moved_is_not_moved_again(store: Store, publish: Any) -> None:
    first, second = publish(store, "1"), publish(store, "2")
    store.refs.move("a", first, expected=None)
    for expected, said in ((None, "no ref"), (second.digest, str(second.digest))):
        with pytest.raises(RefMovedError) as caught:
            store.refs.move("a", second, expected=expected)
        (problem,) = caught.value.problems
        assert (problem.expected, problem.found) == (said, str(first.digest))
    with pytest.raises(RefMovedError, match="found no ref"):
        store.refs.move("b", second, expected=first.digest)
    with pytest.raises(RefMovedError):
        store.refs.remove("a", expected=second.digest)
    store.refs.move("a", second, expected=first.digest)
    assert store.refs.resolve("a") == second.digest


def test_a_ref_never_points_at_an_incomplete_artifact(store: Store, publish: Any) -> None:
    artifact = publish(store, "layer one", "layer two")
    path = store.blobs.path(Digest.of(b"layer two"))
    path.chmod(0o644)
    path.write_bytes(b"layer tw")
    with pytest.raises(IntegrityError, match="size-mismatch"):
        store.refs.move("a", artifact, expected=None)
    path.unlink()
    with pytest.raises(NotFoundError, match="no blob"):
        store.refs.move("a", artifact, expected=None)
    with pytest.raises(IntegrityError, match="size-mismatch"):
        store.refs.move("a", replace(artifact, size=artifact.size + 1), expected=None)
    layer = Descriptor.of(b"layer one", media_type="text/plain")
    with pytest.raises(FormatError, match="expected JSON"):
        store.refs.move("a", layer, expected=None)
    assert store.refs.list() == {}
    assert store.log.read("a") == []


def test_removing_what_is_not_there_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="no ref 'a'"):
        store.refs.remove("a")


def test_what_other_tools_wrote_stays(store: Store, publish: Any) -> None:
    artifact, other = publish(store, "ours"), publish(store, "theirs")
    foreign = [
        {**other.to_json(), "platform": {"os": "linux", "architecture": "arm64"}, "x-list": [1]},
        {**other.to_json(), "annotations": {REF_NAME: "Not A Name/../x", "k": "v"}},
        {"mediaType": "a/b", "digest": "sha512:" + "ab" * 64, "size": 3},
    ]
    document = {"schemaVersion": 2, "annotations": {"tool": "oras"}, "manifests": foreign}
    (store.root / "index.json").write_text(json.dumps(document, indent=3))
    store.refs.move("a", artifact, expected=None)
    store.refs.move("b", artifact, expected=None)
    store.refs.remove("a")
    now = index_of(store)
    assert now["annotations"] == {"tool": "oras"}
    assert now["manifests"][:3] == foreign
    assert list(store.refs.list()) == ["b"]


def test_one_name_twice_is_refused_until_removed(store: Store, publish: Any) -> None:
    artifact = publish(store, "rows")
    store.refs.move("a", artifact, expected=None)
    document = index_of(store)
    document["manifests"] *= 2
    (store.root / "index.json").write_text(json.dumps(document))
    with pytest.raises(FormatError, match="'a' once, found 2 times"):
        store.refs.get("a")
    with pytest.raises(FormatError, match="once"):
        store.refs.list()
    store.refs.remove("a")
    assert store.refs.list() == {}


def test_an_artifact_resolves_by_its_id_and_by_a_prefix(store: Store, publish: Any) -> None:
    artifact = publish(store, "rows")
    for text in (str(artifact.digest), artifact.digest.hex, artifact.digest.hex[:6]):
        assert store.refs.resolve(text) == artifact.digest


@pytest.mark.parametrize(
    "text",
    [
        "nothing",
        "",
        "../../etc/passwd",
        "sha256:" + "0" * 64,
        "00000",
        "0" * 65,
        "sha256:",
        "a\x00",
    ],
    ids=repr,
)
def test_what_is_not_there_does_not_resolve(store: Store, text: str) -> None:
    with pytest.raises(NotFoundError, match="no ref or artifact"):
        store.refs.resolve(text)


def test_a_prefix_of_several_artifacts_names_them(store: Store, publish: Any) -> None:
    found: dict[str, Digest] = {}
    for number in range(10_000):
        data = json.dumps({"schemaVersion": 2, "n": number}).encode()
        digest = Digest.of(data)
        if (other := found.setdefault(digest.hex[:6], digest)) != digest:
            break
    else:
        pytest.fail("no two digests with a common prefix of 6: change the numbers")
    twins = {other, digest}
    for number in range(10_000):
        data = json.dumps({"schemaVersion": 2, "n": number}).encode()
        if Digest.of(data) in twins:
            store.blobs.put(data)
    with pytest.raises(NotFoundError, match="is ambiguous") as caught:
        store.refs.resolve(digest.hex[:6])
    assert all(str(twin) in str(caught.value) for twin in twins)
    assert store.refs.resolve(digest.hex) == digest
    artifact = publish(store, "rows")
    store.refs.move(digest.hex[:6], artifact, expected=None)
    assert store.refs.resolve(digest.hex[:6]) == artifact.digest, "a ref comes first"


def test_a_prefix_means_manifests_only(store: Store) -> None:
    digest = store.blobs.put(b"a layer")
    with pytest.raises(NotFoundError):
        store.refs.resolve(digest.hex[:12])
    assert store.refs.resolve(str(digest)) == digest, "but a whole digest means itself"


def test_evidence_is_found_by_its_subject_and_type(store: Store, publish: Any) -> None:
    artifact, other = publish(store, "rows"), publish(store, "other rows")
    store.refs.move("a", artifact, expected=None)
    noise = publish(store, "noise", subject=artifact)
    store.refs.attach(noise)
    store.refs.attach(noise)
    (found,) = store.evidence(artifact.digest, "application/vnd.lopd.noise.v1")
    assert found.digest == noise.digest
    assert found.artifact_type == "application/vnd.lopd.noise.v1"
    assert store.evidence(artifact.digest) == [found]
    assert store.evidence(artifact.digest, "application/other") == []
    assert store.evidence(other.digest) == []
    assert list(store.refs.list()) == ["a"]
    assert REF_NAME not in index_of(store)["manifests"][1].get("annotations", {})
    store.refs.detach(noise.digest)
    assert store.evidence(artifact.digest) == []
    with pytest.raises(NotFoundError, match="no evidence"):
        store.refs.detach(noise.digest)


def test_evidence_about_nothing_is_refused(store: Store, publish: Any) -> None:
    with pytest.raises(FormatError, match="expected a subject"):
        store.refs.attach(publish(store, "rows"))
    absent = Descriptor(media_type="a/b", digest=NOBODY, size=1)
    with pytest.raises(NotFoundError, match="no blob"):
        store.refs.attach(publish(store, "noise", subject=absent))
    assert index_of(store)["manifests"] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected JSON"),
        ("[]", "expected an object with schemaVersion 2"),
        ('{"schemaVersion":3,"manifests":[]}', "schemaVersion 2"),
        ('{"schemaVersion":2}', "expected a list of manifests"),
        ('{"schemaVersion":2,"manifests":[],"manifests":[]}', "'manifests' twice"),
        ('{"schemaVersion":2,"manifests":[7]}', "/manifests/0: expected a descriptor"),
        ('{"schemaVersion":2,"manifests":[{"digest":"sha256:../../x","size":1}]}', "sha256:<64"),
        ('{"schemaVersion":2,"manifests":[{"digest":"../../x","size":1}]}', "sha256:<64 hex>"),
        ('{"schemaVersion":2,"manifests":[{"digest":"sha512:ab","size":-1}]}', "a size in bytes"),
        ('{"schemaVersion":2,"manifests":[{"digest":"sha512:ab","size":true}]}', "size in bytes"),
        ('{"schemaVersion":2,"manifests":[{"digest":"sha512:ab","size":1e3}]}', "the number 1e3"),
        ("[" * 100_000, "expected JSON"),
    ],
    ids=lambda text: text[:60],
)
def test_an_index_that_is_none_is_said_to_be_none(store: Store, text: str, said: str) -> None:
    (store.root / "index.json").write_text(text)
    for use in (
        store.refs.list,
        lambda: store.refs.get("a"),
        lambda: store.refs.remove("a"),
        store.gc,
    ):
        with pytest.raises(FormatError, match=said):
            use()
    assert (store.root / "index.json").read_text() == text
    assert [problem.kind for problem in store.fsck()] == ["index-unreadable"]


def test_a_log_tells_every_move_in_order(store: Store, publish: Any) -> None:
    first, second = publish(store, "1"), publish(store, "2")
    store.refs.move("m/a:v1", first, expected=None, message="one\ntwo é")
    store.refs.move("m/a:v1", first, expected=first.digest, message="no move")
    store.refs.move("m/a:v1", second, expected=first.digest)
    store.refs.remove("m/a:v1", message="over")
    assert [(entry.before, entry.after, entry.message) for entry in store.log.read("m/a:v1")] == [
        (None, first.digest, "one\ntwo é"),
        (first.digest, second.digest, ""),
        (second.digest, None, "over"),
    ]
    assert [path.name for path in (store.work / "log").iterdir()] == ["m%2Fa%3Av1.jsonl"]


def test_a_move_that_a_crash_stopped_is_no_history(store: Store, publish: Any) -> None:
    first, second, third = (publish(store, text) for text in "123")
    store.refs.move("a", first, expected=None)
    store.log.append("a", before=first.digest, after=third.digest)
    store.log.append("a", before=first.digest, after=third.digest)
    assert [entry.after for entry in store.refs.history("a")] == [first.digest]
    store.refs.move("a", second, expected=first.digest)
    assert [entry.after for entry in store.refs.history("a")] == [first.digest, second.digest]
    assert len(store.log.read("a")) == 4


def test_a_ref_that_another_tool_made_has_no_history(store: Store, publish: Any) -> None:
    store.refs.move("a", publish(store, "1"), expected=None)
    (store.work / "log" / "a.jsonl").unlink()
    assert store.refs.history("a") == []


def test_what_another_tool_moved_leaves_our_moves_in_the_history(
    store: Store, publish: Any
) -> None:
    first, second, third = (publish(store, text) for text in "123")
    store.log.append("a", before=None, after=first.digest)
    store.log.append("a", before=second.digest, after=third.digest)
    assert len(store.refs.history("a")) == 2


@pytest.mark.parametrize("torn", [b"{", b'{"time":"2026-01-0', b"\x00" * 7], ids=repr)
def test_a_torn_last_line_is_passed_over_and_then_cut_off(
    store: Store, publish: Any, torn: bytes
) -> None:
    first, second = publish(store, "1"), publish(store, "2")
    store.refs.move("a", first, expected=None)
    path = store.work / "log" / "a.jsonl"
    with path.open("ab") as file:
        file.write(torn)
    assert [entry.after for entry in store.log.read("a")] == [first.digest]
    assert store.fsck() == []
    store.refs.move("a", second, expected=first.digest)
    assert [entry.after for entry in store.log.read("a")] == [first.digest, second.digest]
    assert len(path.read_bytes().splitlines()) == 2


def test_a_strange_line_in_a_log_is_named(store: Store, publish: Any) -> None:
    store.refs.move("a", publish(store, "1"), expected=None)
    path = store.work / "log" / "a.jsonl"
    path.write_bytes(path.read_bytes() + b'{"time":1}\n')
    with pytest.raises(FormatError, match=r"a\.jsonl line 2: expected a time"):
        store.log.read("a")
    (problem,) = store.fsck()
    assert (problem.kind, problem.where) == ("log-unreadable", ".lopd/log/a.jsonl")


def test_a_message_has_a_limit(store: Store, publish: Any) -> None:
    artifact = publish(store, "1")
    with pytest.raises(UsageError, match="a message of at most"):
        store.refs.move("a", artifact, expected=None, message="x" * 10_001)
    store.refs.move("a", artifact, expected=None, message="\x01" * 10_000)
    store.refs.remove("a")
    assert len(store.log.read("a")) == 2


def test_a_failed_move_leaves_no_line_in_the_log(
    store: Store, publish: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = publish(store, "1")
    store.refs.move("a", artifact, expected=None)
    before = (store.work / "log" / "a.jsonl").read_bytes()

    def full(_self: Path, _target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(Exception, match="No space left on device: free some space"):
        store.refs.remove("a")
    monkeypatch.undo()
    assert (store.work / "log" / "a.jsonl").read_bytes() == before
    assert store.refs.resolve("a") == artifact.digest
    assert list(store.tmp.iterdir()) == []
