"""kill -9 at any moment, two builds at once: the same artifact, and nothing broken in between."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lopd_store.digest import Digest
from lopd_store.identity.model import Fingerprint
from lopd_store.store import Store
from tests.building.chain import build_signal

WORKERS = Path(__file__).with_name("workers.py")


def start(*words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, str(WORKERS), *map(str, words)]
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def report_of(process: "subprocess.Popen[str]") -> Any:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(said)


def test_killed_at_steps_all_over_a_build_it_comes_to_the_same_artifact(
    origin: Path, models: dict[str, Path]
) -> None:
    report = report_of(start("steps", origin, models["teacher"], 5, 9))
    assert report["wrong"] == []
    assert report["ids"] == [report["expected"]]
    assert report["kills"] >= 10
    assert report["published"] >= 1


def test_two_processes_building_the_same_thing_share_one_set_of_work(
    root: Path, models: dict[str, Path]
) -> None:
    processes = [start("build", root, models["teacher"], "signal", 0.2) for _ in range(2)]
    one, other = map(report_of, processes)
    assert one["id"] == other["id"]
    idle, busy = sorted((one["calls"], other["calls"]), key=len)
    assert idle == []
    assert sum(busy[:-32]) == 60
    assert Store.open(root).refs.resolve("signal") == Digest(one["id"])
    assert Store.open(root).fsck() == []


def test_killed_while_a_chunk_is_scored_it_loses_that_chunk_only(
    root: Path, models: dict[str, Path], teacher: Fingerprint
) -> None:
    process = start("build", root, models["teacher"], "signal", 0.7)
    while len(done := list(root.glob(".lopd/builds/*/chunk-*.arrow"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = {path.name: path.read_bytes() for path in done}
    resumed = report_of(start("build", root, models["teacher"], "signal", 0))
    assert resumed["resumed_tokens"] >= 600
    assert sum(resumed["calls"][:-32]) < 60
    assert len(before) == 2
    assert build_signal(Store.open(root), teacher).artifact == Digest(resumed["id"])
