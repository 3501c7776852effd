"""A Hub that lies is caught by a pull, and nothing of what it sent stays in the store."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import canonical, files_of
from tests.hub.pulled import assert_nothing_stays, damage, flipped, pulled, sent
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

Files = dict[str, bytes]
FOLDER = "lopd/default/train"


@pytest.fixture
def files(signal: Store) -> Files:
    return files_of(signal.root, "signal")


@pytest.fixture
def published(hub: Hub, files: Files) -> Hub:
    hub.commit("org/data", files)
    return hub


def shards(files: Files) -> list[str]:
    return sorted(path for path in files if path.endswith(".parquet"))


def named(files: Files, word: str) -> str:
    return next(path for path in files if path.startswith(f"{FOLDER}/{word}-"))


def flip_a_shard(hub: Hub, files: Files) -> None:
    data = files[shards(files)[1]]
    damage(hub, data, flipped(data, len(data) // 2))


def cut_a_shard(hub: Hub, files: Files) -> None:
    data = files[shards(files)[1]]
    damage(hub, data, data[:-1])


def lengthen_a_shard(hub: Hub, files: Files) -> None:
    data = files[shards(files)[1]]
    damage(hub, data, data + b"x")


def swap_two_shards(hub: Hub, files: Files) -> None:
    """As anybody can who may write to the repository: the listing is right."""
    one, two = shards(files)[:2]
    hub.commit("org/data", {one: files[two], two: files[one]})


def serve_one_shard_for_another(hub: Hub, files: Files) -> None:
    one, two = shards(files)[:2]
    damage(hub, files[one], files[two])


def list_another_size(hub: Hub, files: Files) -> None:
    hub.commit("org/data", {shards(files)[0]: files[shards(files)[0]] + b"\0"})


def flip_the_tokenizer(hub: Hub, files: Files) -> None:
    data = files[named(files, "tokenizer")]
    damage(hub, data, flipped(data, 40))


def change_the_manifest(hub: Hub, files: Files) -> None:
    path = named(files, "manifest")
    hub.commit("org/data", {path: files[path].replace(b'"dev.lopd.rows":"', b'"dev.lopd.rows":"1')})


def change_an_identity(hub: Hub, files: Files) -> None:
    path = named(files, "identity")
    hub.commit("org/data", {path: files[path].replace(b"float32", b"float16")})


def flip_evidence(hub: Hub, files: Files) -> None:
    path = named(files, "noise")
    hub.commit("org/data", {path: files[path].replace(b"0", b"1")})


def claim_evidence_about_something_else(hub: Hub, files: Files) -> None:
    """The noise of another artifact, coherent in itself, listed under this one."""
    path = named(files, "evidence")
    data = json.loads(files[path])
    data["subject"]["digest"] = "sha256:" + "0" * 64
    other = canonical(data)
    digest = hashlib.sha256(other).hexdigest()
    index = json.loads(files[f"{FOLDER}/index.json"])
    index["manifests"][1] |= {"digest": f"sha256:{digest}", "size": len(other)}
    changed = {f"{FOLDER}/index.json": canonical(index)}
    hub.commit("org/data", changed | {f"{FOLDER}/evidence-{digest[:12]}.json": other})


def lose_a_shard(hub: Hub, files: Files) -> None:
    hub.commit("org/data", {shards(files)[-1]: None})


def point_the_index_elsewhere(hub: Hub, files: Files) -> None:
    index = json.loads(files[f"{FOLDER}/index.json"])
    index["manifests"][0]["digest"] = "sha256:" + "1" * 64
    hub.commit("org/data", {f"{FOLDER}/index.json": canonical(index)})


def send_a_pointer_not_json(hub: Hub, _files: Files) -> None:
    hub.commit("org/data", {f"{FOLDER}/index.json": b"version https://git-lfs.github.com/spec/v1"})


@pytest.mark.parametrize(
    ("lie", "code", "words"),
    [
        (flip_a_shard, 3, "digest-mismatch"),
        (cut_a_shard, 3, "size-mismatch"),
        (lengthen_a_shard, 3, "size-mismatch"),
        (swap_two_shards, 3, "mismatch"),
        (serve_one_shard_for_another, 3, "mismatch"),
        (list_another_size, 3, "size-mismatch"),
        (flip_the_tokenizer, 3, "digest-mismatch"),
        (change_the_manifest, 3, "size-mismatch"),
        (change_an_identity, 3, "digest-mismatch"),
        (flip_evidence, 3, "digest-mismatch"),
        (claim_evidence_about_something_else, 5, "expected evidence about"),
        (lose_a_shard, 4, "missing-file"),
        (point_the_index_elsewhere, 4, "manifest-111111111111.json"),
        (send_a_pointer_not_json, 5, "JSON"),
    ],
)
def test_a_lie_is_caught_and_nothing_stays(
    published: Hub,
    files: Files,
    client: Client,
    lie: Callable[[Hub, Files], None],
    code: int,
    words: str,
) -> None:
    lie(published, files)
    said = client.lopd_store("pull", "org/data")
    assert said.code == code, said.err
    assert words in said.err
    assert_nothing_stays(client)


def test_a_listing_that_is_wrong_costs_no_byte(
    published: Hub, files: Files, client: Client
) -> None:
    swap_two_shards(published, files)
    assert client.lopd_store("pull", "org/data").code == 3
    assert sent(published) == 0


def test_a_truncated_answer_is_asked_for_again(published: Hub, client: Client) -> None:
    """The far host closes the connection early, with the right length announced."""
    published.faults.append(Fault(match=r"GET /datasets/org/data/[0-9a-f]{64}", cut=500))
    assert pulled(client.lopd_store("pull", "org/data", "--json"))


@pytest.fixture
def versions(hub: Hub, signal: Store) -> Hub:
    """`org/data` with the rollouts at v1 and then the signal at v2 and main."""
    hub.commit("org/data", files_of(signal.root, "rollouts"))
    hub.tag("org/data", "v1")
    old = dict.fromkeys(files_of(signal.root, "rollouts"))
    hub.commit("org/data", {**old, **files_of(signal.root, "signal")})
    hub.tag("org/data", "v2")
    return hub


def test_a_pinned_digest_is_what_comes_or_nothing(
    versions: Hub, client: Client, signal: Store
) -> None:
    ids = {name: str(load(signal, name).id) for name in ("signal", "rollouts")}
    said = client.lopd_store("pull", f"org/data@v1@{ids['signal']}")
    assert said.code == 3
    assert "pinned-digest" in said.err
    assert_nothing_stays(client)
    versions.repository("org/data").lies["main"] = versions.revision("org/data", "v1")
    said = client.lopd_store("pull", f"org/data@main@{ids['signal']}")
    assert said.code == 3
    versions.repository("org/data").lies.clear()
    for name, digest in ids.items():
        found = client.lopd_store("pull", f"org/data@{digest}", "-o", name, "--json")
        assert pulled(found)[0]["id"] == digest


def test_an_older_version_than_was_seen_is_refused(versions: Hub, client: Client) -> None:
    pulled(client.lopd_store("pull", "org/data", "--json"))
    (before,) = Store.open(client.store).refs.list().values()
    versions.repository("org/data").lies["main"] = versions.revision("org/data", "v1")
    said = client.lopd_store("pull", "org/data")
    assert said.code == 3
    assert "rewound-branch" in said.err
    assert "--accept-moved" in said.err
    assert Store.open(client.store).refs.list() == {"org/data:main": before}
    assert pulled(client.lopd_store("pull", "org/data", "--accept-moved", "--json"))


def test_a_tag_that_moved_is_refused(versions: Hub, client: Client, signal: Store) -> None:
    (found,) = pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    versions.tag("org/data", "v1", "v2")
    said = client.lopd_store("pull", "org/data@v1", "-o", "other")
    assert said.code == 3
    assert "moved-tag" in said.err
    assert list(Store.open(client.store).refs.list()) == ["org/data:v1"]
    (taken,) = pulled(client.lopd_store("pull", "org/data@v1", "--accept-moved", "--json"))
    assert [found["id"], taken["id"]] == [
        str(load(signal, name).id) for name in ("rollouts", "signal")
    ]
    assert taken["moved"]
    assert pulled(client.lopd_store("pull", "org/data@v1", "--json"))


@pytest.mark.parametrize(
    ("place", "code", "told"),
    [
        ("..%2f..", 4, "it was not published with lopd-store push"),
        ("a b/train", 4, "it was not published with lopd-store push"),
        ("../../../etc", 5, "expected a path inside the repository"),
        ("default/../..", 5, "expected a path inside the repository"),
    ],
)
def test_paths_of_a_hostile_listing_name_no_place(
    hub: Hub, client: Client, place: str, code: int, told: str
) -> None:
    hub.commit("org/data", {f"lopd/{place}/index.json": b"{}"})
    said = client.lopd_store("pull", "org/data")
    assert said.code == code
    assert told in said.err


def test_a_link_in_the_stage_is_not_followed(
    published: Hub, client: Client, files: Files, tmp_path: Path, signal: Store
) -> None:
    """A store that somebody else prepared must not make a pull write elsewhere."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    store = Store.open(client.store, create=True)
    stage = store.tmp / f"pull-{load(signal, 'signal').id.hex}"
    stage.mkdir()
    shard = hashlib.sha256(files[shards(files)[0]]).hexdigest()
    (stage / shard).symlink_to(victim)
    said: Any = client.lopd_store("pull", "org/data")
    assert said.code == 3
    assert "a symbolic link" in said.err
    assert victim.read_bytes() == b""
    assert sent(published) == 0


def test_a_further_layer_of_any_type_comes_too(hub: Hub, client: Client, files: Files) -> None:
    """Only what was read and checked is not fetched: a type says nothing."""
    more, index = b"something else", json.loads(files[f"{FOLDER}/index.json"])
    document = json.loads(files.pop(named(files, "manifest")))
    layer = {"mediaType": "application/vnd.lopd.artifact.v1+json", **described(more)}
    document["layers"].append(layer)
    manifest = canonical(document)
    index["manifests"] = [index["manifests"][0] | described(manifest)]
    for data, name in ((more, "artifact"), (manifest, "manifest")):
        files[f"{FOLDER}/{name}-{hashlib.sha256(data).hexdigest()[:12]}.json"] = data
    hub.commit("org/data", files | {f"{FOLDER}/index.json": canonical(index)})
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json"))
    assert found["id"] == described(manifest)["digest"]
    here = Store.open(client.store)
    assert hashlib.sha256(more).hexdigest() in {digest.hex for digest in here.blobs.all()}
    assert here.fsck() == []


def described(data: bytes) -> dict[str, Any]:
    return {"digest": f"sha256:{hashlib.sha256(data).hexdigest()}", "size": len(data)}
