"""There and back: the same artifact; a next version sends what is new; the token is nowhere."""

from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from tests.building.chain import build_signal, publish_rollouts, random_rows, rows_in
from tests.building.fixtures import built, models, origin, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.pushing import having, person, pushed, several, uploaded, versions
from tests.hub.scripts import shown
from tests.hub_server import TOKEN, Fault, Hub

__all__ = ["built", "models", "origin", "student", "teacher"]


@pytest.mark.parametrize(
    "more", [["--no-text"], ["--max-error", "2^-12"]], ids=lambda more: more[0]
)
def test_what_is_pushed_and_pulled_into_an_empty_store_has_the_same_id_and_verifies(
    account: Account, built: Path, models: dict[str, Path], more: list[str]
) -> None:
    author, repo = having(account.client("author"), built), account.repository()
    author_key = author.folder / "key"
    keys, said = several(
        author,
        ["keygen", author_key],
        ["push", "signal", f"{repo}/small@v1", "--key", author_key, "--json", *more],
    )
    assert keys.code == 0
    made = pushed(said)
    reader = account.client("reader")
    pinned = f"{repo}/small@v1@{made['id']}"
    pulled, verified, shown, near, fsck = several(
        reader,
        ["pull", pinned, "--json"],
        [
            "verify",
            made["ref"],
            "--teacher",
            models["teacher"],
            "--key",
            f"{author_key}.pub",
            "--json",
        ],
        ["show", made["ref"], "--json"],
        ["verify", pinned, "--json"],
        ["fsck"],
    )
    assert pulled.code == 0, pulled.err
    (one,) = pulled.json["pulled"]
    assert [one["id"], one["ref"]] == [made["id"], made["ref"]]
    assert verified.code == 0, verified.out + verified.err
    assert [verified.json["ok"], verified.json["depth"]] == [True, 2]
    assert shown.json["id"] == made["id"]
    assert (near.code, near.json["ok"], fsck.code) == (0, True, 0), near.out
    here, there = Store.open(reader.store), Store.open(author.store)
    assert rows_in(here, made["ref"]).equals(rows_in(there, made["ref"]))
    evidence = [store.evidence(load(store, made["id"]).id) for store in (here, there)]
    assert {one.digest for one in evidence[0]} == {one.digest for one in evidence[1]} != set()
    again = pushed(
        reader.lopd_store("push", made["ref"], f"{repo}/small@v1", "--no-text", "--json")
    )
    assert [again["bytes_sent"], again["commit"], again["id"]] == [0, made["commit"], made["id"]]


def test_of_a_next_version_with_a_tenth_more_rows_only_new_shards_travel(
    hub: Hub, client: Client, teacher: Fingerprint, student: Fingerprint
) -> None:
    store = Store.open(client.store, create=True)
    for name, rows, seed in (("old", 400, 0), ("new", 40, 1)):
        publish_rollouts(store, student, [random_rows(rows, seed=seed)], ref=f"{name}-rollouts")
        build_signal(store, teacher, rollouts=f"{name}-rollouts", ref=name, shard_tokens=500)
    first = pushed(client.lopd_store("push", "old", "org/data@v1", "--json"))
    whole, puts = uploaded(hub), len(hub.asked("^PUT "))
    merged, said = several(
        client,
        ["merge", "old", "new", "-o", "both", "--json"],
        ["push", "both", "org/data@v2", "--json"],
    )
    assert merged.code == 0, merged.err
    second = pushed(said)
    files = {version: hub.files("org/data", version) for version in ("v1", "v2")}
    shards = {
        version: {path: data for path, data in found.items() if path.endswith(".parquet")}
        for version, found in files.items()
    }
    kept = shards["v1"].keys() & shards["v2"].keys()
    new = {path: data for path, data in shards["v2"].items() if path not in kept}
    assert len(kept) == len(shards["v1"]) >= 9
    assert [shards["v1"][path] for path in kept] == [shards["v2"][path] for path in kept]
    assert uploaded(hub) - whole == sum(map(len, new.values())) < whole / 4
    assert len(hub.asked("^PUT ")) - puts == len(new)
    assert second["bytes_sent"] < first["bytes_sent"] / 2
    found = versions(hub, "org/data")
    assert found["v1"] == {"default/train": first["id"]}
    assert found["v2"] == found["main"] == {"default/train": second["id"]}
    code = """
        from datasets import load_dataset
        show([len(load_dataset(repo, split='train', revision=v)) for v in ('v1', 'v2')])
    """
    assert shown(client, code, "org/data") == [[400, 440]]
    (pulled,) = pulled_by_another(hub, client.folder.parent / "other", "org/data@v1")
    assert pulled["id"] == first["id"]


def pulled_by_another(hub: Hub, folder: Path, name: str) -> list[dict[str, str]]:
    folder.mkdir()
    other = Client(folder, hub.environment(folder / "cache", token=TOKEN))
    said = other.lopd_store("pull", name, "--json")
    assert said.code == 0, said.err
    pulled: list[dict[str, str]] = said.json["pulled"]
    return pulled


def test_the_token_is_in_no_file_no_output_and_no_request_body(
    hub: Hub, built: Path, tmp_path: Path
) -> None:
    """After push, pull, verify, and failures of them."""
    client = person(hub, tmp_path / "somebody", built)
    key = client.folder / "key"
    said = several(
        client,
        ["keygen", key],
        ["push", "signal", "org/data@v1", "--key", key],
        ["push", "signal", "org/data@v1", "--dry-run", "--json"],
        ["push", "rollouts", "org/data@v1"],
        ["push", "signal", "them/data@v1"],
        ["pull", "org/data@v1", "-o", "copy"],
        ["pull", "org/none@v1"],
        ["verify", "org/data@v1"],
        ["sql", "org/data@v1", "select count(*) from signals"],
    )
    hub.faults += [
        Fault(match="objects/batch", times=None, status=400, message="Bearer who?"),
        Fault(match=r"GET .*/refs", status=500),
    ]
    said += several(
        client, ["push", "rollouts", "org/data/r@v2"], ["pull", "org/data@v1", "-o", "more"]
    )
    hub.faults.clear()
    said += [
        client.lopd_store("push", "rollouts", "org/data/r@v2", HF_ENDPOINT="http://127.0.0.3:9"),
        client.lopd_store("push", "rollouts", "org/data/r@v2", HF_DEBUG="1"),
    ]
    assert [one.code for one in said[:9]] == [0, 0, 0, 2, 1, 0, 4, 0, 0]
    assert said[9].code == said[11].code == 1
    texts = [text for one in said for text in (one.out, one.err)]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    blobs = list(hub.repository("org/data").blobs.values())
    assert min(len(texts), len(files), len(blobs)) > 10
    assert [text for text in texts if TOKEN in text] == []
    assert [data for data in (*files, *blobs) if TOKEN.encode() in data] == []
    assert any(one.authorized for one in hub.requests)
