"""Pulls killed at twenty random moments."""

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.hub.clients import Client
from tests.hub.fixtures import client, hub
from tests.hub.killing import kill_pulls, most_sent
from tests.hub.test_pull_interrupted import origin, published
from tests.hub_server import Hub

__all__ = ["client", "hub", "origin", "published"]

pytestmark = pytest.mark.soak


@pytest.mark.parametrize("seed", [2, 3])
def test_killed_twenty_times_a_pull_comes_to_the_same_artifact(
    published: Hub, client: Client, origin: Store, seed: int
) -> None:
    expected = str(load(origin, "rollouts").id)
    kills = kill_pulls(published, client, times=20, seed=seed, expected=expected)
    assert kills.wrong == []
    assert kills.landed > 10
    assert most_sent(published, kills)
