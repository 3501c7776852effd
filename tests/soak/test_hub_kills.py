"""Pushes killed at random moments: no half of a version, no file twice, and a rerun ends it."""

import random
import time
from pathlib import Path

import pytest

from tests.hub.fixtures import hub
from tests.hub.pushing import person, pushed, sent_again, several, versions
from tests.hub_server import Fault, Hub

__all__ = ["hub"]

pytestmark = pytest.mark.soak

SLOW = Fault(match="^(PUT|POST|GET) ", times=None, pause=0.1)


def test_killed_at_twenty_random_moments_pushes_are_whole_or_not_there(
    hub: Hub, built: Path, tmp_path: Path
) -> None:
    """Twenty repositories; each push starts from nothing, so text is made within it, too."""
    chance = random.Random(5)  # noqa: S311 - repeatable
    hub.faults.append(SLOW)
    begun = time.monotonic()
    pushed(
        person(hub, tmp_path / "whole", built).lopd_store("push", "signal", "org/d@v1", "--json")
    )
    length = time.monotonic() - begun
    moments: set[int] = set()
    for number in range(20):
        repo = f"org/data{number}"
        client = person(hub, tmp_path / str(number), built)
        hub.requests.clear()
        running = client.start("push", "signal", f"{repo}@v1", "--json")
        time.sleep(length * chance.uniform(0.3, 1))
        running.kill()
        running.communicate()
        before = versions(hub, repo)
        moments.add(len(hub.requests))
        done = pushed(client.lopd_store("push", "signal", f"{repo}@v1", "--json"))
        expected = {"default/train": done["id"]}
        assert all(found in ({}, expected) for found in before.values()), (number, before)
        assert before.get("v1", expected) == expected
        assert versions(hub, repo) == {"main": expected, "v1": expected}
        assert len(hub.repository(repo).commits) == 2
        assert sent_again(hub) == {}
    assert len(moments) > 5, moments
    hub.faults.clear()
    names = [f"org/data{number}@v1" for number in range(20)]
    said = several(client, *(["verify", name, "--json"] for name in names))
    assert [one.json["ok"] for one in said] == [True] * 20


def test_a_push_killed_over_and_over_ends_some_day_and_sends_every_file_once(
    hub: Hub, built: Path, tmp_path: Path
) -> None:
    """Each time a little later, as on a line that breaks every few seconds."""
    client = person(hub, tmp_path / "often", built)
    hub.faults.append(Fault(match="^(PUT|POST) ", times=None, pause=0.3))
    kills, limit = 0, 1.0
    while True:
        running = client.start("push", "signal", "org/data@v1", "--json")
        begun = time.monotonic()
        while running.poll() is None and time.monotonic() - begun < limit:
            time.sleep(0.01)
        if running.poll() is not None:
            break
        running.kill()
        running.communicate()
        assert versions(hub, "org/data").get("v1") in (None, versions(hub, "org/data").get("main"))
        kills, limit = kills + 1, limit + 0.25
    out, err = running.communicate()
    assert running.returncode == 0, (out, err)
    assert kills >= 5
    assert sent_again(hub) == {}
    assert versions(hub, "org/data")["v1"] == versions(hub, "org/data")["main"] != {}
