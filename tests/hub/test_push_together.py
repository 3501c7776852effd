"""Several who push at once: all land, none is lost."""

import json
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path

import pytest
import yaml

from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import identity_of, publish, random_rows
from tests.building.fixtures import models, student, teacher
from tests.cli.runner import Said
from tests.hub.clients import Client
from tests.hub.pushing import changes, person, pushed, several, versions
from tests.hub_server import Fault, Hub

__all__ = ["models", "student", "teacher"]

SIX = range(6)


@pytest.fixture(scope="module")
def six(teacher: Fingerprint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with six artifacts of the same columns, `rows0` to `rows5`."""
    root = tmp_path_factory.mktemp("six") / "store"
    store = Store.open(root, create=True, sync=no_sync)
    assert teacher.tokenizer_blob is not None
    for number in SIX:
        publish(
            store,
            f"rows{number}",
            identity_of("sft", teacher),
            [random_rows(20, seed=number).drop_columns(["rollout_logprobs"])],
            tokenizer_blob=teacher.tokenizer_blob,
            shard_tokens=100,
        )
    return root


def at_once(people: Sequence[Client], names: Sequence[str]) -> list[Said]:
    """Number n pushes `rows<n>` to the n-th name."""
    running = [
        client.start("push", f"rows{number}", name, "--no-text", "--json")
        for number, (client, name) in enumerate(zip(people, names, strict=True))
    ]
    ended = [one.communicate(timeout=300) for one in running]
    return [Said(one.returncode, *said) for one, said in zip(running, ended, strict=True)]


@pytest.fixture
def people(hub: Hub, six: Path, tmp_path: Path) -> list[Client]:
    return [person(hub, tmp_path / str(number), six) for number in SIX]


def test_six_to_six_configs_of_a_new_repository_are_all_there(
    hub: Hub, people: list[Client]
) -> None:
    hub.faults.append(Fault(match="/commit/main", times=None, pause=0.4))
    said = at_once(people, [f"org/data/config{number}@v{number}" for number in SIX])
    done = [pushed(one) for one in said]
    found = versions(hub, "org/data")
    expected = {f"config{number}/train": done[number]["id"] for number in SIX}
    assert found["main"] == expected
    for number in SIX:
        assert found[f"v{number}"][f"config{number}/train"] == done[number]["id"]
        assert hub.revision("org/data", f"v{number}") == done[number]["commit"]
    card = hub.files("org/data")["README.md"].decode()
    fields = yaml.safe_load(card.split("---\n")[1])
    assert {one["config_name"] for one in fields["configs"]} == {f"config{n}" for n in SIX}
    assert {one["config_name"] for one in fields["dataset_info"]} == {f"config{n}" for n in SIX}
    assert sum(bool(one.get("default")) for one in fields["configs"]) == 1
    assert len(hub.repository("org/data").commits) == 7
    assert [
        one for one in hub.asked("/commit/main") if one.status == HTTPStatus.PRECONDITION_FAILED
    ]


def test_six_versions_of_one_config_are_all_kept_each_by_its_tag(
    hub: Hub, people: list[Client]
) -> None:
    said = at_once(people, [f"org/data@v{number}" for number in SIX])
    done = [pushed(one) for one in said]
    found = versions(hub, "org/data")
    for number in SIX:
        assert found[f"v{number}"] == {"default/train": done[number]["id"]}
    assert len({one["id"] for one in done}) == 6
    assert found["main"] in [{"default/train": one["id"]} for one in done]
    assert len(hub.repository("org/data").commits) == 7


def test_of_six_to_one_place_without_a_version_one_lands_and_the_others_are_told(
    hub: Hub, people: list[Client]
) -> None:
    """They all looked before any of them had landed: each would have replaced what it never saw."""
    hub.create("org/data")
    hub.faults.append(Fault(match="^PUT ", times=None, pause=3))
    said = at_once(people, ["org/data"] * 6)
    (landed,) = [json.loads(one.out) for one in said if one.code == 0]
    assert versions(hub, "org/data") == {"main": {"default/train": landed["id"]}}
    for one in (one for one in said if one.code):
        assert (one.code, one.out) == (1, "")
        assert f"expected nothing there, found {landed['id']}" in one.err
        assert "or push to a version (@name) of its own" in one.err
    number = next(n for n in SIX if said[n].code)
    again = pushed(people[number].lopd_store("push", f"rows{number}", "org/data", "--json"))
    assert versions(hub, "org/data")["main"] == {"default/train": again["id"]}


@pytest.mark.soak
def test_the_same_version_twice_at_once_is_one_version(hub: Hub, people: list[Client]) -> None:
    """With one artifact both have it; with two, one is told that the version is taken."""
    said = at_once([people[0]], ["org/data@v0"])
    first = pushed(said[0])
    again = [people[1].start("push", "rows0", "org/data@v1", "--no-text", "--json")]
    again += [people[2].start("push", "rows0", "org/data@v1", "--no-text", "--json")]
    both = [json.loads(one.communicate(timeout=100)[0]) for one in again]
    assert [one["id"] for one in both] == [first["id"]] * 2
    assert both[0]["commit"] == both[1]["commit"] == hub.revision("org/data", "v1")
    said = at_once(people[:2], ["org/data@v2"] * 2)
    (landed,) = [json.loads(one.out) for one in said if one.code == 0]
    (told,) = [one for one in said if one.code]
    assert told.code == 2
    assert f"expected a new version, found one with {landed['id']} at default/train" in told.err
    assert "versions do not move: name another, such as v2.1" in told.err
    assert versions(hub, "org/data")["v2"] == {"default/train": landed["id"]}


def test_two_pushes_of_one_store_to_one_place_wait_for_each_other(
    hub: Hub, people: list[Client]
) -> None:
    one = people[0]
    running = [
        one.start("push", f"rows{number}", f"org/data@v{number}", "--json") for number in (0, 1)
    ]
    ended = [(process, *process.communicate(timeout=100)) for process in running]
    assert [process.returncode for process, *_ in ended] == [0, 0], ended
    assert set(versions(hub, "org/data")) == {"main", "v0", "v1"}


def test_pushed_again_an_older_version_is_there_already_and_main_stays(
    hub: Hub, people: list[Client]
) -> None:
    one = people[0]
    old = ["push", "rows0", "org/data@v0", "--no-text"]
    new = ["push", "rows1", "org/data@v1", "--no-text", "--json"]
    first, second = map(pushed, several(one, [*old, "--json"], new))
    before = changes(hub)
    dry, again = several(one, [*old, "--dry-run", "--json"], [*old, "--json"])
    assert [dry.json[key] for key in ("send", "remove", "bytes_to_send")] == [[], [], 0]
    assert pushed(again) == {**first, "bytes_sent": 0}
    assert changes(hub) == before
    found = versions(hub, "org/data")
    assert [found["main"], found["v0"]] == [
        {"default/train": second["id"]},
        {"default/train": first["id"]},
    ]
    verified = one.lopd_store("verify", "org/data", "--json")
    assert verified.json["ok"], verified.out


def test_signatures_of_several_people_are_kept(hub: Hub, people: list[Client]) -> None:
    """Each pushes the same artifact, signed with a key of their own; a version stays as it is."""
    for number, name in ((0, "org/data@v1"), (1, "org/data")):
        key = people[number].folder / "key"
        keygen, push = several(
            people[number], ["keygen", key], ["push", "rows0", name, "--no-text", "--key", key]
        )
        assert (keygen.code, push.code) == (0, 0), push.err
    late = people[1].lopd_store("push", "rows0", "org/data@v1", "--no-text", "--key", key)
    assert late.code == 2
    assert "expected a version to sign, found one that is there without this" in late.err
    files = hub.files("org/data")
    assert sum("/signature-" in path for path in files) == 2
    assert versions(hub, "org/data")["main"]
    keys = [f"{people[number].folder / 'key'}.pub" for number in (0, 1)]
    by_main = several(people[2], *(["verify", "org/data", "--key", key] for key in keys))
    by_tag = several(people[3], *(["verify", "org/data@v1", "--key", key] for key in keys))
    assert [one.code for one in (*by_main, *by_tag)] == [0, 0, 0, 3]


@pytest.mark.soak
def test_evidence_that_came_while_a_push_was_under_way_is_not_taken_away(
    hub: Hub, people: list[Client]
) -> None:
    pushed(people[0].lopd_store("push", "rows0", "org/data@v1", "--no-text", "--json"))
    for number in (0, 1):
        assert people[number].lopd_store("keygen", people[number].folder / "key").code == 0
    hub.faults.append(Fault(match="preupload", times=None, pause=2))
    both = [
        people[number].start(
            "push", "rows0", "org/data", "--no-text", "--key", people[number].folder / "key"
        )
        for number in (0, 1)
    ]
    said = [one.communicate(timeout=100)[1] for one in both]
    assert sorted(one.returncode for one in both) == [0, 1], said
    (told,) = [text for one, text in zip(both, said, strict=True) if one.returncode]
    assert "which somebody attached meanwhile: push again" in told
    hub.faults.clear()
    number = next(n for n, one in enumerate(both) if one.returncode)
    again = people[number].lopd_store("push", "rows0", "org/data@v1", "--no-text")
    assert again.code == 0, again.err
    assert sum("/signature-" in path for path in hub.files("org/data")) == 2
    assert versions(hub, "org/data")["main"] == versions(hub, "org/data")["v1"]
