"""Many processes at once, and `kill -9` at any moment: old or new, never half, never lost."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lopd_store.digest import Digest
from lopd_store.store import Store
from lopd_store.store.gc import Collector

WORKERS = Path(__file__).with_name("workers.py")


def start(*words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(WORKERS), *map(str, words)], stdout=subprocess.PIPE, text=True
    )


def findings(*words: object) -> dict[str, Any]:
    process = start(*words)
    out, _ = process.communicate()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(out)
    assert found["problems"] == []
    return found


def number(store: Store, name: str) -> int:
    layer = json.loads(store.blobs.get(store.refs.resolve(name)))["layers"][0]
    return int(store.blobs.get(Digest(layer["digest"])))


def test_six_processes_lose_no_update(
    store: Store, independent: Callable[[str], dict[str, Any]]
) -> None:
    times = 12
    processes = [start("count", store.root, "shared", times) for _ in range(6)]
    processes += [start("count", store.root, f"own{n}", times) for n in range(1)]
    seen = []
    while any(process.poll() is None for process in processes):
        store.gc()
        if store.refs.get("shared"):
            seen.append(number(store, "shared"))
        time.sleep(0.05)
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert number(store, "shared") == 6 * times
    assert number(store, "own0") == times
    assert seen == sorted(seen)
    moves = store.log.read("shared")
    assert len(moves) == 6 * times
    assert [move.before for move in moves[1:]] == [move.after for move in moves[:-1]]
    assert store.fsck() == []
    assert independent(str(store.root))["problems"] == []


def test_a_blob_put_while_gc_runs_is_there_afterwards(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """gc has decided to take an old blob, and pauses; now the same bytes are put again."""
    digest = store.blobs.put(b"again")
    os.utime(store.blobs.path(digest), (1, 1))
    decided, put_again = threading.Event(), threading.Event()
    sweep = Collector._sweep

    def slow_sweep(self: Collector, *args: Any) -> None:
        decided.set()
        put_again.wait(timeout=0.3)
        sweep(self, *args)

    monkeypatch.setattr(Collector, "_sweep", slow_sweep)
    thread = threading.Thread(target=store.gc)
    thread.start()
    decided.wait()
    store.blobs.put(b"again")
    put_again.set()
    thread.join()
    assert store.blobs.get(digest) == b"again"


def test_a_store_made_by_many_at_once_is_one_store(tmp_path: Path) -> None:
    root = tmp_path / "store"
    stores: list[Store] = []
    threads = [
        threading.Thread(target=lambda: stores.append(Store.open(root, create=True)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stores) == 8
    assert stores[0].fsck() == []


def test_killed_at_random_moments_a_store_stays_whole(
    tmp_path: Path, independent: Callable[[str], dict[str, Any]]
) -> None:
    found = findings("kill", tmp_path / "store", 3, 1, "no-sync")
    assert found["kills"] > 20
    assert found["moves"] > found["kills"]
    assert independent(str(tmp_path / "store"))["problems"] == []


def test_killed_at_any_line_a_store_stays_whole_and_the_work_can_be_done_again(
    tmp_path: Path,
) -> None:
    assert findings("lines", tmp_path / "store", 97, 7)["kills"] > 10


@pytest.mark.soak
@pytest.mark.parametrize("sync", ["sync", "no-sync"])
def test_killed_for_a_minute_a_store_stays_whole(tmp_path: Path, sync: str) -> None:
    assert findings("kill", tmp_path / "store", 60, 2, sync)["kills"] > 200


@pytest.mark.soak
def test_killed_at_every_third_line_a_store_stays_whole(tmp_path: Path) -> None:
    assert findings("lines", tmp_path / "store", 3, 2)["kills"] > 300
