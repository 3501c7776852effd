"""What verify says beside its verdict: which artifacts, at which commit, proved by which key."""

from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.keys import read_private
from lopd_store.signing import sign
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.cli.runner import kinds
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.pulled import flipped
from tests.hub.verifying import card, shards_of, verify
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


def entry(store: Store, ref: str, **more: object) -> dict[str, object]:
    """An artifact of a report, as its own store has it."""
    document = load(store, ref).document
    return {
        "id": str(load(store, ref).id),
        "config": None,
        "split": None,
        "kind": document.kind,
        "rows": document.rows,
        "signed_by": [],
        **more,
    }


@pytest.mark.parametrize("deep", [[], ["--deep"]], ids=["at a distance", "deep"])
def test_a_name_on_the_hub_comes_with_its_commit_and_who_signed(
    hub: Hub, client: Client, signal: Store, deep: list[str]
) -> None:
    client.lopd_store("keygen", client.folder / "key")
    key = read_private(client.folder / "key")
    sign(signal, "signal", key)
    commit = hub.commit("org/data", files_of(signal.root, "signal") | {"README.md": card()})
    hub.tag("org/data", "v1")
    where = {"config": "default", "split": "train"}
    said = verify(client, "org/data@v1", *deep)
    assert said.code == 0, said.out
    assert (said.json["revision"], said.json["commit"]) == ("v1", commit)
    assert said.json["artifacts"] == [entry(signal, "signal", **where)]
    said = verify(client, "org/data", "--key", f"{client.folder}/key.pub", *deep)
    assert said.code == 0, said.out
    assert said.json["revision"] == "main"
    signed = entry(signal, "signal", **where, signed_by=[str(key.public.id)])
    assert said.json["artifacts"] == [signed]


def test_a_key_that_did_not_sign_is_not_named(published: Hub, client: Client) -> None:
    client.lopd_store("keygen", client.folder / "key")
    said = verify(client, "org/data", "--key", f"{client.folder}/key.pub")
    assert (said.code, kinds(said)) == (3, {"unsigned"})
    assert [one["signed_by"] for one in said.json["artifacts"]] == [[]]
    assert published.asked(r"\.parquet") == []


def test_the_artifacts_of_a_store_are_told_and_one_that_cannot_be_read_too(signal: Store) -> None:
    here = Client(signal.root.parent, {})
    said = verify(here, "signal", "--store", signal.root)
    assert said.json["artifacts"] == [entry(signal, "signal")]
    assert (said.json["revision"], said.json["commit"]) == (None, None)
    whole = verify(here, str(signal.root))
    assert whole.json["artifacts"] == [entry(signal, ref) for ref in ("rollouts", "signal")]
    artifact = load(signal, "signal")
    path = signal.blobs.path(artifact.manifest.config.digest)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(flipped(data, 40))
    said = verify(here, "signal", "--store", signal.root)
    assert said.code == 3
    (told,) = said.json["artifacts"]
    assert [told["id"], told["kind"], told["rows"]] == [str(artifact.id), None, None]


def test_the_verdict_on_one_artifact_has_the_id_to_pin(
    published: Hub, client: Client, signal: Store, files: dict[str, bytes]
) -> None:
    id_ = str(load(signal, "signal").id)
    near = client.lopd_store("verify", "signal", "--store", signal.root)
    assert near.out == f"signal ({id_[7:19]}) {id_}: ok (depth 1, integrity)\n"
    deep = client.lopd_store("verify", "org/data@v1", "--deep")
    assert f" {id_}: ok (depth 1, integrity)" in deep.out
    pinned = client.lopd_store("verify", f"org/data@v1@{id_}")
    assert pinned.out.count(id_) == 1
    small = files_of(signal.root, "signal", config="small")
    readme = {"README.md": card("default/train", "small/train")}
    published.commit("org/data", files | small | readme)
    assert id_ not in client.lopd_store("verify", "org/data").out


def test_shards_without_an_artifact_have_a_commit(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    commit = hub.commit(
        "org/rows", {f"data/{Path(path).name}": files[path] for path in shards_of(files)}
    )
    said = verify(client, "org/rows")
    assert said.code == 0, said.out
    told = said.json
    assert [told["artifacts"], told["revision"], told["commit"]] == [[], "main", commit]


def test_accept_moved_takes_what_is_there_and_remembers_it(
    published: Hub, client: Client, signal: Store, origin: Path
) -> None:
    Store.open(client.store, create=True)
    first = published.revision("org/data")
    assert verify(client, "org/data@v1").code == verify(client, "org/data").code == 0
    changed = dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    published.commit("org/data", changed | {"README.md": card()})
    published.tag("org/data", "v1")
    moved, later = verify(client, "org/data@v1"), verify(client, "org/data")
    assert (moved.code, kinds(moved), later.code) == (3, {"moved-tag"}, 0)
    assert any("--accept-moved" in note for note in moved.json["notes"])
    assert verify(client, "org/data@v1", "--accept-moved").code == 0
    assert verify(client, "org/data@v1").code == 0
    published.repository("org/data").branches["main"] = first
    rewound = verify(client, "org/data")
    assert (rewound.code, kinds(rewound)) == (3, {"rewound-branch", "older-artifact"})
    assert verify(client, "org/data", "--accept-moved").code == 0
    assert verify(client, "org/data").code == 0
