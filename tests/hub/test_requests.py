"""What is asked of the Hub: nothing twice, and nothing where a ref of the store has the name."""

from collections import Counter

import pytest

from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.clients import Client
from tests.hub.published import files_of
from tests.hub.pulled import pulled
from tests.hub.verifying import card, verify
from tests.hub_server import Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]


@pytest.fixture
def published(hub: Hub, signal: Store) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files_of(signal.root, "signal") | {"README.md": card()})
    hub.tag("org/data", "v1")
    return hub


def twice(hub: Hub) -> dict[str, int]:
    """What was asked more than once, and how often."""
    counted = Counter(map(str, hub.requests))
    return {request: count for request, count in counted.items() if count > 1}


@pytest.mark.parametrize(
    "words",
    [("verify", "org/data@v1"), ("pull", "org/data@v1"), ("pull", "org/data/default/train")],
    ids=["verify", "pull a version", "pull a place"],
)
def test_nothing_is_asked_twice(published: Hub, client: Client, words: tuple[str, ...]) -> None:
    Store.open(client.store, create=True)
    said = client.lopd_store(*words)
    assert said.code == 0, said.err
    assert twice(published) == {}


def test_a_pinned_pull_reads_its_index_once(published: Hub, client: Client) -> None:
    (found,) = pulled(client.lopd_store("pull", "org/data@v1", "--json"))
    published.requests.clear()
    pulled(client.lopd_store("pull", f"org/data@v1@{found['id']}", "-o", "other", "--json"))
    assert twice(published) == {}


def test_a_ref_of_the_store_comes_before_the_hub_and_a_branch_asks_the_hub(
    published: Hub, client: Client
) -> None:
    pulled(client.lopd_store("pull", "org/data", "-o", "org/data", "--json"))
    published.requests.clear()
    here = verify(client, "org/data")
    assert (here.code, here.json["at_a_distance"]) == (0, False)
    query = "select count(*) as rows from signals"
    assert client.lopd_store("sql", "org/data", query, "--json").json == [{"rows": 60}]
    assert published.requests == []
    there = verify(client, "org/data@main")
    assert (there.code, there.json["at_a_distance"]) == (0, True)
