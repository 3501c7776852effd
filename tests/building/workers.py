"""Processes that build and are killed; tests run this file, none imports it.

    workers.py build STORE TEACHER REF PAUSE      build with the arithmetic engine, PAUSE s a chunk
    workers.py steps ORIGIN TEACHER FIRST STEP    kill -9 a build at each STEP-th disk operation
    workers.py often ORIGIN TEACHER SEED SECONDS  kill -9 builds at random moments, over and over

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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from lopd_store.errors import LopdError
from lopd_store.identity.model import Fingerprint, fingerprint
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.target import Depth, verify_artifact

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.building.chain import Arithmetic, build_signal

CHANGES: Final = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.chmod",
    "os.utime",
    "os.truncate",
    "fcntl.flock",
    "shutil.rmtree",
}
Outcome = tuple[int, str]  # wait status, the artifact's id if it came to one


def die_at(step: int, counted: list[int]) -> None:
    """From now on count this process's disk operations; at number `step` it is killed."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event == "open" and arguments[1] == "r"):
            return
        counted[0] += 1
        if counted[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def in_child(work: Callable[[], str]) -> Outcome:
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, work().encode())
        except BaseException as error:  # noqa: BLE001 - told to the parent, which judges it
            os.write(writing, repr(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    return os.waitpid(child, 0)[1], said


def build_in(root: Path, teacher: Fingerprint, step: int = 0) -> str:
    counted = [0]
    if step:
        die_at(step, counted)
    return str(build_signal(Store.open(root, sync=no_sync), teacher).artifact)


def wrong_in(root: Path, expected: str) -> list[str]:
    """What a reader finds wrong after a kill: a ref to anything but the whole right artifact."""
    store = Store.open(root)
    found = [str(problem) for problem in store.fsck()]
    try:
        at = store.refs.get("signal")
        if at is not None and str(at.digest) != expected:
            found.append(f"signal names {at.digest}")
        if at is not None:
            found += map(str, verify_artifact(store, "signal", Depth()).problems)
    except LopdError as error:
        found.append(repr(error))
    return found


def steps(origin: Path, teacher: Fingerprint, first: int, step: int) -> dict[str, Any]:
    report: dict[str, Any] = {"kills": 0, "published": 0, "wrong": [], "ids": []}
    with tempfile.TemporaryDirectory(dir=origin.parent) as folder:
        status, expected = in_child(lambda: build_in(copied(origin, folder, "whole"), teacher))
        assert status == 0, expected
        for at in range(first, 100_000, step):
            root = copied(origin, folder, str(at))
            status, said = in_child(partial(build_in, root, teacher, at))
            if status == 0:
                break  # it has fewer operations than that
            assert os.WTERMSIG(status) == signal.SIGKILL, said
            report["kills"] += 1
            report["wrong"] += [f"killed at {at}: {text}" for text in wrong_in(root, expected)]
            report["published"] += Store.open(root).refs.get("signal") is not None
            status, said = in_child(partial(build_in, root, teacher))
            report["wrong"] += [f"killed at {at}, resumed: {t}" for t in wrong_in(root, expected)]
            report["ids"].append(said)
            shutil.rmtree(root)
    return report | {"expected": expected, "ids": sorted(set(report["ids"]))}


def often(origin: Path, teacher: Fingerprint, seed: int, seconds: float) -> dict[str, Any]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    report: dict[str, Any] = {"kills": 0, "builds": 0, "wrong": [], "ids": []}
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory(dir=origin.parent) as folder:
        _, expected = in_child(lambda: build_in(copied(origin, folder, "whole"), teacher))
        while time.monotonic() < end:
            root = copied(origin, folder, "killed")
            status, said = 1, ""
            for _ in range(40):
                step = chance.randrange(1, 120)
                status, said = in_child(partial(build_in, root, teacher, step))
                if status == 0:
                    break
                assert os.WTERMSIG(status) == signal.SIGKILL, said
                report["kills"] += 1
                report["wrong"] += wrong_in(root, expected)
            if status:
                _, said = in_child(partial(build_in, root, teacher))
            report["wrong"] += wrong_in(root, expected)
            report["ids"].append(said)
            report["builds"] += 1
            shutil.rmtree(root)
    return report | {"expected": expected, "ids": sorted(set(report["ids"]))}


def copied(origin: Path, folder: str, name: str) -> Path:
    return Path(shutil.copytree(origin, Path(folder, name)))


def build_once(root: Path, teacher: Fingerprint, ref: str, pause: float) -> dict[str, Any]:
    scorer = Arithmetic(pause=pause)
    built = build_signal(Store.open(root), teacher, scorer=scorer, ref=ref)
    return built.to_json() | {"calls": scorer.calls}


def main(words: list[str]) -> None:
    root, teacher = Path(words[1]), fingerprint(words[2])
    if words[0] == "build":
        found = build_once(root, teacher, words[3], float(words[4]))
    else:
        run = {"steps": steps, "often": often}[words[0]]
        found = run(root, teacher, int(words[3]), int(words[4]))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
