"""A name on the Hub whose artifact the store has: its shards are the store's, offline too."""

import json
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import canonical, files_of
from tests.hub.pulled import flipped, pulled
from tests.hub.test_open_signal import opened
from tests.hub.verifying import asked_for_shards
from tests.hub_server import Hub, running

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

COUNT = "select count(*) as rows from signals"


@pytest.fixture
def files(signal: Store) -> dict[str, bytes]:
    return files_of(signal.root, "signal")


@pytest.fixture
def published(hub: Hub, files: dict[str, bytes]) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files)
    hub.tag("org/data", "v1")
    return hub


@pytest.fixture
def having(published: Hub, client: Client) -> Client:
    """Somebody who pulled v1, and whose requests are counted from then on."""
    pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    published.requests.clear()
    return client


def test_what_was_pulled_is_not_downloaded_again(
    published: Hub, having: Client, files: dict[str, bytes]
) -> None:
    commit = published.revision("org/data")
    said = having.lopd_store("sql", "org/data@v1", COUNT, "--json")
    assert said.json == [{"rows": 60}], said.err
    found = opened(having, "org/data@v1", "org/data", "org/data/default/train@v1")
    names = ["org/data", "org/data", "org/data/default/train"]
    assert [one[:2] for one in found] == [[f"{name}@{commit}", 60] for name in names]
    assert asked_for_shards(published, files) == []
    assert list((having.folder / "cache").rglob("*.parquet")) == []


def names_of(commit: str, pin: object) -> dict[str, str]:
    """What people ask for → the name with the commit that was recorded."""
    return {
        "org/data@v1": f"org/data@{commit}",
        f"org/data@{commit}": f"org/data@{commit}",
        f"org/data@{pin}": f"org/data@{commit}@{pin}",
        "org/data/default@v1": f"org/data/default@{commit}",
    }


def test_offline_what_was_pulled_opens_from_the_store(published: Hub, having: Client) -> None:
    """As far as somebody saw where it is: of main nobody did here."""
    pin = load(Store.open(having.store), "org/data:v1").id
    names = names_of(published.revision("org/data"), pin)
    *found, main = opened(having, *names, "org/data", HF_HUB_OFFLINE="1")
    assert [one[0] for one in found] == list(names.values())
    assert {str(one[3]) for one in found} == {str(pin)}
    assert main[:2] == ["NotFoundError", 4]
    shown = having.lopd_store("show", "org/data@v1", "--json", HF_HUB_OFFLINE="1")
    assert (shown.code, shown.json["id"]) == (0, str(pin)), shown.err
    assert published.requests == []


def test_when_the_hub_is_away_what_was_pulled_opens_from_the_store(
    tmp_path: Path, files: dict[str, bytes]
) -> None:
    with running(Hub()) as hub:
        hub.commit("org/data", files)
        hub.tag("org/data", "v1")
        client = Client(tmp_path, hub.environment(tmp_path / "cache"))
        (made,) = pulled(client.lopd_store("pull", "org/data@v1", "--json"))
        commit = hub.revision("org/data")
    names = names_of(commit, made["id"])
    found = opened(client, *names)
    assert [[one[0], one[3]] for one in found] == [[name, made["id"]] for name in names.values()]


def test_offline_other_files_in_the_cache_are_no_reason_to_refuse(
    published: Hub, having: Client
) -> None:
    """As after datasets.load_dataset, which takes the shards and the card only."""
    said = having.hf("download", "org/data", "--repo-type", "dataset", "--include", "data/*")
    assert said.code == 0, said.err
    (found,) = opened(having, "org/data@v1", HF_HUB_OFFLINE="1")
    assert found[:2] == [f"org/data@{published.revision('org/data')}", 60]


def test_what_the_store_has_only_in_part_is_downloaded(
    published: Hub, having: Client, files: dict[str, bytes]
) -> None:
    store = Store.open(having.store)
    store.blobs.path(load(store, "org/data:v1").shards[0].digest).unlink()
    (found,) = opened(having, "org/data@v1")
    assert found[1] == 60
    assert asked_for_shards(published, files)


def test_a_shard_of_the_store_is_checked(having: Client) -> None:
    store = Store.open(having.store)
    path = store.blobs.path(load(store, "org/data:v1").shards[0].digest)
    data = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(flipped(data, len(data) // 2))
    (found,) = opened(having, "org/data@v1")
    assert found[:2] == ["DigestMismatchError", 3]


def test_what_moved_is_noticed_although_the_store_has_what_was_there(
    published: Hub, having: Client, signal: Store, origin: Path
) -> None:
    changed = dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    published.commit("org/data", changed)
    published.tag("org/data", "v1")
    (moved,) = opened(having, "org/data@v1")
    assert moved[:2] == ["IntegrityError", 3]
    assert "moved-tag" in str(moved[2])


def test_a_record_that_nobody_vouches_for_is_not_believed(having: Client) -> None:
    """Another user's, or what a crash left: as if nothing had been seen."""
    (record,) = (having.store / ".lopd" / "hub").glob("*.json")
    said = json.loads(record.read_bytes())
    (seen,) = said["revisions"].values()
    for artifacts in ({"default/train": "sha256:0"}, {"a/b/c": "x"}, {"default/train": 3}, {}):
        seen["artifacts"] = artifacts
        record.write_bytes(canonical(said))
        (found,) = opened(having, "org/data@v1", HF_HUB_OFFLINE="1")
        assert found[:2] == ["NotFoundError", 4]
