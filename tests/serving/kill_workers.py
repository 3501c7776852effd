"""Processes that write journals and publish them, and are killed; tests run this file.

    kill_workers.py append FOLDER SEED KILLS   kill -9 writers of a journal at random moments
    kill_workers.py grow STORE FIRST STEP      kill -9 a publication at each STEP-th disk operation

They print what they did and what they found wrong, as JSON.
"""

import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))
from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.serving.readthrough.growth import Growth
from lopd_store.serving.readthrough.journal import Journal, read_segment
from lopd_store.serving.readthrough.journal_format import Record
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact
from tests.building.workers import die_at, in_child
from tests.serving.journals import plain, record_of

WHO: Final = Digest.of(b"identity")
GROUPS: Final = 10_000  # more than a life lasts
REF: Final = "live"


def group(number: int) -> list[Record]:
    """What one append brings, known by its number."""
    ids = [number, *range(number % 50 + 2)]
    return [record_of(1, ids, [-float(number)] * (len(ids) - 1))] * (number % 3 + 1)


def write_until_killed(folder: Path, first: int, told: int) -> None:
    journal = Journal(folder)
    with journal.lock():
        for number in range(first, first + GROUPS):
            journal.append(group(number), identity=WHO)
            os.write(told, b".")


def append(folder: Path, seed: int, kills: int) -> dict[str, Any]:
    """After each kill: every group that was told of is there, and none but the next one besides."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    report: dict[str, Any] = {"kills": kills, "told": 0, "wrong": []}
    seen: set[Path] = set()
    for life in range(kills):
        reading, writing = os.pipe()
        if (child := os.fork()) == 0:
            write_until_killed(folder, life * GROUPS, writing)
        os.close(writing)
        with os.fdopen(reading, "rb", buffering=0) as pipe:
            told = len(pipe.read(1))
            time.sleep(chance.expovariate(100))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            told += sum(map(len, iter(lambda: pipe.read(4096), b"")))
        paths = sorted({*folder.glob("segment-*.journal")} - seen)
        found = [plain(record) for path in paths for record in read_segment(path)[1]]
        seen.update(paths)
        groups = [[plain(r) for r in group(life * GROUPS + place)] for place in range(told + 1)]
        expected = list(chain.from_iterable(groups))
        sure = len(expected) - len(groups[-1])
        if found != expected[: len(found)] or len(found) < sure:
            report["wrong"].append(
                f"life {life}: told of {told} groups, found {len(found)} records"
            )
        report["told"] += told
    return report


def publish(root: Path, step: int = 0) -> str:
    if step:
        die_at(step, [0])
    growth = Growth(Store.open(root, sync=no_sync), REF, shard_tokens=300)
    with growth.journal.lock():
        grown = growth.publish()
        growth.release()
    return str(grown)


def wrong_in(root: Path, right: set[str]) -> list[str]:
    """What a reader finds wrong after a kill: damage, or a ref to neither the old nor the new."""
    store = Store.open(root)
    found = [str(problem) for problem in store.fsck()]
    found += map(str, verify_artifact(store, REF, Depth()).problems)
    at = str(store.refs.resolve(REF))
    return found if at in right else [*found, f"{REF} names {at}"]


def grow(origin: Path, first: int, step: int) -> dict[str, Any]:
    """Killed anywhere in a publication, the next one comes to the same artifact."""
    report: dict[str, Any] = {"kills": 0, "moved": 0, "wrong": [], "ids": []}
    old = str(Store.open(origin).refs.resolve(REF))
    with tempfile.TemporaryDirectory(dir=origin.parent) as folder:
        status, expected = in_child(partial(publish, copied(origin, folder, "whole")))
        assert status == 0, expected
        for at in range(first, 100_000, step):
            root = copied(origin, folder, str(at))
            status, said = in_child(partial(publish, root, at))
            if status == 0:
                break  # it has fewer operations than that
            assert os.WTERMSIG(status) == signal.SIGKILL, said
            report["kills"] += 1
            report["wrong"] += [f"killed at {at}: {w}" for w in wrong_in(root, {old, expected})]
            report["moved"] += str(Store.open(root).refs.resolve(REF)) == expected
            Store.open(root).gc(grace_seconds=0)
            status, said = in_child(partial(publish, root))
            report["wrong"] += [f"killed at {at}, again: {w}" for w in wrong_in(root, {expected})]
            report["wrong"] += map(str, root.glob(".lopd/builds/*/segment-*"))
            report["ids"].append(said if said != "None" else expected)
            shutil.rmtree(root)
        rows = load(Store.open(Path(folder, "whole")), REF).document.rows
    return report | {"expected": expected, "rows": rows, "ids": sorted(set(report["ids"]))}


def copied(origin: Path, folder: str, name: str) -> Path:
    return Path(shutil.copytree(origin, Path(folder, name)))


def main(words: list[str]) -> None:
    run = {"append": append, "grow": grow}[words[0]]
    json.dump(run(Path(words[1]), int(words[2]), int(words[3])), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
