"""A process that saves checkpoints and is killed; tests run this file, none imports it.

    saver.py FOLDER    kill -9 a save at each of its disk operations

It prints how often it killed and what it found wrong, as JSON.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from lopd_train.checkpoints import Checkpoints, step_of
from lopd_train.listing import check

CHANGES: Final = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
KEEP: Final = 2


def contents(step: int) -> dict[str, bytes]:
    return {"state.pt": bytes([step]) * 50_000, "model/config.json": b"%d" % step}


def save(folder: Path, step: int) -> None:
    def write(temp: Path) -> None:
        for name, data in contents(step).items():
            (temp / name).parent.mkdir(exist_ok=True)
            (temp / name).write_bytes(data)

    Checkpoints(folder, keep=KEEP).save(step, write)


def die_at(operation: int) -> None:
    """From now on count this process's disk operations; at that number it is killed."""
    counted = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event == "open" and arguments[1] == "r"):
            return
        counted[0] += 1
        if counted[0] == operation:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def killed(work: Callable[[], None], operation: int) -> bool:
    """Do `work` in a child that is killed at an operation, unless it ends before."""
    if (child := os.fork()) == 0:
        die_at(operation)
        work()
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    assert status in {0, signal.SIGKILL}, status
    return status == signal.SIGKILL


def wrong_in(folder: Path, steps: list[list[int]]) -> list[str]:
    """What a reader finds wrong: other checkpoints than one of `steps`, or one not whole."""
    checkpoints = Checkpoints(folder).all()
    found = [step_of(path) for path in checkpoints]
    wrong = [] if found in steps else [f"steps {found}"]
    for path in checkpoints:
        check(path)
        for name, data in contents(step_of(path)).items():
            if (path / name).read_bytes() != data:
                wrong.append(f"{path.name}/{name} is not what was written")
    return wrong


def at_each_operation(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = {"kills": 0, "new": 0, "wrong": []}
    origin, copy = folder / "origin", folder / "copy"
    save(origin, 1)
    save(origin, 2)
    for operation in range(1, 10_000):
        shutil.copytree(origin, copy)
        if not killed(lambda: save(copy, 3), operation):
            report["wrong"] += wrong_in(copy, [[2, 3]])
            break
        report["kills"] += 1
        report["new"] += (copy / "step-00000003").exists()
        report["wrong"] += wrong_in(copy, [[1, 2], [1, 2, 3], [2, 3]])
        save(copy, 4)
        report["wrong"] += wrong_in(copy, [[2, 4], [3, 4]])
        report["wrong"] += [f"left: {p.name}" for p in copy.iterdir() if p.name.startswith(".")]
        shutil.rmtree(copy)
    return report


if __name__ == "__main__":
    print(json.dumps(at_each_operation(Path(sys.argv[1]))))  # noqa: T201 - its answer
