"""Pushes that end too early: a version is there whole or not at all, and no file goes twice."""

import signal as signals
import subprocess
import time
from pathlib import Path

import pytest

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, student, teacher
from tests.hub.clients import Client
from tests.hub.pushing import having, pushed, sent_again, uploaded, versions
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "student", "teacher"]

PUSH = ("push", "signal", "org/data@v1", "--no-text")
HERE = "default/train"


@pytest.fixture
def pusher(client: Client, built: Path) -> Client:
    return having(client, built)


def id_of(pusher: Client) -> str:
    return str(load(Store.open(pusher.store), "signal").id)


def wait_for(hub: Hub, pattern: str, under_way: "subprocess.Popen[str]", *, count: int = 1) -> None:
    """Until the Hub is asked so for the `count`-th time."""
    while len(hub.asked(pattern)) < count:
        assert under_way.poll() is None, under_way.communicate()
        time.sleep(0.002)


MOMENTS = {
    "a repository is made": ("POST /api/repos/create", 1),
    "the first file is on its way": ("^PUT ", 1),
    "the third file is on its way": ("^PUT ", 3),
    "files are verified": ("lfs/verify", 2),
    "the commit is on its way": ("/commit/main", 1),
    "the tag is looked for": ("GET .*/refs", 1),
    "the tag is on its way": ("POST .*/tag/", 1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_a_push_leaves_no_half_of_a_version_and_the_next_one_ends(
    hub: Hub, pusher: Client, moment: str
) -> None:
    pattern, count = MOMENTS[moment]
    builds = Store.open(pusher.store).builds
    before = sorted(path.name for path in builds.iterdir())
    hub.faults.append(Fault(match=pattern, times=None, pause=0.2))
    under_way = pusher.start(*PUSH)
    wait_for(hub, pattern, under_way, count=count)
    under_way.kill()
    under_way.communicate()
    expected = {HERE: id_of(pusher)}
    assert all(found in ({}, expected) for found in versions(hub, "org/data").values())
    hub.faults.clear()
    done = pushed(pusher.lopd_store(*PUSH, "--json"))
    assert versions(hub, "org/data") == {"main": expected, "v1": expected}
    assert hub.revision("org/data", "v1") == done["commit"]
    assert sent_again(hub) == {}
    assert len(hub.repository("org/data").commits) == 2
    assert sorted(path.name for path in builds.iterdir()) == before


def test_ctrl_c_ends_a_push_and_what_was_sent_stays_sent(hub: Hub, pusher: Client) -> None:
    hub.faults.append(Fault(match="^PUT ", times=None, pause=0.3))
    under_way = pusher.start(*PUSH)
    wait_for(hub, "^PUT ", under_way)
    under_way.send_signal(signals.SIGINT)
    out, err = under_way.communicate(timeout=20)
    assert under_way.returncode == 130
    assert (out, "Traceback" in err) == ("", False)
    assert versions(hub, "org/data") == {"main": {}}
    hub.faults.clear()
    pushed(pusher.lopd_store(*PUSH, "--json"))
    assert sent_again(hub) == {}
    assert versions(hub, "org/data")["v1"] == {HERE: id_of(pusher)}


FAULTS = {
    "too many requests": [
        Fault(match="objects/batch", status=429, headers={"Retry-After": "1"}),
        Fault(match="GET .*/refs", status=429, headers={"Retry-After": "1"}),
        Fault(match="preupload", after=1, status=429, headers={"Retry-After": "1"}),
    ],
    "the server's errors": [
        Fault(match="^PUT ", after=1, status=503),
        Fault(match="lfs/verify", status=502),
        Fault(match="preupload", status=500),
        Fault(match="commit/main", status=503),
        Fault(match="/tag/", status=504),
    ],
    "connections that end": [
        Fault(match="^PUT ", cut=100),
        Fault(match="^PUT ", after=3, cut=0),
        Fault(match="GET .*/tree/", cut=10),
        Fault(match="preupload", after=1, lost=True),
    ],
    "answers that are lost": [
        Fault(match="^PUT ", lost=True),
        Fault(match="repos/create", lost=True),
        Fault(match="commit/main", lost=True),
        Fault(match="/tag/", lost=True),
    ],
    "a file refused for good": [Fault(match="^PUT ", after=1, status=400)],
}


@pytest.mark.parametrize("name", FAULTS)
def test_whatever_goes_wrong_once_is_over_with_a_rerun(hub: Hub, pusher: Client, name: str) -> None:
    """Those errors that the client does not try again itself end a run, which says so."""
    hub.faults += [Fault(**vars(fault) | {"seen": 0}) for fault in FAULTS[name]]
    for _ in range(len(hub.faults) + 1):
        said = pusher.lopd_store(*PUSH, "--json")
        found = versions(hub, "org/data")
        assert found.get("v1", {}) in ({}, {HERE: id_of(pusher)})
        if said.code == 0:
            break
        assert said.code == 1, said.err
        assert "run it again: what was sent is not sent twice" in said.err
        assert "Traceback" not in said.err
    assert said.code == 0, said.err
    assert versions(hub, "org/data") == {key: {HERE: id_of(pusher)} for key in ("main", "v1")}
    assert len(hub.repository("org/data").commits) == 2
    again = sent_again(hub)
    assert len(again) <= (name == "answers that are lost"), again


def test_a_file_in_parts_goes_on_with_what_is_missing(hub: Hub, pusher: Client) -> None:
    """The Hub forgets parts of a file whose last one never came; whole files stay."""
    hub.part = 4096
    hub.faults.append(Fault(match=r"^PUT .*/2$", after=1, times=None, status=400))
    said = pusher.lopd_store(*PUSH)
    assert said.code == 1, said.err
    assert "the Hub refused or did not answer: Error while uploading 'data/default/" in said.err
    assert versions(hub, "org/data") == {"main": {}}
    hub.faults.clear()
    first = uploaded(hub)
    pushed(pusher.lopd_store(*PUSH, "--json"))
    assert versions(hub, "org/data")["v1"] == {HERE: id_of(pusher)}
    assert 0 < uploaded(hub) - first < first * 2
