"""Artifacts of the Hub in a store: the same ids, whatever happens on the way, and no byte twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.published import files_of
from tests.hub.pulled import BYTES, SHARDS, pulled, sent
from tests.hub.scripts import shown
from tests.hub_server import READER, TOKEN, Fault, Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]


@pytest.fixture
def files(signal: Store) -> dict[str, bytes]:
    return files_of(signal.root, "signal")


@pytest.fixture
def published(hub: Hub, files: dict[str, bytes]) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files)
    hub.tag("org/data", "v1")
    return hub


def test_an_artifact_comes_back_under_its_id_from_either_hub(
    account: Account, files: dict[str, bytes], signal: Store, tmp_path: Path
) -> None:
    repo, folder = account.repository(), tmp_path / "files"
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    code = """
        api.create_repo(repo, **where)
        at = api.upload_folder(repo_id=repo, folder_path=sys.argv[2], **where)
        api.create_tag(repo, tag='v1', **where)
    """
    client = account.client()
    shown(client, code, repo, folder)
    (found,) = pulled(client.lopd_store("pull", f"{repo}@v1", "-o", "mine", "--json"))
    assert found["id"] == str(load(signal, "signal").id)
    assert found["bytes"] == found["fetched_bytes"] + documents(signal)
    here = Store.open(client.store)
    assert list(here.refs.list()) == ["mine"]
    assert here.fsck() == []
    assert list(here.tmp.iterdir()) == []
    assert client.lopd_store("verify", "mine").code == 0


def documents(store: Store) -> int:
    """Bytes of the documents, which are read before anything is fetched."""
    manifest = load(store, "signal").manifest
    return sum(one.size for one in (manifest.config, *manifest.identities))


def test_what_is_here_is_not_downloaded_again(published: Hub, client: Client) -> None:
    pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    before = len(published.asked(SHARDS))
    (again,) = pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    (named,) = pulled(client.lopd_store("pull", "org/data", "-o", "other", "--json"))
    assert [again["fetched_bytes"], again["moved"]] == [0, False]
    assert [named["fetched_bytes"], named["moved"], named["ref"]] == [0, True, "other"]
    assert len(published.asked(SHARDS)) == before
    said = client.lopd_store("pull", "org/data@v1")
    assert "it was here already" in said.err
    assert sorted(Store.open(client.store).refs.list()) == ["org/data:v1", "other"]


def test_evidence_comes_with_its_artifact(
    hub: Hub, client: Client, signal: Store, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    at_home = Client(tmp_path, hub.environment(tmp_path / "cache"))
    at_home.lopd_store("keygen", key)
    assert at_home.lopd_store("sign", "signal", "--key", key, LOPD_STORE=str(signal.root)).code == 0
    hub.commit("org/data", files_of(signal.root, "signal"))
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json"))
    assert client.lopd_store("verify", "org/data:main", "--key", f"{key}.pub").code == 0
    here = Store.open(client.store)
    expected = {one.digest for one in signal.evidence(load(signal, "signal").id)}
    assert {one.digest for one in here.evidence(load(here, found["id"]).id)} == expected
    assert len(expected) == 2  # the noise of the build is the other


def test_each_place_gets_a_ref_of_its_own(hub: Hub, client: Client, signal: Store) -> None:
    root = signal.root
    hub.commit("org/data", files_of(root, "signal"))
    hub.commit("org/data", files_of(root, "rollouts", config="small"))
    hub.commit("org/data", files_of(root, "signal", config="small", split="test"))
    hub.tag("org/data", "v2")
    ids = {name: str(load(signal, name).id) for name in ("signal", "rollouts")}
    found = pulled(client.lopd_store("pull", "org/data@v2", "--json"))
    assert {one["ref"]: one["id"] for one in found} == {
        "org/data:v2": ids["signal"],
        "org/data/small:v2": ids["rollouts"],
        "org/data/small/test:v2": ids["signal"],
    }
    (one,) = pulled(client.lopd_store("pull", "org/data/small/test", "--json"))
    assert one["ref"] == "org/data/small/test:main"
    (one,) = pulled(client.lopd_store("pull", "org/data", "--split", "test", "--json"))
    assert one["config"] == "small"
    several = client.lopd_store("pull", "org/data", "-o", "mine")
    assert several.code == 2
    assert "org/data/default/train, org/data/small/test, org/data/small/train" in several.err
    none = client.lopd_store("pull", "org/data", "--config", "big")
    assert none.code == 4
    assert "expected big, found default/train, small/test, small/train" in none.err
    assert client.lopd_store("pull", "org/data/small", "--config", "big").code == 2


def test_an_interrupted_pull_goes_on_at_the_byte_where_it_was(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    """Each answer of the other host breaks off after 1,000 bytes, and soon it refuses all."""
    published.faults = [
        Fault(match=BYTES, times=None, cut=1000),
        Fault(match=BYTES, after=8, times=None, status=403),
    ]
    said = client.lopd_store("pull", "org/data")
    assert said.code == 1
    assert "what came is kept" in said.err
    here = Store.open(client.store)
    assert list(here.blobs.all()) == []
    early = sent(published)
    assert early > 6000
    published.faults.clear()
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json"))
    large = [data for path, data in files.items() if path.endswith((".parquet", ".zst"))]
    assert sent(published) == sum(map(len, large))
    assert found["fetched_bytes"] == sum(map(len, large)) - early
    assert here.fsck() == []
    assert list(here.tmp.iterdir()) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_hub_that_is_busy_is_asked_again(published: Hub, client: Client, status: int) -> None:
    published.faults.append(
        Fault(match=SHARDS, after=1, times=2, status=status, headers={"Retry-After": "0"})
    )
    assert pulled(client.lopd_store("pull", "org/data", "--json"))


def test_a_private_repository_needs_a_token_and_a_gated_one_its_terms(
    hub: Hub, client: Client, files: dict[str, bytes], tmp_path: Path
) -> None:
    for name, settings in (("private", {"private": True}), ("gated", {"gated": "manual"})):
        hub.create(f"org/{name}", **settings)
        hub.commit(f"org/{name}", files)
    nobody = Client(tmp_path, hub.environment(tmp_path / "cache"))
    refused = nobody.lopd_store("pull", "org/private")
    assert refused.code == 4
    assert "hf auth login" in refused.err
    assert nobody.lopd_store("pull", "org/gated").code == 4
    for name in ("private", "gated"):
        assert pulled(client.lopd_store("pull", f"org/{name}", "--json"))
    assert READER not in refused.err


def test_the_token_is_nowhere(published: Hub, client: Client) -> None:
    published.faults.append(Fault(match=SHARDS, status=500))
    said = client.lopd_store("pull", "org/data")
    assert said.code == 0
    assert TOKEN not in said.out + said.err
    kept = [path for path in client.folder.rglob("*") if path.is_file()]
    assert len(kept) > 8
    assert not [path for path in kept if TOKEN.encode() in path.read_bytes()]
    far = published.asked(BYTES)
    assert far
    assert not any(request.authorized for request in far)


def test_a_name_that_no_ref_can_have_asks_for_one(hub: Hub, client: Client, files: Any) -> None:
    hub.commit("org/some__data", files)
    said = client.lopd_store("pull", "org/some__data")
    assert said.code == 2
    assert "-o REF" in said.err
    assert json.loads(client.lopd_store("pull", "org/some__data", "-o", "a", "--json").out)
