"""Pulls that end early or are disturbed: nothing half is ever there, and the next goes on."""

import shutil
import signal as signals
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lopd_store.artifacts import load
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.chain import identity_of, publish, random_rows
from tests.building.fixtures import models, student
from tests.hub.clients import Client
from tests.hub.killing import kill_pulls, most_sent
from tests.hub.published import files_of
from tests.hub.pulled import BYTES, pulled, sent
from tests.hub_server import TOKEN, Fault, Hub

__all__ = ["models", "student"]

SHARDS_SIZE = 3_000_000  # about: three shards of a megabyte


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory, student: Fingerprint) -> Store:
    store = Store.open(tmp_path_factory.mktemp("origin") / "store", create=True, sync=no_sync)
    chance = np.random.default_rng(5)
    texts = pa.array([chance.bytes(3000).hex() for _ in range(1000)])
    blob = student.tokenizer_blob
    assert blob is not None
    rows = [random_rows(1000, prompt_text=texts)]
    identity = identity_of("rollouts", student)
    publish(store, "rollouts", identity, rows, tokenizer_blob=blob, shard_tokens=6000)
    return store


@pytest.fixture
def published(hub: Hub, origin: Store) -> Hub:
    hub.commit("org/data", files_of(origin.root, "rollouts"))
    return hub


def test_killed_at_random_moments_it_ends_with_the_same_artifact(
    published: Hub, client: Client, origin: Store
) -> None:
    kills = kill_pulls(
        published, client, times=4, seed=1, expected=str(load(origin, "rollouts").id)
    )
    assert kills.wrong == []
    assert kills.landed > 0
    assert kills.staged > 0
    assert most_sent(published, kills)


@pytest.mark.parametrize(("sign", "code"), [(signals.SIGINT, 130), (signals.SIGTERM, 143)])
def test_stopped_by_a_person_it_ends_at_once_and_keeps_what_came(
    published: Hub, client: Client, sign: signals.Signals, code: int
) -> None:
    published.faults = [Fault(match=BYTES, times=None, pause=0.3)]
    process = client.start("pull", "org/data")
    while sent(published) < 200_000:
        time.sleep(0.05)
    begun = time.monotonic()
    process.send_signal(sign)
    out, err = process.communicate(timeout=30)
    assert time.monotonic() < begun + 10
    assert process.returncode == code
    assert "the same command again goes on" in err
    assert "Traceback" not in out + err
    before = sent(published)
    published.faults.clear()
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json"))
    assert found["fetched_bytes"] < SHARDS_SIZE
    whole = sum(len(data) for data in published.files("org/data").values())
    assert sent(published) < whole + 4 * (1 << 18)
    assert before > 200_000


def test_two_pulls_of_the_same_download_it_once(published: Hub, client: Client) -> None:
    published.faults = [Fault(match=BYTES, times=None, pause=0.05)]
    both = [client.start("pull", "org/data", "--json") for _ in range(2)]
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    large = [d for p, d in published.files("org/data").items() if p.endswith((".parquet", ".zst"))]
    assert sent(published) == sum(map(len, large))
    store = Store.open(client.store)
    assert store.fsck() == []
    assert list(store.tmp.iterdir()) == []
    assert list(store.builds.iterdir()) == []


def mount(*words: str) -> None:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine does not permit `mount {' '.join(words)}`: {done.stderr}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount("-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder))
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_said_before_a_byte_comes(
    published: Hub, client: Client, disk: Path, origin: Store
) -> None:
    Store.open(disk / "store", create=True)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(30 << 20))
    said = client.lopd_store("pull", "org/data", "--store", disk / "store")
    assert said.code == 1
    assert "free some space" in said.err
    assert sent(published) == 0
    ballast.unlink()
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json", "--store", disk / "store"))
    assert found["id"] == str(load(origin, "rollouts").id)


def test_a_disk_that_fills_up_meanwhile_costs_nothing(
    published: Hub, client: Client, disk: Path
) -> None:
    store = Store.open(disk / "store", create=True)
    published.faults = [Fault(match=BYTES, times=None, pause=0.2)]
    process = client.start("pull", "org/data", "--store", str(store.root))
    while sent(published) < 100_000:
        time.sleep(0.02)
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while shutil.disk_usage(disk).free > 0:
            file.write(bytes(4096))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "free some space" in err
    assert store.fsck() == []
    ballast.unlink()
    published.faults.clear()
    assert client.lopd_store("pull", "org/data", "--store", store.root).code == 0
    assert store.fsck() == []


def test_a_read_only_store_is_refused(published: Hub, client: Client, disk: Path) -> None:
    Store.open(disk / "store", create=True)
    mount("-o", "remount,ro", str(disk))
    said = client.lopd_store("pull", "org/data", "--store", disk / "store")
    assert said.code == 1
    assert "can be read but not written" in said.err
    assert TOKEN not in said.err
    assert sent(published) == 0


def test_gc_without_grace_takes_nothing_of_a_pull_that_ends(published: Hub, client: Client) -> None:
    """It may take the stage; then the pull says so, and the next one makes it again."""
    published.faults = [Fault(match=BYTES, times=None, pause=0.1)]
    process = client.start("pull", "org/data")
    while sent(published) < 100_000:
        time.sleep(0.05)
    store = Store.open(client.store)
    report = store.gc(grace_seconds=0)
    assert report.removed == ()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "run it again" in err
    published.faults.clear()
    assert client.lopd_store("pull", "org/data").code == 0
    assert store.fsck() == []
