"""Signals on the Hub: the real client in a process of its own, a server of ours."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lopd_store.artifacts import load, point
from lopd_store.digest import Digest
from lopd_store.store import Store
from tests.building.fixtures import built, models, origin, signal, student, teacher
from tests.hub_server import Hub, running

__all__ = ["built", "models", "origin", "signal", "student", "teacher"]

CLIENT = (
    "import json, sys\n"
    "from pathlib import Path\n"
    "from lopd_store.errors import LopdError\n"
    "from lopd_store.signals import open_signal\n"
    "root = Path(sys.argv[1])\n"
    "for name in sys.argv[2:]:\n"
    "    try:\n"
    "        signal = open_signal(name, root=root)\n"
    "        rows = [shard.rows for shard in signal.open_shards()]\n"
    "        print(json.dumps([signal.name, signal.kind, rows]))\n"
    "    except LopdError as error:\n"
    "        print(json.dumps([type(error).__name__, error.exit_code, str(error)]))\n"
)


@pytest.fixture
def hub(signal: Store) -> Iterator[Hub]:
    """`org/data` with all shards at main and one at v1, and repositories that are not signals."""
    shards = [shard.path.read_bytes() for shard in load(signal, "signal").open_shards()]
    hub = Hub()
    hub.commit("org/data", {"README.md": b"# rows", "train.parquet": shards[0]})
    hub.tag("org/data", "v1")
    main = {f"data/train-{n:05}.parquet": shard for n, shard in enumerate(shards)}
    hub.commit("org/data", {"train.parquet": None, **main})
    hub.commit("org/text", {"README.md": b"# rows"})
    hub.commit("org/other", {"rows.parquet": b"PAR1 but no more"})
    hub.create("org/gated", gated="auto")
    hub.commit("org/gated", {"train.parquet": shards[0]})
    with running(hub):
        yield hub


def opened(hub: Hub, folder: Path, *names: str, **environment: str) -> list[list[object]]:
    """What a process prints that opens these names one after another."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", CLIENT, str(folder / "store"), *names],
        capture_output=True,
        text=True,
        check=False,
        env=hub.environment(folder / "cache", **environment),
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_dataset_is_its_shards_at_a_commit(hub: Hub, tmp_path: Path) -> None:
    commit, old = hub.revision("org/data"), hub.revision("org/data", "v1")
    names = ["org/data", "org/data@main", f"org/data@{commit}", "org/data@v1"]
    found = opened(hub, tmp_path, *names)
    assert [name for name, _, _ in found] == [
        f"org/data@{c}" for c in (commit, commit, commit, old)
    ]
    assert {kind for _, kind, _ in found} == {"signal"}
    everything = found[0][2]
    assert isinstance(everything, list)
    assert sum(everything) == 60
    assert [rows for _, _, rows in found[1:]] == [everything, everything, everything[:1]]
    assert not hub.asked("README")
    asked = len(hub.requests)
    assert opened(hub, tmp_path, *names, HF_HUB_OFFLINE="1") == found
    assert len(hub.requests) == asked


def test_what_the_hub_has_not_got_is_not_found(hub: Hub, tmp_path: Path) -> None:
    names = ["org/absent", "org/data@v9", "org/gated", "org/text", "org/other", "org/bad--name"]
    found = opened(hub, tmp_path, *names)
    assert [answer[:2] for answer in found] == [
        ["NotFoundError", 4],
        ["NotFoundError", 4],
        ["NotFoundError", 4],
        ["FormatError", 5],
        ["FormatError", 5],
        ["UsageError", 2],
    ]
    messages = [str(answer[2]) for answer in found]
    assert messages[0].startswith(f"no ref or artifact 'org/absent' in {tmp_path / 'store'}, and")
    assert "or a dataset on the Hub, found neither" in messages[0]
    assert "no such revision" in messages[1]
    assert "accept its terms" in messages[2]
    assert "expected *.parquet shards in the dataset, found none" in messages[3]
    assert "expected b'PAR1' at both ends" in messages[4]


def test_no_answer_is_an_error_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    nobody = "http://127.0.0.3:9"
    ((kind, code, message),) = opened(hub, tmp_path, "org/data", HF_ENDPOINT=nobody)
    assert (kind, code) == ("HubError", 1)
    assert "the Hub did not answer" in str(message)


def test_bytes_that_changed_on_the_way_are_refused(hub: Hub, tmp_path: Path) -> None:
    shard = hub.files("org/data", "v1")["train.parquet"]
    changed = bytearray(shard)
    changed[100] ^= 1
    hub.damaged[Digest.of(shard).hex] = bytes(changed)
    ((kind, code, _),) = opened(hub, tmp_path, "org/data@v1")
    assert (kind, code) == ("DigestMismatchError", 3)


def test_a_file_that_is_shorter_than_listed_is_refused_and_leaves_nothing(
    hub: Hub, tmp_path: Path
) -> None:
    shard = hub.files("org/data", "v1")["train.parquet"]
    hub.damaged[Digest.of(shard).hex] = shard[:-100]
    ((kind, code, message),) = opened(hub, tmp_path, "org/data@v1")
    assert (kind, code) == ("IntegrityError", 3)
    assert "size-mismatch" in str(message)
    hub.damaged.clear()
    ((_, kind, _),) = opened(hub, tmp_path, "org/data@v1")
    assert kind == "signal"


def test_an_artifact_of_the_store_comes_before_the_hub(
    hub: Hub, signal: Store, tmp_path: Path
) -> None:
    point(signal, "org/data", signal.refs.resolve("signal"), expected=None)
    shutil.move(signal.root, tmp_path / "store")
    ((name, kind, rows),) = opened(hub, tmp_path, "org/data")
    assert isinstance(rows, list)
    assert (name, kind, sum(rows)) == ("org/data", "signal", 60)
    assert hub.requests == []
