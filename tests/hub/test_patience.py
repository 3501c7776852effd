"""A Hub that is busy for a moment is asked again; one that stays away is no reason to say 404."""

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

COMMANDS = [("pull", "org/data"), ("show", "org/data@main"), ("ls", "org/data")]
ASKED = [command[0] for command in COMMANDS]


@pytest.fixture
def published(hub: Hub, signal: Store) -> Hub:
    hub.commit("org/data", files_of(signal.root, "signal"))
    return hub


@pytest.mark.parametrize("command", COMMANDS, ids=ASKED)
def test_a_hub_that_is_busy_for_a_moment_is_asked_again(
    published: Hub, client: Client, command: tuple[str, ...]
) -> None:
    for status in (503, 429):
        published.faults.append(
            Fault(match="GET /api", times=2, status=status, headers={"Retry-After": "0"})
        )
    said = client.lopd_store(*command)
    assert said.code == 0, said.err


def test_a_hub_that_stays_away_is_not_taken_for_nothing_there(
    published: Hub, client: Client
) -> None:
    published.faults.append(
        Fault(match="GET /api", times=None, status=503, headers={"Retry-After": "0"})
    )
    said = client.lopd_store("pull", "org/data")
    assert said.code == 1
    assert "the Hub did not answer" in said.err
    assert "run it again in" in said.err


def test_a_token_that_nobody_knows_is_told_from_a_repository_that_is_not_there(
    hub: Hub, client: Client
) -> None:
    hub.create("org/data")
    said = client.lopd_store("pull", "org/data", HF_TOKEN="hf_nobodyKnowsThisOne")  # noqa: S106
    assert said.code == 1
    assert "the Hub does not know your token: log in with `hf auth login`" in said.err
    assert "hf_nobody" not in said.err
    missing = client.lopd_store("pull", "org/nothing")
    assert missing.code == 4


def test_a_version_that_is_not_there_is_answered_with_those_that_are(
    published: Hub, client: Client
) -> None:
    for version in ("v1", "v2"):
        published.tag("org/data", version)
    said = client.lopd_store("pull", "org/data@v9")
    assert said.code == 4
    assert "its versions: v1, v2" in said.err


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("https://huggingface.co/datasets/org/data/tree/v1", "as in org/data@v1"),
        ("hf://datasets/org/data", "as in org/data"),
        ("org/data:v1", "as in org/data@v1"),
        ("org/data@sha256:abc", "64 hex characters"),
        ("org/data/small/with-dash", "a split of letters, digits, _"),
    ],
    ids=["address", "hf", "colon", "short digest", "dash"],
)
def test_a_name_that_is_nearly_one_is_put_right(client: Client, name: str, advice: str) -> None:
    said = client.lopd_store("pull", name)
    assert said.code == 2
    assert advice in said.err
