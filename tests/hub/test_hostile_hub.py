"""A Hub that lies on purpose: what it says never says where to write, how much, or for how long."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from lopd_store import canonical, open_signal
from lopd_store.digest import Digest
from lopd_store.errors import (
    FormatError,
    HubError,
    IntegrityError,
    NotFoundError,
    UsageError,
)
from lopd_store.hub.fetching import _in_time, fetch
from lopd_store.hub.snapshot import Snapshot, history, refs
from lopd_store.remote.seen import Seen
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub.published import files_of
from tests.hub_server import Fault, Hub

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

OID = "0" * 40
INDEX = "lopd/default/train/index.json"


@pytest.fixture
def here(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of a client in this process, at the loopback Hub."""
    cache = tmp_path / "home" / "cache"
    monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "")
    return cache


@pytest.fixture
def published(hub: Hub, signal: Store) -> Hub:
    """`org/data` with the signal at main and at v1."""
    hub.commit("org/data", files_of(signal.root, "signal"))
    hub.tag("org/data", "v1")
    return hub


def listed(path: object = "a", **entry: Any) -> dict[str, Any]:
    """An entry of a listing."""
    return {"type": "file", "path": path, "size": 1, "oid": OID} | entry


def outside(tmp_path: Path) -> str:
    """A way out of any folder."""
    return "../" * 30 + str(tmp_path / "outside").lstrip("/")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "names",
    [["ETag"], ["ETag", "X-Linked-Etag"], ["X-Repo-Commit"], ["ETag", "X-Repo-Commit"]],
    ids="+".join,
)
def test_no_header_says_where_to_write(published: Hub, tmp_path: Path, names: list[str]) -> None:
    evil = f'"{outside(tmp_path)}"'
    headers = {name: evil if "tag" in name.lower() else evil.strip('"') for name in names}
    published.faults = [Fault(match=r"/resolve/|/[0-9a-f]{64}$", times=None, headers=headers)]
    assert open_signal("org/data@v1").rows == 60
    published.faults.append(Fault(match=".", times=None, status=404, headers=headers))
    with pytest.raises(HubError):
        open_signal("org/other@v1")
    assert list(tmp_path.glob("outside*")) == []


@pytest.mark.usefixtures("here")
def test_no_answer_says_where_to_write(published: Hub, tmp_path: Path) -> None:
    evil, far = outside(tmp_path), "lopd/default/train/" + outside(tmp_path)
    lfs = {"oid": evil, "size": 1, "pointerSize": 1}
    lies = [
        ("/revision/v1", {"id": "org/data", "sha": evil}),
        ("/tree/", [listed(evil)]),
        ("/tree/", [listed("/" + evil.replace("../", ""))]),
        ("/tree/", [listed(far)]),
        ("/tree/", [listed(oid=evil)]),
        ("/tree/", [listed(lfs=lfs)]),
        ("/refs", {"branches": [], "tags": [{"name": "v1", "targetCommit": evil}]}),
    ]
    for match, body in lies:
        published.faults = [Fault(match=match, times=None, body=json.dumps(body).encode())]
        with pytest.raises(FormatError):
            open_signal("org/data@v1", root=Store.open(tmp_path / "home" / "s", create=True).root)
    published.faults.clear()
    with pytest.raises(UsageError, match="as git allows it"):
        open_signal(f"org/data@{outside(tmp_path)}")
    assert list(tmp_path.glob("outside*")) == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "page",
    [
        [],
        [listed(f"d{number}", type="directory") for number in range(1000)],
        [listed("same")],
        [listed("a"), listed("a")],
    ],
    ids=["empty pages", "folders", "one path for ever", "one path twice"],
)
def test_a_listing_ends(published: Hub, page: list[Any]) -> None:
    url = f"{published.endpoint}/api/datasets/org/data/tree/main"
    published.faults = [
        Fault(
            match="/tree/",
            times=None,
            body=json.dumps(page).encode(),
            headers={"Link": f'<{url}>; rel="next"'},
        )
    ]
    with pytest.raises(FormatError, match=r"at most|on each page|once"):
        Snapshot.open("org/data")
    assert len(published.requests) < 300


@pytest.mark.usefixtures("here")
def test_a_history_is_asked_for_only_as_far_as_it_is_needed(hub: Hub) -> None:
    hub.page = 2
    commits = [hub.commit("org/data", {"a": b"%d" % number}) for number in range(20)]
    assert list(history("org/data", commits[-1]))[:-1] == commits[::-1]  # and the first, empty
    hub.requests.clear()
    assert commits[-3] in history("org/data", commits[-1])
    assert len(hub.requests) == 2


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 200_000,
        b"<html>",
        b"3",
        b"{}",
        b'[{"type": "file"}]',
        b"9" * 5000,
        *(
            json.dumps([listed(**entry)]).encode()
            for entry in (
                {"size": -5},
                {"size": 1.5},
                {"size": True},
                {"size": 10**30},
                {"path": None},
                {"path": ["x"]},
                {"path": ""},
                {"path": "a\0"},
                {"oid": None},
                {"lfs": {"oid": "zz", "size": 3}},
                {"lfs": 3},
            )
        ),
    ],
    ids=lambda body: repr(body[-60:]),
)
def test_a_listing_that_is_none_is_a_format_error(published: Hub, body: bytes) -> None:
    published.faults = [Fault(match="/tree/", times=None, body=body)]
    with pytest.raises(FormatError):
        Snapshot.open("org/data")


@pytest.mark.usefixtures("here")
def test_an_answer_that_is_packed_is_not_unpacked(published: Hub) -> None:
    published.faults = [Fault(match="/refs", headers={"Content-Encoding": "gzip"})]
    assert list(refs("org/data").tags) == ["v1"]


@pytest.mark.usefixtures("here")
def test_a_refusal_is_read_from_its_headers_alone(published: Hub) -> None:
    for body in (b"[]", b"[" * 200_000, b'{"error": 3}'):
        message = "\33[31mno such thing"
        published.faults = [Fault(match="/revision/", status=404, body=body, message=message)]
        with pytest.raises((NotFoundError, HubError)) as raised:
            Snapshot.open("org/data", revision="v1")
        assert "\33" not in str(raised.value)


@pytest.mark.usefixtures("here")
def test_a_commit_is_the_one_that_was_named(published: Hub) -> None:
    repository = published.repository("org/data")
    named = repository.branches["main"]
    other = published.commit("org/data", {"a": b"another"})
    repository.lies[named] = other
    problem = f"other-commit: expected {named}, found {other}"
    with pytest.raises(IntegrityError, match=problem):
        Snapshot.open("org/data", revision=named)
    with pytest.raises(IntegrityError, match=problem):
        open_signal(f"org/data@{named}")


@pytest.mark.usefixtures("here")
def test_a_version_that_becomes_a_branch_is_still_a_version(
    published: Hub, signal: Store, origin: Path, tmp_path: Path
) -> None:
    root = Store.open(tmp_path / "store", create=True).root
    assert open_signal("org/data@v1", root=root).rows == 60
    published.commit(
        "org/data", dict.fromkeys(files_of(signal.root, "signal")) | files_of(origin, "rollouts")
    )
    repository = published.repository("org/data")
    repository.branches["v1"] = repository.branches["main"]
    del repository.tags["v1"]
    for name in ("org/data@v1", "Org/Data@v1"):
        if name[0] == "O":
            published.repositories["dataset", "Org/Data"] = repository
        with pytest.raises(IntegrityError, match="moved-tag"):
            open_signal(name, root=root)


@pytest.mark.usefixtures("here")
def test_what_is_too_large_is_not_downloaded(published: Hub, signal: Store) -> None:
    files = files_of(signal.root, "signal")
    shard = next(path for path in files if path.endswith(".parquet"))
    big = bytes(80 << 20)
    published.commit("org/index", files | {INDEX: b" " * (80 << 20)})
    published.commit("org/shard", files | {shard: big})
    published.commit("org/stray", files | {"data/default/train-x/y.parquet": big})
    with pytest.raises(FormatError, match=f"{INDEX}: expected at most"):
        open_signal("org/index")
    with pytest.raises(IntegrityError, match="size-mismatch"):
        open_signal("org/shard")
    assert open_signal("org/stray").rows == 60
    assert sum(request.sent for request in published.requests) < 10 << 20


@pytest.mark.usefixtures("here")
def test_nobody_waits_for_days(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    snapshot = Snapshot.open("org/data")
    told = {"Retry-After": "100000000"}
    published.faults = [Fault(match="GET .*", times=None, status=429, headers=told)]
    with pytest.raises(HubError, match="in 100000000 seconds, as the Hub says"):
        Snapshot.open("org/data")
    with pytest.raises(HubError, match="in 100000000 seconds, as the Hub says"):
        fetch(snapshot, INDEX, tmp_path / "index", size=snapshot.file(INDEX).size)
    assert sum(slept) == 0


@pytest.mark.usefixtures("here")
def test_a_byte_at_a_time_is_no_progress(
    published: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = Snapshot.open("org/data")
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    published.requests.clear()
    published.faults = [Fault(match="/resolve/", times=None, cut=1)]
    with pytest.raises(HubError, match="stopped answering"):
        fetch(snapshot, INDEX, tmp_path / "index", size=snapshot.file(INDEX).size)
    assert len(published.requests) < 20
    assert sum(slept) < 60


def test_a_connection_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    with pytest.raises(Exception, match="4 bytes in 80 seconds"):
        list(_in_time(iter([b"x"] * 100)))
    enough = [b"x" * 30_000] * 100
    assert list(_in_time(iter(enough))) == enough


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "record",
    [
        {"commit": "a", "artifacts": {}, "before": {"default/train": 5}},
        {"commit": "a", "artifacts": {"default/train": 5}, "before": {}},
        {"commit": "a", "artifacts": {}, "before": {}, "commits": {"default/train": 5}},
        {"commit": "a", "artifacts": {}, "before": {}, "commits": 5},
        {"commit": "a", "artifacts": {}, "before": {"default/train": {"a": "b"}}},
        {"commit": "a", "artifacts": {}, "before": {"default/train": [5]}},
    ],
)
def test_a_record_that_is_none_counts_for_nothing(
    published: Hub, tmp_path: Path, record: dict[str, Any]
) -> None:
    store = Store.open(tmp_path / "store", create=True)
    open_signal("org/data", root=store.root)
    (path,) = (store.work / "hub").glob("*.json")
    path.write_bytes(canonical.encode({"repo": "org/data", "revisions": {"main": record}}))
    assert open_signal("org/data", root=store.root).rows == 60
    assert published.revision("org/data") in path.read_text()


@pytest.mark.parametrize("name", ["hub", "derived"])
def test_a_link_in_the_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    store = Store.open(tmp_path / "store", create=True)
    (tmp_path / "elsewhere").mkdir()
    (store.work / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="a symbolic link"):
        Store.open(store.root)
    if name == "hub":
        with pytest.raises(IntegrityError, match="a symbolic link"):
            Seen(store)


@pytest.mark.usefixtures("here")
def test_a_pin_is_looked_for_in_so_many_versions(published: Hub) -> None:
    for number in range(130):
        commit = published.commit("org/data", {"a": b"%d" % number})
        published.tag("org/data", f"v{number + 2}", commit)
    pin = Digest.of(b"of nothing")
    with pytest.raises(IntegrityError, match="100 of 131 versions were looked at: name it"):
        open_signal(f"org/data@{pin}")
    asked = published.asked("/revision/v")
    assert len(asked) == 100
    assert "v131" in str(asked[0])
