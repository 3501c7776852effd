"""show and ls look at the Hub: the output of a store, and nothing of a shard."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.keys import read_private
from lopd_store.signing import sign
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.published import files_of
from tests.hub.pulled import flipped, pulled
from tests.hub.pushing import having, pushed, several
from tests.hub.verifying import asked_for_shards
from tests.hub_server import Hub

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


def test_what_was_pushed_is_shown_and_listed_on_either_hub(account: Account, built: Path) -> None:
    pusher, repo = having(account.client(), built), account.repository()
    made = pushed(pusher.lopd_store("push", "signal", f"{repo}@v1", "--json"))
    reader = account.client("reader")
    shown, listed, older = several(
        reader,
        ["show", f"{repo}@v1@{made['id']}", "--json"],
        ["ls", repo, "--json"],
        ["ls", f"{repo}@v1"],
    )
    assert shown.json["id"] == made["id"], shown.err
    assert listed.json["commit"] == made["commit"]
    assert listed.json["versions"] == [{"version": "v1", "commit": made["commit"]}]
    assert [one["id"] for one in listed.json["artifacts"]] == [made["id"]]
    assert older.out.startswith(f"{repo}@v1, commit {made['commit']}\n")
    assert not reader.store.exists()


def test_show_says_of_a_name_what_it_says_of_a_ref(
    published: Hub, client: Client, signal: Store, files: dict[str, bytes]
) -> None:
    here = client.lopd_store("show", "signal", "--json", "--store", signal.root).json
    there = client.lopd_store("show", "org/data@v1", "--json").json
    where = {name: there.pop(name) for name in ("repository", "config", "split", "revision")}
    assert where == {
        "repository": "org/data",
        "config": "default",
        "split": "train",
        "revision": "v1",
    }
    assert there.pop("commit") == published.revision("org/data")
    assert (there.pop("refs"), here.pop("refs")) == ([], ["signal"])
    paths = [shard.pop("path") for shard in there["shards"]]
    assert paths == sorted(path for path in files if path.endswith(".parquet"))
    assert all(shard.pop("path") for shard in here["shards"])
    assert there == here
    assert asked_for_shards(published, files) == []
    assert not client.store.exists()


def test_show_is_a_page_for_people(published: Hub, client: Client, signal: Store) -> None:
    shown = client.lopd_store("show", "org/data@v1")
    assert shown.code == 0, shown.err
    lines = shown.out.splitlines()
    assert lines[0].split() == ["id", str(load(signal, "signal").id)]
    commit = published.revision("org/data")
    assert f"org/data/default/train@v1, commit {commit}" in lines[1]
    assert str(client.folder) not in shown.out
    assert client.lopd_store("show", "org/data@v1", "--skipped", "--json").json == []


def test_show_names_who_signed_and_that_it_is_not_proved(
    hub: Hub, client: Client, signal: Store
) -> None:
    client.lopd_store("keygen", client.folder / "key")
    key = read_private(client.folder / "key")
    sign(signal, "signal", key)
    hub.commit("org/data", files_of(signal.root, "signal"))
    for words in (("org/data",), ("signal", "--store", signal.root)):
        assert client.lopd_store("show", *words, "--json").json["signers"] == [str(key.public.id)]
        said = client.lopd_store("show", *words).out
        assert f"{key.public.id}: named, not proved (lopd-store verify {words[0]} --key" in said


def test_pins_count_and_what_was_seen_is_compared(
    published: Hub, client: Client, signal: Store, origin: Path
) -> None:
    Store.open(client.store, create=True)
    assert client.lopd_store("show", "org/data@v1").code == 0
    other = client.lopd_store("show", f"org/data@v1@sha256:{'0' * 64}")
    assert (other.code, "pinned-digest" in other.err) == (3, True)
    changed = dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    published.commit("org/data", changed)
    published.tag("org/data", "v1")
    for command in ("show", "ls"):
        moved = client.lopd_store(command, "org/data@v1")
        assert (moved.code, "moved-tag" in moved.err) == (3, True)


def test_a_damaged_document_is_refused_by_show_and_told_by_ls(
    hub: Hub, client: Client, signal: Store, files: dict[str, bytes]
) -> None:
    path = next(path for path in files if "/artifact-" in path)
    small = files_of(signal.root, "signal", config="small")
    hub.commit("org/data", small | files | {path: flipped(files[path], 40)})
    assert client.lopd_store("show", "org/data/default").code == 3
    listed = client.lopd_store("ls", "org/data", "--json")
    assert listed.code == 0
    damaged, whole = listed.json["artifacts"]
    assert "digest-mismatch" in damaged["error"]
    assert whole["rows"] == 60
    said = client.lopd_store("ls", "org/data")
    assert "digest-mismatch" in said.err


def test_ls_has_a_line_a_place_and_a_line_a_version(
    hub: Hub, client: Client, signal: Store, origin: Path
) -> None:
    files = files_of(signal.root, "signal") | files_of(
        origin, "rollouts", config="student", split="test"
    )
    first = hub.commit("org/data", files)
    for version in ("v10", "v9", "v1"):
        hub.tag("org/data", version)
    said = client.lopd_store("ls", "org/data")
    assert said.code == 0, said.err
    head, columns, *lines = said.out.splitlines()
    assert head == f"org/data@main, commit {first}"
    assert columns.split()[:4] == ["config", "split", "kind", "rows"]
    short = [load(signal, ref).id.short for ref in ("signal", "rollouts")]
    assert [line.split()[:4] for line in lines[:2]] == [
        ["default", "train", "signal", "60"],
        ["student", "test", "rollouts", "60"],
    ]
    assert [id_ in line for id_, line in zip(short, lines, strict=False)] == [True, True]
    assert [line.split() for line in lines[2:]] == [
        ["version", "commit"],
        *([version, first] for version in ("v1", "v9", "v10")),
    ]
    assert hub.asked(r"\.parquet") == []
    several = client.lopd_store("show", "org/data")
    assert several.code == 2
    assert "org/data/default/train, org/data/student/test" in several.err
    only = client.lopd_store("ls", "org/data/student", "--json").json["artifacts"]
    assert [one["config"] for one in only] == ["student"]


@pytest.mark.usefixtures("published")
def test_commands_on_refs_say_how_to_get_what_is_on_the_hub(
    client: Client, models: dict[str, Path]
) -> None:
    pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    client.lopd_store("keygen", client.folder / "key")
    commands: list[Sequence[object]] = [
        ["diff", "org/data@v1", "org/data:v1"],
        ["diff", "org/data@v1", "org/data:v1", "--signals"],
        ["merge", "org/data@v1", "org/data:v1", "-o", "both"],
        ["tag", "org/data@v1", "mine"],
        ["build", "org/data@v1", "-o", "mine", "--teacher", models["teacher"]],
        ["push", "org/data@v1", "org/other@v1"],
        ["sign", "org/data@v1", "--key", client.folder / "key"],
        ["log", "org/data@v1"],
        ["stamp", client.folder, "--sft", "org/data@v1"],
    ]
    for command, said in zip(commands, several(client, *commands), strict=True):
        assert said.code in {2, 4}, command
        assert "`lopd-store pull org/data@v1` brings it here" in said.err, command
    for command in (["show", "org/none@v1"], ["sql", "org/none@v1", "select 1"]):
        said = client.lopd_store(*command)
        assert said.code == 4
        assert "brings it here" not in said.err


def test_a_name_of_neither_says_so(hub: Hub, client: Client, signal: Store) -> None:
    hub.commit("org/rows", {"data/rows.parquet": b"PAR1"})
    where = ("--store", signal.root)
    nearly, plain, odd, ref = several(
        client,
        ["show", "org/nothing", *where],
        ["show", "org/rows", *where],
        ["ls", "no name"],
        ["ls", "signal", *where],
    )
    assert (nearly.code, plain.code, odd.code, ref.code) == (4, 4, 2, 2)
    assert "found neither" in nearly.err
    assert "it was not published with lopd-store push" in plain.err


def test_json_of_ls_without_an_argument_is_as_it_was(client: Client, signal: Store) -> None:
    listed = json.loads(client.lopd_store("ls", "--json", "--store", signal.root).out)
    assert [one["ref"] for one in listed] == ["rollouts", "signal"]
