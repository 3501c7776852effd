"""open_signal takes artifacts on the Hub: pinned, compared with what was seen, checked, offline."""

import json
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.published import files_of
from tests.hub.pulled import BYTES, damage, flipped
from tests.hub.pushing import having, pushed
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

OPEN = """
import json, os, sys
from pathlib import Path
from lopd_store.errors import LopdError
from lopd_store.signals import open_signal
for name in sys.argv[1:]:
    try:
        signal = open_signal(name, root=Path(os.environ["LOPD_STORE"]))
        rows = sum(shard.rows for shard in signal.open_shards())
        blob = signal.tokenizer_blob(signal.identities[0])
        facts = [signal.kind, str(signal.id), str(signal.content_digest), signal.tokens]
        print(json.dumps([signal.name, rows, *facts, len(blob or b"")]))
    except LopdError as error:
        print(json.dumps([type(error).__name__, error.exit_code, str(error)]))
"""


@pytest.fixture
def files(signal: Store) -> dict[str, bytes]:
    return files_of(signal.root, "signal")


@pytest.fixture
def published(hub: Hub, files: dict[str, bytes]) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files)
    hub.tag("org/data", "v1")
    return hub


def opened(client: Client, *names: str, **environment: str) -> list[list[object]]:
    """What a process prints that opens these names one after another."""
    said = client.python(OPEN, *names, **environment)
    return [json.loads(line) for line in said.out.splitlines()]


def facts(store: Store) -> list[object]:
    """Of the signal, as its own store has it."""
    artifact = load(store, "signal")
    document = artifact.document
    blob = store.blobs.get(artifact.manifest.tokenizers[0].digest)
    digests = [str(artifact.id), str(document.content_digest)]
    return [document.rows, document.kind, *digests, document.tokens, len(blob)]


def test_what_was_pushed_opens_by_its_version_on_either_hub(account: Account, built: Path) -> None:
    pusher, repo = having(account.client(), built), account.repository()
    made = pushed(pusher.lopd_store("push", "signal", f"{repo}@v1", "--json"))
    reader = account.client("reader")
    names = [f"{repo}@v1", repo, f"{repo}/default/train@v1@{made['id']}", f"{repo}@{made['id']}"]
    found = opened(reader, *names)
    assert [one[0] for one in found] == [
        f"{repo}@{made['commit']}",
        f"{repo}@{made['commit']}",
        f"{repo}/default/train@{made['commit']}@{made['id']}",
        f"{repo}@{made['commit']}@{made['id']}",
    ]
    assert {one[3] for one in found} == {made["id"]}
    assert opened(reader, *names, HF_HUB_OFFLINE="1") == found
    assert not reader.store.exists()


def test_an_artifact_is_all_that_its_manifest_says(
    published: Hub, client: Client, signal: Store
) -> None:
    commit = published.revision("org/data")
    (found,) = opened(client, "org/data@v1")
    assert found == [f"org/data@{commit}", *facts(signal)]


def test_offline_the_cache_is_enough(published: Hub, client: Client) -> None:
    """By the tag or the commit that was opened; with a store at hand or without."""
    Store.open(client.store, create=True)
    commit = published.revision("org/data")
    names = ["org/data@v1", f"org/data@{commit}"]
    found = opened(client, *names)
    asked = len(published.requests)
    assert opened(client, *names, HF_HUB_OFFLINE="1") == found
    assert len(published.requests) == asked
    ((kind, code, message),) = opened(client, "org/data@v2", HF_HUB_OFFLINE="1")
    assert (kind, code) == ("NotFoundError", 4)
    assert "unset HF_HUB_OFFLINE" in str(message)


def test_when_the_hub_is_away_the_cache_is_enough_too(published: Hub, client: Client) -> None:
    Store.open(client.store, create=True)
    found = opened(client, "org/data@v1", "org/data")
    published.faults.append(Fault(match=".", times=None, status=503))
    assert opened(client, "org/data@v1", "org/data") == found


def test_what_was_opened_is_not_downloaded_again(published: Hub, client: Client) -> None:
    opened(client, "org/data@v1")
    asked = len(published.asked(BYTES))
    assert asked == 3  # two shards and the tokenizer
    opened(client, "org/data@v1", "org/data")
    assert len(published.asked(BYTES)) == asked


@pytest.mark.usefixtures("published")
def test_commands_take_the_name(client: Client, tmp_path: Path) -> None:
    query = "select count(*) as rows from signals"
    said = client.lopd_store("sql", "org/data@v1", query, "--json")
    assert said.code == 0, said.err
    assert said.json == [{"rows": 60}]
    path = tmp_path / "rows.parquet"
    said = client.lopd_store("export", "org/data@v1", "--format", "trl", "-o", path, "--json")
    assert said.code == 0, said.err
    assert said.json["rows"] == 60


def test_a_pin_is_kept(published: Hub, client: Client, signal: Store, origin: Path) -> None:
    """On main first, else at a tag; another artifact is refused, and so is a repository of rows."""
    pin = load(signal, "signal").id
    changed = dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    commit = published.revision("org/data")
    published.commit("org/data", changed)
    found, other, plain = opened(
        client, f"org/data@{pin}", f"org/data@main@{pin}", f"org/rows@{pin}"
    )
    assert found == [f"org/data@{commit}@{pin}", *facts(signal)]
    assert other[:2] == ["IntegrityError", 3]
    assert "pinned-digest" in str(other[2])
    assert plain[:2] == ["NotFoundError", 4]


def test_a_tag_that_moved_is_noticed(
    published: Hub, client: Client, signal: Store, origin: Path
) -> None:
    """Where a store remembers: a second open of the same name, from another artifact."""
    Store.open(client.store, create=True)
    assert opened(client, "org/data@v1", "org/data")[0][1] == 60
    changed = dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    before = published.revision("org/data")
    published.commit("org/data", changed)
    published.tag("org/data", "v1")
    for again in range(2):
        moved, later = opened(client, "org/data@v1", "org/data")
        assert moved[:2] == ["IntegrityError", 3], again
        assert "moved-tag" in str(moved[2])
        assert "lopd-store pull --accept-moved" in str(moved[2])
        assert later[1] == 60  # a branch goes on
    published.repository("org/data").branches["main"] = before
    ((kind, code, message),) = opened(client, "org/data")
    assert (kind, code) == ("IntegrityError", 3)
    assert "rewound-branch" in str(message)
    said = client.lopd_store("pull", "org/data@v1", "--accept-moved", "-o", "taken")
    assert said.code == 0, said.err
    assert opened(client, "org/data@v1")[0][1] == 60


def test_a_store_that_cannot_remember_opens_all_the_same(published: Hub, client: Client) -> None:
    opened(client, "org/data@v1")
    store = Store.open(client.store, create=True)
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))"
    found = json.loads(client.python(full + OPEN, "org/data@v1").out)
    assert list((store.work / "hub").glob("*.json")) == []
    assert found[0] == f"org/data@{published.revision('org/data')}"


def test_shards_that_are_not_what_the_manifest_says_are_refused(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    path = next(path for path in files if path.endswith(".parquet"))
    damage(published, files[path], flipped(files[path], len(files[path]) // 2))
    ((kind, code, message),) = opened(client, "org/data@v1")
    assert (kind, code) == ("DigestMismatchError", 3)
    assert f"{path}: digest-mismatch" in str(message)
    published.damaged.clear()
    assert opened(client, "org/data@v1")[0][1] == 60  # of what was wrong, nothing was kept


@pytest.mark.usefixtures("published")
def test_a_shard_that_rots_in_the_cache_is_refused(client: Client) -> None:
    opened(client, "org/data@v1")
    shard = next((client.folder / "cache").rglob("*.parquet")).resolve()
    shard.write_bytes(flipped(shard.read_bytes(), 1000))
    ((kind, code, message),) = opened(client, "org/data@v1")
    assert (kind, code) == ("DigestMismatchError", 3)
    assert "delete it to have it downloaded again" in str(message)


def test_a_swapped_a_longer_and_a_missing_shard_are_refused(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    first, second = sorted(path for path in files if path.endswith(".parquet"))
    hub.commit("org/swapped", files | {first: files[second], second: files[first]})
    hub.commit("org/longer", files | {first: files[first] + b"\0"})
    hub.commit("org/missing", {path: data for path, data in files.items() if path != second})
    swapped, longer, missing = opened(client, "org/swapped", "org/longer", "org/missing")
    assert swapped[1] == longer[1] == 3
    assert missing[:2] == ["NotFoundError", 4]
    assert f"expected a shard {second}, found none" in str(missing[2])


def test_a_document_that_is_not_its_digest_is_refused(
    hub: Hub, client: Client, files: dict[str, bytes]
) -> None:
    for number, name in enumerate(["manifest", "artifact", "identity"]):
        path = next(path for path in files if f"/{name}-" in path)
        hub.commit(f"org/data{number}", files | {path: flipped(files[path], 40)})
    found = opened(client, *(f"org/data{number}" for number in range(3)))
    assert [one[:2] for one in found] == [["DigestMismatchError", 3]] * 3


def test_one_of_several_has_to_be_named(hub: Hub, client: Client, signal: Store) -> None:
    small = files_of(signal.root, "signal", config="small", split="test")
    hub.commit("org/data", files_of(signal.root, "signal") | small)
    several, one, split, none = opened(
        client, "org/data", "org/data/small", "org/data/default/train", "org/data/other"
    )
    assert several[:2] == ["UsageError", 2]
    assert str(several[2]).endswith("org/data/default/train, org/data/small/test")
    commit = hub.revision("org/data")
    assert one == [f"org/data/small@{commit}", *facts(signal)]
    assert split == [f"org/data/default/train@{commit}", *facts(signal)]
    assert none[:2] == ["NotFoundError", 4]
    assert hub.asked("/small/.*parquet")


def test_an_artifact_that_is_gone_is_noticed(
    published: Hub, client: Client, files: dict[str, bytes]
) -> None:
    Store.open(client.store, create=True)
    opened(client, "org/data")
    published.commit("org/data", dict.fromkeys(p for p in files if p.startswith("lopd/")))
    ((kind, code, message),) = opened(client, "org/data")
    assert (kind, code) == ("IntegrityError", 3)
    assert "artifact-gone" in str(message)


def test_the_token_is_in_no_file(published: Hub, client: Client) -> None:
    published.repository("org/data").private = True
    Store.open(client.store, create=True)
    (found,) = opened(client, "org/data@v1")
    assert found[1] == 60
    token = client.environment["HF_TOKEN"].encode()
    for path in client.folder.rglob("*"):
        assert not (path.is_file() and token in path.read_bytes()), path
