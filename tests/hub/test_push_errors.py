"""What a person meets who may not, or cannot: each error says what to do, and nothing was sent."""

import json
import os
import random
import stat
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.pushing import changes, having, person, pushed, several, uploaded, versions
from tests.hub_server import READER, TOKEN, Fault, Hub, User

__all__ = ["built", "models", "origin", "student", "teacher"]

PUSH = ("push", "signal", "org/data@v1", "--no-text")


@pytest.fixture
def pusher(client: Client, built: Path) -> Client:
    return having(client, built)


def test_without_a_token_a_push_says_how_to_get_one(account: Account, built: Path) -> None:
    stranger = having(account.client("stranger", token=False), built)
    said = stranger.lopd_store("push", "signal", f"{account.repository()}@v1")
    assert said.code == 1
    assert "expected a token to publish with, found none" in said.err
    assert "log in with `hf auth login`, or set HF_TOKEN" in said.err


def test_a_token_that_may_not_write_is_told_apart_from_one_that_nobody_knows(
    hub: Hub, built: Path, tmp_path: Path
) -> None:
    hub.create("org/data")
    reader = person(hub, tmp_path / "reader", built, token=READER)
    unknown = person(hub, tmp_path / "unknown", built, token="hf_nobodyHasThisOne")  # noqa: S106
    for name in ("org/data@v1", "org/new@v1"):
        said = reader.lopd_store("push", "signal", name, "--no-text")
        assert said.code == 1
        assert "a token that may write to org, found one that only reads: take another" in said.err
    said = unknown.lopd_store(*PUSH)
    assert said.code == 1
    assert "the Hub does not know who you are: log in with `hf auth login`" in said.err
    assert "nobodyHasThisOne" not in said.err
    assert [one for one in changes(hub) if not one.endswith("/create")] == []


def test_repositories_of_others_are_refused_whether_one_can_see_them_or_not(
    hub: Hub, pusher: Client
) -> None:
    hub.users["hf_theirs"] = User("them")
    hub.create("them/open")
    hub.create("them/private", private=True)
    hub.create("them/gated", gated="manual")
    names = ("them/open", "them/private", "them/gated", "them/new")
    found = several(pusher, *(["push", "signal", f"{name}@v1", "--no-text"] for name in names))
    for name, said in zip(names, found, strict=True):
        assert said.code == 1, (name, said.err)
        assert "found one of somebody, org: take another, or name another" in said.err
    assert [one for one in changes(hub) if not one.endswith("/create")] == []
    assert sorted(name for _, name in hub.repositories) == sorted(names[:3])


def test_a_gated_repository_of_ours_takes_a_push(hub: Hub, pusher: Client) -> None:
    hub.create("org/data", gated="manual")
    pushed(pusher.lopd_store(*PUSH, "--json"))
    assert set(versions(hub, "org/data")) == {"main", "v1"}


def test_names_that_cannot_be_are_said_before_anything_is_asked(hub: Hub, pusher: Client) -> None:
    commit, digest = "0" * 40, "sha256:" + "0" * 64
    cases = {
        "data": "expected org/name",
        "org/data/small/with-dash@v1": "expected org/name",
        "org/data/small/train/more": "expected org/name",
        "org/data@main": "expected the name of a version such as v1, found main",
        f"org/data@{commit}": "expected the name of a version such as v1, found 0000",
        f"org/data@v1@{digest}": "expected a version to give, found a digest, which is given",
        f"org/data@{digest}": "expected a version to give, found a digest, which is given",
        "org/data@v1//beta": "expected the name of a version such as v1, found v1//beta",
        "org/data@refs/pr/1": "expected the name of a version such as v1, found refs/pr/1",
        "org/data@-v1": "expected the name of a version such as v1, found -v1",
        "org/data@v1..2": "expected the name of a version such as v1, found v1..2",
        "org/data@v1.lock": "expected the name of a version such as v1, found v1.lock",
        "org/da--ta@v1": "expected a name the Hub allows",
        "org/data.git@v1": "expected a name the Hub allows",
        f"org/{'a' * 97}@v1": "expected a name the Hub allows",
    }
    found = several(pusher, *(["push", "signal", name] for name in cases))
    for (name, expected), said in zip(cases.items(), found, strict=True):
        assert (said.code, said.out) == (2, ""), (name, said)
        assert expected in said.err, name
        assert "-o" not in said.err.split(), "there is no such option"
    assert hub.requests == []


def test_what_is_not_in_the_store_is_said_before_anything_is_sent(hub: Hub, pusher: Client) -> None:
    absent, license_ = several(
        pusher,
        ["push", "signa", "org/data@v1"],
        ["push", "signal", "org/data@v1", "--license", "not a license"],
    )
    assert (absent.code, license_.code) == (4, 2)
    assert "did you mean signal?" in absent.err
    assert "expected a license such as apache-2.0" in license_.err
    assert changes(hub) == []


def test_a_version_that_is_taken_stays_what_it_is(hub: Hub, pusher: Client) -> None:
    pushed(pusher.lopd_store(*PUSH, "--json"))
    hub.tag("org/data", "by-hand", hub.repository("org/data").branches["main"])
    hub.commit("org/data", {"notes.txt": b"notes"}, branch="draft")
    before, refs = changes(hub), dict(hub.repository("org/data").tags)
    taken, empty, branch = several(
        pusher,
        ["push", "rollouts", "org/data@v1"],
        ["push", "rollouts", "org/data/other@v1"],
        ["push", "rollouts", "org/data@draft"],
    )
    assert [taken.code, empty.code, branch.code] == [2, 2, 2]
    name = load(Store.open(pusher.store), "signal").id
    assert f"expected a new version, found one with {name} at default/train" in taken.err
    assert "versions do not move: name another, such as v1.1" in taken.err
    assert "found one with nothing at other/train" in empty.err
    assert "expected a new version, found a branch of that name" in branch.err
    assert changes(hub) == before
    assert hub.repository("org/data").tags == refs


def test_offline_and_unreachable_say_so_at_once(pusher: Client) -> None:
    said = pusher.lopd_store(*PUSH, HF_HUB_OFFLINE="1")
    assert said.code == 1
    assert "HF_HUB_OFFLINE is set: unset it to publish" in said.err
    said = pusher.lopd_store(*PUSH, HF_ENDPOINT="http://127.0.0.3:9")
    assert said.code == 1
    assert "the Hub cannot be reached" in said.err
    assert "check the network, then run it again" in said.err


FULL = {
    "the-batch-is-refused": Fault(match="objects/batch", status=403, message="storage limit hit"),
    "too-large": Fault(match="objects/batch", status=413, message="Over the limit of one"),
    "payment": Fault(match="commit/main", status=402, message="Your plan has ended"),
    "the-storage-says-so": Fault(match="^PUT ", status=403, message="Storage quota exceeded"),
}


@pytest.mark.parametrize("name", FULL)
def test_no_room_says_what_one_can_do(hub: Hub, pusher: Client, name: str) -> None:
    hub.faults.append(Fault(**vars(FULL[name]) | {"times": None, "seen": 0}))
    said = pusher.lopd_store(*PUSH)
    assert said.code == 1
    assert "the Hub has no room for this" in said.err
    assert FULL[name].message in said.err
    assert "free some space, ask for more, publish to another organisation" in said.err
    assert versions(hub, "org/data") == {"main": {}}
    hub.faults.clear()
    pushed(pusher.lopd_store(*PUSH, "--json"))


def test_a_quota_of_the_hub_is_said_and_what_fits_goes(hub: Hub, pusher: Client) -> None:
    hub.quotas["org"] = 10_000
    said = pusher.lopd_store(*PUSH)
    assert said.code == 1
    assert "no room for this" in said.err
    assert "Private repository storage limit reached" in said.err
    assert uploaded(hub) == 0


@pytest.mark.parametrize("seed", range(6))
def test_of_a_store_that_rotted_nothing_is_sent(hub: Hub, pusher: Client, seed: int) -> None:
    """One bit anywhere in a shard, in the tokenizer or in a document."""
    artifact = load(Store.open(pusher.store), "signal")
    manifest = artifact.manifest
    parts = [*manifest.shards, *manifest.layers, manifest.config, manifest.descriptor()]
    chance = random.Random(seed)  # noqa: S311 - repeatable
    part = parts[chance.randrange(len(parts))]
    path = artifact.store.blobs.path(part.digest)
    data, place = bytearray(path.read_bytes()), chance.randrange(part.size)
    data[place] ^= 1 << chance.randrange(8)
    path.chmod(0o644)
    path.write_bytes(data)
    said = pusher.lopd_store(*PUSH)
    assert said.code == 3, (part.media_type, place, said.err)
    assert changes(hub) == []


def test_a_read_only_store_is_said_before_anything_is_sent(hub: Hub, pusher: Client) -> None:
    if os.geteuid() == 0:
        pytest.skip("root writes into read-only folders")
    folders = [pusher.store, *(path for path in pusher.store.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        said = pusher.lopd_store(*PUSH)
    finally:
        for folder in folders:
            folder.chmod(stat.S_IRWXU)
    assert said.code == 1
    assert changes(hub) == []


def test_json_is_not_mixed_with_words(pusher: Client) -> None:
    said = pusher.lopd_store(*PUSH, "--json", "--license", "mit")
    assert set(json.loads(said.out)) > {"id", "commit"}
    assert TOKEN not in said.out + said.err
