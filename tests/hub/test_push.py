"""What a push leaves in a repository, on either Hub."""

import json
import re
from pathlib import Path

import pytest
import yaml

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Account, Client
from tests.hub.published import REF, canonical, files_of
from tests.hub.pushing import changes, having, pushed, several, snapshot
from tests.hub.scripts import shown
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

MADE = {"README.md", ".gitattributes"}


def refs_of(store: Path) -> dict[str, str]:
    """Ref → digest, as the file says."""
    listed = json.loads((store / "index.json").read_bytes())["manifests"]
    named = [one for one in listed if REF in one.get("annotations", {})]
    return {one["annotations"][REF]: one["digest"] for one in named}


def test_a_repository_has_the_blobs_of_the_artifact_and_a_card(
    account: Account, built: Path
) -> None:
    """With text it is another artifact; without, the same. A key signs what is published."""
    client, repo = having(account.client(), built), account.repository()
    assert client.lopd_store("keygen", client.folder / "key").code == 0
    signed = ("--key", client.folder / "key")
    first = pushed(client.lopd_store("push", "signal", f"{repo}@v1", *signed, "--json"))
    plain = f"{repo}/plain/test@v2"
    second = pushed(client.lopd_store("push", "signal", plain, "--no-text", "--json"))

    refs = refs_of(client.store)
    assert refs[f"{repo}:v1"] == first["id"] != first["source"] == refs["signal"]
    assert refs[f"{repo}/plain/test:v2"] == second["id"] == second["source"] == refs["signal"]

    found = snapshot(account, repo)
    expected = files_of(client.store, f"{repo}:v1") | files_of(
        client.store, f"{repo}/plain/test:v2", config="plain", split="test"
    )
    folders = ("lopd/default/train", "lopd/plain/test")
    made = {f"{folder}/{name}" for folder in folders for name in ("columns.json", "histogram.svg")}
    assert set(found) == set(expected) | MADE | made
    assert {path: found[path] for path in expected} == expected
    assert sum("/signature-" in path for path in found) == 1
    for folder in folders:
        columns = found[f"{folder}/columns.json"]
        assert columns == canonical(json.loads(columns))
        assert b"<script" not in found[f"{folder}/histogram.svg"]
    assert set(snapshot(account, repo, "v1")) == {path for path in found if "/plain/" not in path}


def test_what_is_said_as_json_is_what_was_done(account: Account, built: Path) -> None:
    client, repo = having(account.client(), built), account.repository()
    words = ["push", "signal", f"{repo}/small@v1", "--json", "--license", "mit"]
    dry = pushed(client.lopd_store(*words, "--dry-run"))
    code = "show(api.repo_exists(repo, **where))"
    assert shown(client, code, repo) == [False]
    done = pushed(client.lopd_store(*words))
    assert set(done) == {
        "url", "name", "repo", "config", "split", "version", "commit", "id", "source", "ref",
        "bytes_sent", "bytes",
    }  # fmt: skip
    assert {key: done[key] for key in ("name", "repo", "config", "split", "version", "ref")} == {
        "name": f"{repo}/small/train@v1",
        "repo": repo,
        "config": "small",
        "split": "train",
        "version": "v1",
        "ref": f"{repo}/small:v1",
    }
    assert done["url"].endswith(f"/datasets/{repo}/tree/v1")
    code = "show([api.dataset_info(repo, revision=r).sha for r in ('main', 'v1')])"
    assert shown(client, code, repo) == [[done["commit"]] * 2]

    assert set(dry) == {"name", "id", "source", "send", "remove", "bytes_to_send", "bytes"}
    assert [dry[key] for key in ("name", "id", "source", "remove")] == [
        done["name"], done["id"], done["source"], [],
    ]  # fmt: skip
    files = snapshot(account, repo)
    sizes = {path: len(data) for path, data in files.items() if path not in MADE}
    assert {one["path"]: one["bytes"] for one in dry["send"]} == sizes
    assert dry["bytes"] == dry["bytes_to_send"] == done["bytes"] == sum(sizes.values())
    assert done["bytes_sent"] == done["bytes"]

    dry, again = (pushed(client.lopd_store(*words, *more)) for more in (["--dry-run"], []))
    assert [dry["bytes_to_send"], dry["send"], dry["remove"]] == [0, [], []]
    assert [again["bytes_sent"], again["commit"], again["id"]] == [0, done["commit"], done["id"]]


def test_a_private_repository_is_for_its_owners(account: Account, built: Path) -> None:
    client, repo = having(account.client(), built), account.repository()
    pushed(client.lopd_store("push", "signal", f"{repo}@v1", "--private", "--json"))
    code = "show(api.repo_exists(repo, **where))"
    assert shown(account.client("stranger", token=False), code, repo) == [False]
    assert shown(client, code + "\nshow(api.dataset_info(repo).private)", repo) == [True, True]


def test_rounded_and_unrounded_are_two_artifacts_each_with_its_own_precision(
    account: Account, built: Path
) -> None:
    client, repo = having(account.client(), built), account.repository()
    found = pushed(
        client.lopd_store("push", "signal", f"{repo}@v1", "--max-error", "2^-12", "--json")
    )
    files = snapshot(account, repo, "v1")
    (identity,) = (data for path, data in files.items() if "/identity-" in path)
    assert json.loads(identity)["precision"] == {"max_error": "2^-12"}
    assert found["id"] not in {found["source"], load(Store.open(client.store), "signal").id}
    said = client.lopd_store("verify", f"{repo}:v1", "--json")
    assert said.json["ok"], said.out


def test_a_dry_run_asks_and_changes_nothing(hub: Hub, client: Client, built: Path) -> None:
    having(client, built)
    words = ["push", "signal", "org/data@v1", "--dry-run"]
    said, _ = several(client, words, ["push", "signal", "org/data@v0"])
    assert said.code == 0, said.err
    assert "would send" in said.out
    before = len(hub.requests)
    other = client.lopd_store("push", "rollouts", "org/data@v1", "--dry-run")
    assert other.code == 0, other.err
    assert "would remove data/default/train-00000-" in other.out
    assert {str(one).split()[0] for one in hub.requests[before:]} == {"GET"}
    assert sorted(refs_of(client.store)) == ["org/data:v0", "rollouts", "signal"]


def test_before_it_starts_a_push_says_what_goes_and_what_rounding_would_save(
    hub: Hub, client: Client, built: Path
) -> None:
    having(client, built)
    said = client.lopd_store("push", "signal", "org/data@v1")
    assert said.code == 0, said.err
    assert "text beside the ids and rounding are part of an id" in said.err
    assert "(--no-text adds none)" in said.err
    (count,) = re.findall(
        r"^org/data@v1: (\d+) of \1 files, up to (.*) of \2 to send; and the card$",
        said.err,
        re.MULTILINE,
    )
    assert int(count[0]) == len(hub.files("org/data")) - len(MADE)
    assert "--max-error 2^-12 would make its log-probs" in said.err
    assert "the card states no license: --license apache-2.0 would" in said.err
    artifact = refs_of(client.store)["org/data:v1"]
    assert said.out == f"org/data@v1 {artifact}\n"
    assert f"org/data@v1@{artifact}" in said.err


def test_a_hand_edited_card_keeps_what_is_not_ours(hub: Hub, client: Client, built: Path) -> None:
    having(client, built)
    before = (
        "---\n# a comment of mine\nlicense: cc-by-4.0\nlanguage:\n- de\nmine: [1, 2]\n---\n"
        "# My own title\n\nMy own *words*.  \n"
    )
    hub.commit("org/data", {"README.md": before.encode()})
    pushed(client.lopd_store("push", "signal", "org/data@v1", "--json"))
    first = hub.files("org/data")["README.md"].decode()
    assert "# My own title\n<!-- lopd:begin -->\n" in first
    assert "<!-- lopd:end -->\n\nMy own *words*.  \n" in first
    edited = first.replace("My own *words*", "Other words") + "\nA last line."
    hub.commit("org/data", {"README.md": edited.encode()})
    push = ["push", "rollouts", "org/data/other@v2", "--json"]
    one, _ = map(pushed, several(client, push, push))
    second = hub.files("org/data")["README.md"].decode()
    assert "<!-- lopd:end -->\n\nOther words.  \n" in second
    assert "A last line." in second
    for card in (first, second):
        assert "# a comment of mine\nlicense: cc-by-4.0\nlanguage:\n- de\nmine: [1, 2]\n" in card
    fields = yaml.safe_load(second.split("---\n")[1])
    assert [one["config_name"] for one in fields["configs"]] == ["default", "other"]
    assert one["commit"] == hub.revision("org/data")


CARDS = {
    "no-end": (b"---\nlicense: mit\n# rows\n", "README.md on the Hub: expected a line of ---"),
    "an-anchor": (b"---\na: &a 1\nb: *a\n---\n", "found an anchor (&) in line 2"),
    "not-utf-8": (b"# \xff\xfe\n", "README.md: expected UTF-8"),
    "no-mapping": (b"---\n- a\n---\n", "expected `key: value` lines"),
    "one-marker": (b"# a\n<!-- lopd:begin default/train -->\n", "lopd:"),
}


@pytest.mark.parametrize("name", CARDS)
def test_a_broken_card_is_said_before_anything_is_sent(
    hub: Hub, client: Client, built: Path, name: str
) -> None:
    data, expected = CARDS[name]
    having(client, built)
    hub.commit("org/data", {"README.md": data})
    said = client.lopd_store("push", "signal", "org/data@v1", "--no-text")
    assert said.code == 5
    assert expected in said.err
    assert "push again" in said.err
    assert changes(hub) == []


def test_files_that_would_be_loaded_with_the_shards_are_said_before_anything_is_sent(
    hub: Hub, client: Client, built: Path
) -> None:
    having(client, built)
    hub.commit("org/data", {"data/default/train-00000-of-00001.parquet": b"PAR1"})
    said, elsewhere = several(
        client,
        ["push", "signal", "org/data@v1", "--dry-run"],
        ["push", "signal", "org/data/other@v1", "--dry-run"],
    )
    assert (said.code, elsewhere.code) == (5, 0)
    assert "found data/default/train-00000-of-00001.parquet, which datasets would" in said.err
    assert changes(hub) == []


def test_columns_that_differ_from_those_of_another_split_are_said_before_anything_is_sent(
    hub: Hub, client: Client, built: Path
) -> None:
    having(client, built)
    first, second, third = several(
        client,
        ["push", "signal", "org/data@v1"],
        ["push", "rollouts", "org/data/default/test@v2"],
        ["push", "signal", "org/data/default/test@v2"],
    )
    assert [first.code, second.code, third.code] == [0, 2, 0]
    assert "expected the columns that the other splits of config default have" in second.err
    assert "found a difference in teacher_logprobs: push to another config" in second.err
    assert list(hub.repository("org/data").tags) == ["v1", "v2"]
    assert len(hub.repository("org/data").commits) == 3
