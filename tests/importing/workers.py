"""A process that imports and is killed; a test runs this file.

    workers.py FILE FOLDER FIRST STEP    kill -9 an import of FILE at each STEP-th disk operation

It prints what it did and what it found wrong, as JSON.
"""

import json
import os
import shutil
import signal
import sys
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
from lopd_store.building.options import JobOptions
from lopd_store.importing import import_file
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from tests.building.workers import die_at, in_child, wrong_in


def import_in(root: Path, path: Path, step: int = 0) -> str:
    store = Store.open(root, create=True, sync=no_sync)
    if step:
        die_at(step, [0])
    options = JobOptions(chunk_tokens=60, shard_tokens=200)
    made = import_file(store, path, format="jsonl", ref="signal", options=options)
    return str(made.built.artifact)


def steps(path: Path, folder: Path, first: int, step: int) -> dict[str, Any]:
    report: dict[str, Any] = {"kills": 0, "wrong": [], "ids": []}
    status, expected = in_child(partial(import_in, folder / "whole", path))
    assert status == 0, expected
    for at in range(first, 100_000, step):
        root = folder / str(at)
        status, said = in_child(partial(import_in, root, path, at))
        if status == 0:
            break  # it has fewer operations than that
        assert os.WTERMSIG(status) == signal.SIGKILL, said
        report["kills"] += 1
        report["wrong"] += [f"killed at {at}: {text}" for text in wrong_in(root, expected)]
        status, said = in_child(partial(import_in, root, path))
        report["wrong"] += [f"killed at {at}, resumed: {t}" for t in wrong_in(root, expected)]
        report["ids"].append(said)
        shutil.rmtree(root)
    return report | {"expected": expected, "ids": sorted(set(report["ids"]))}


if __name__ == "__main__":
    file, folder, first, step = sys.argv[1:]
    sys.stdout.write(json.dumps(steps(Path(file), Path(folder), int(first), int(step))))
