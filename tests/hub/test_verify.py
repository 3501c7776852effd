"""verify at a distance: what the Hub shows is compared with the manifest, and no row moves."""

import json
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.cli.runner import kinds
from tests.hub.clients import Account, Client
from tests.hub.published import canonical, files_of
from tests.hub.pulled import damage, flipped, sent
from tests.hub.pushing import having, pushed
from tests.hub.verifying import INDEX, asked_for_shards, card, shards_of, told, verify
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]


@pytest.fixture
def files(signal: Store) -> dict[str, bytes]:
    return files_of(signal.root, "signal") | {"README.md": card()}


@pytest.fixture
def published(hub: Hub, files: dict[str, bytes]) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files)
    hub.tag("org/data", "v1")
    return hub


def test_what_was_pushed_passes_at_a_distance_and_deep_on_either_hub(
    account: Account, built: Path
) -> None:
    pusher, repo = having(account.client(), built), account.repository()
    made = pushed(pusher.lopd_store("push", "signal", f"{repo}@v1", "--json"))
    reader = account.client("reader")
    for name in (repo, f"{repo}@v1", f"{repo}/default/train@v1@{made['id']}"):
        said = verify(reader, name)
        assert (said.code, said.json["problems"]) == (0, []), said.err
        assert said.json["at_a_distance"]
        assert "no row was read" in told(said)
    deep = verify(reader, f"{repo}@v1", "--deep")
    assert (deep.code, deep.json["problems"], deep.json["at_a_distance"]) == (0, [], False)
    assert not reader.store.exists()
    other = "sha256:" + "0" * 64
    said = verify(reader, f"{repo}@{other}")
    assert (said.code, kinds(said)) == (3, {"pinned-digest"})


def test_no_byte_of_a_shard_is_asked_for(
    published: Hub, client: Client, signal: Store, files: dict[str, bytes]
) -> None:
    said = client.lopd_store("verify", "org/data@v1")
    assert said.code == 0, said.err
    commit = published.revision("org/data", "v1")[:12]
    shown = f"org/data@v1 (commit {commit}) {load(signal, 'signal').id}"
    assert said.out == f"{shown}: ok (depth 1, integrity, at a distance)\n"
    size = sum(shard.size for shard in load(signal, "signal").shards)
    assert f"of {size:,} bytes were compared by what the Hub lists of them" in said.err
    assert asked_for_shards(published, files) == []
    assert not client.store.exists()


def test_deep_reads_every_row_and_leaves_nothing(published: Hub, client: Client) -> None:
    Store.open(client.store, create=True)
    said = client.lopd_store("verify", "org/data@v1", "--deep")
    assert said.code == 0, said.err
    assert said.out.endswith(": ok (depth 1, integrity)\n")
    assert sent(published) > 0
    here = Store.open(client.store)
    assert list(here.blobs.all()) == []
    assert list(here.tmp.iterdir()) == []
    assert here.refs.list() == {}


def test_bytes_that_the_listing_does_not_show_are_found_by_deep_only(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    shard = files[shards_of(files)[1]]
    damage(published, shard, flipped(shard, len(shard) // 2))
    assert verify(client, "org/data@v1").code == 0
    said = verify(client, "org/data@v1", "--deep")
    assert said.code == 3
    assert kinds(said) == {"digest-mismatch"}


STRAY = "data/default/train-99999-000000000000.parquet"


def test_every_problem_is_told_not_the_first(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    """One is missing, one is longer, and there is one more than the manifest names."""
    first, second = shards_of(files)
    longer = files[second] + b"\0"
    changed: dict[str, bytes | None] = {**files, first: None, second: longer, STRAY: files[first]}
    hub.commit("org/data", changed)
    said = verify(client, "org/data")
    assert said.code == 3
    assert [(one["kind"], one["where"]) for one in said.json["problems"]] == [
        ("missing-file", first),
        ("size-mismatch", second),
        ("digest-mismatch", second),
        ("stray-shard", STRAY),
    ]
    assert asked_for_shards(hub, files) == []
    deep = verify(client, "org/data", "--deep")
    assert deep.json["problems"] == said.json["problems"]
    assert "nothing was downloaded" in told(deep)
    assert asked_for_shards(hub, files) == []


def test_swapped_shards_are_two_problems(hub: Hub, client: Client, files: dict[str, bytes]) -> None:
    first, second = shards_of(files)
    hub.commit("org/data", files | {first: files[second], second: files[first]})
    said = verify(client, "org/data")
    assert said.code == 3
    found = [(one["kind"], one["where"]) for one in said.json["problems"]]
    assert ("digest-mismatch", first) in found
    assert ("digest-mismatch", second) in found


def test_a_missing_shard_alone_is_not_found(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    changed: dict[str, bytes | None] = {**files, shards_of(files)[-1]: None}
    hub.commit("org/data", changed)
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (4, {"missing-file"})
    assert "push it again" in told(said)


@pytest.mark.parametrize("name", ["manifest", "artifact", "identity", "tokenizer"])
def test_a_document_that_is_not_its_digest_is_named(
    hub: Hub, client: Client, files: dict[str, bytes], name: str
) -> None:
    path = next(path for path in files if f"/{name}-" in path)
    hub.commit("org/data", files | {path: flipped(files[path], 40)})
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (3, {"digest-mismatch"})
    assert path in told(said)
    assert "Traceback" not in said.err


def test_a_document_that_the_hub_changes_on_its_way_is_named(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    path = next(path for path in files if "/identity-" in path)
    file = published.repository("org/data").commits[published.revision("org/data")].files[path]
    published.damaged[file.etag] = flipped(files[path], 40)
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (3, {"digest-mismatch"})


def broken_index(data: bytes, how: str) -> bytes:
    index: dict[str, Any] = json.loads(data)
    entry = index["manifests"][0]
    if how == "another digest":
        entry["digest"] = "sha256:" + "1" * 64
    if how == "another size":
        entry["size"] += 1
    if how == "a path for a digest":
        entry["digest"] = "sha256:../../../../etc/passwd"
    if how == "no entry":
        index["manifests"] = []
    return canonical(index) if how != "no JSON" else data[:-2]


@pytest.mark.parametrize(
    ("how", "code", "expected"),
    [
        ("another digest", 4, {"not-found", "other-subject"}),
        ("another size", 3, {"size-mismatch"}),
        ("a path for a digest", 5, {"format"}),
        ("no entry", 5, {"format"}),
        ("no JSON", 5, {"format"}),
    ],
)
def test_an_index_that_points_elsewhere_is_a_problem_and_no_crash(
    hub: Hub, client: Client, files: dict[str, bytes], how: str, code: int, expected: set[str]
) -> None:
    hub.commit("org/data", files | {INDEX: broken_index(files[INDEX], how)})
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (code, expected)
    assert "Traceback" not in said.err


def test_several_places_make_one_report(hub: Hub, client: Client, signal: Store) -> None:
    small = files_of(signal.root, "signal", config="small", split="test")
    files = files_of(signal.root, "signal") | small
    files["README.md"] = card("default/train", "small/test")
    hub.commit("org/data", files)
    hub.tag("org/data", "v1")
    said = verify(client, "org/data@v1")
    assert (said.code, said.json["problems"]) == (0, [])
    assert {note.split(":")[0] for note in said.json["notes"]} == {"default/train", "small/test"}
    gone: dict[str, bytes | None] = {**files, shards_of(small)[0]: None}
    hub.commit("org/data", gone)
    assert kinds(verify(client, "org/data")) == {"missing-file"}
    assert verify(client, "org/data/default").code == 0
    assert verify(client, "org/data/small/test").code == 4
    assert verify(client, "org/data/other").code == 4
    deep = verify(client, "org/data@v1", "--deep")
    assert (deep.code, deep.json["problems"]) == (0, [])


def test_a_tag_that_moved_and_a_branch_that_went_back_are_noticed(
    hub: Hub, client: Client, files: dict[str, bytes], origin: Path
) -> None:
    """Where there is a store: without one there is no memory."""
    Store.open(client.store, create=True)
    old = {**files_of(origin, "rollouts"), "README.md": card()}
    before = hub.commit("org/data", old)
    both: dict[str, bytes | None] = dict.fromkeys(old)
    hub.commit("org/data", both | files)
    hub.tag("org/data", "v1")
    for name in ("org/data", "org/data@v1"):
        assert verify(client, name).code == 0
    hub.repository("org/data").branches["main"] = before
    hub.tag("org/data", "v1", before)
    moved, rewound = verify(client, "org/data@v1"), verify(client, "org/data")
    assert (moved.code, kinds(moved)) == (3, {"moved-tag"})
    assert (rewound.code, kinds(rewound)) == (3, {"rewound-branch"})
    assert "--accept-moved" in told(moved)
    assert verify(client, "org/data@v1").code == 3  # what is wrong is not remembered
    assert verify(client, f"org/data@{before}").code == 0
    hub.commit("org/data", dict.fromkeys(old))
    assert verify(client, "org/data").code == 3


def test_a_signature_is_asked_for_at_a_distance(
    hub: Hub, client: Client, signal: Store, tmp_path: Path
) -> None:
    keys = [tmp_path / "mine", tmp_path / "other"]
    for key in keys:
        assert client.lopd_store("keygen", key).code == 0
    hub.commit("org/data", files_of(signal.root, "signal") | {"README.md": card()})
    publics = [tmp_path / "mine.pub", tmp_path / "other.pub"]
    assert kinds(verify(client, "org/data", "--key", publics[0])) == {"unsigned"}
    assert client.lopd_store("sign", "signal", "--key", keys[0], "--store", signal.root).code == 0
    signed = files_of(signal.root, "signal")
    hub.commit("org/data", signed)
    said = verify(client, "org/data", "--key", publics[0])
    assert (said.code, said.json["problems"]) == (0, [])
    assert "signed by" in told(said)
    other = verify(client, "org/data", "--key", publics[1])
    assert (other.code, kinds(other)) == (3, {"unsigned"})
    path = next(path for path in signed if "/signature-" in path)
    hub.commit("org/data", {path: flipped(signed[path], 30)})
    said = verify(client, "org/data", "--key", publics[0])
    assert (said.code, kinds(said)) == (3, {"digest-mismatch", "unsigned"})


def test_evidence_about_something_else_is_a_problem(
    hub: Hub, client: Client, signal: Store, origin: Path
) -> None:
    about = signal.root / "index.json"
    files = files_of(signal.root, "signal") | {"README.md": card()}
    index = json.loads(about.read_bytes())
    noise = next(one for one in index["manifests"] if "noise" in str(one.get("artifactType")))
    rollouts = files_of(origin, "rollouts") | {"README.md": card()}
    entry = json.loads(rollouts[INDEX])["manifests"][0]
    rollouts[INDEX] = canonical(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [entry, noise],
        }
    )
    evidence = {path: data for path, data in files.items() if "/evidence-" in path}
    more = {path: data for path, data in files.items() if "/noise-" in path or "/blob-" in path}
    hub.commit("org/data", rollouts | evidence | more)
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (5, {"other-subject"})


def test_the_digests_of_columns_are_compared(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    path = "lopd/default/train/columns.json"
    lie = canonical({"format": "lopd.columns.v1", "columns": {"x": "sha256:" + "0" * 64}})
    hub.commit("org/data", files | {path: lie})
    said = verify(client, "org/data")
    assert (said.code, kinds(said)) == (3, {"content-digest-differ"})


def test_rows_without_a_manifest_are_downloaded_and_it_says_so(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    rows = {f"data/{n:05}.parquet": files[path] for n, path in enumerate(shards_of(files))}
    hub.commit("org/rows", rows)
    said = verify(client, "org/rows")
    assert said.code == 0, said.err
    assert "its shards were downloaded" in told(said)
    assert not said.json["at_a_distance"]
    assert verify(client, "org/rows@sha256:" + "0" * 64).code == 4


def test_an_artifact_that_is_gone_is_noticed(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    """A repository that shows only rows where it showed an artifact."""
    Store.open(client.store, create=True)
    assert verify(client, "org/data").code == 0
    gone: dict[str, bytes | None] = {path: None for path in files if path.startswith("lopd/")}
    published.commit("org/data", gone)
    said = verify(client, "org/data")
    assert said.code == 3
    assert "artifact-gone" in said.err


def test_what_is_not_there_says_what_to_do(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    hub.commit("org/data", files)
    hub.create("org/private", private=True)
    for name in ("org/absent", "org/data@v9", "org/data/other/train"):
        said = verify(client, name)
        assert (said.code, said.out) == (4, "")
    said = verify(client, "org/data", "--teacher", "org/nobody")
    assert said.code == 4
    assert "a model on the Hub" in said.err
