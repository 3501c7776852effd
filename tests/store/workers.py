"""Processes that work on a store and are raced or killed; tests run this file, none imports it.

    workers.py count STORE NAME TIMES          move NAME up by one, TIMES times, by compare-and-swap
    workers.py kill STORE SECONDS SEED SYNC    kill -9 a child at random moments, look, repeat
    workers.py lines STORE STEP FIRST          kill a child at each STEP-th line it runs, from FIRST

`kill` and `lines` print what they did and what they found wrong, as JSON.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import LopdError, RefMovedError
from lopd_store.store import Store
from lopd_store.store.durable import no_sync

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
DIGEST_BYTES = 71


def publish(store: Store, text: str, subject: Descriptor | None = None) -> Descriptor:
    """A manifest with one layer, moved in as a file, and one config."""
    source = store.tmp / f"source-{os.getpid()}"
    source.write_text(text)
    size = source.stat().st_size
    layer = Descriptor(media_type="a/b", digest=store.blobs.put_file(source), size=size)
    config = Descriptor(media_type="a/b", digest=store.blobs.put(b"{}"), size=2)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "artifactType": "x/y",
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    if subject is not None:
        document["subject"] = subject.to_json()
    data = json.dumps(document).encode()
    return Descriptor(media_type=MANIFEST, digest=store.blobs.put(data), size=len(data))


def number(store: Store, at: Descriptor) -> int:
    """The number that `count` put into an artifact."""
    layer = json.loads(store.blobs.get(at.digest))["layers"][0]
    return int(store.blobs.get(Digest(layer["digest"])))


def count(root: Path, name: str, times: int) -> None:
    store = Store.open(root, sync=no_sync)
    done = 0
    while done < times:
        now = store.refs.get(name)
        following = publish(store, str(number(store, now) + 1 if now else 1))
        with contextlib.suppress(RefMovedError):
            store.refs.move(name, following, expected=now.digest if now else None)
            done += 1


def work(store: Store, pipe: int, seed: int) -> None:
    """Put, move, attach and collect for ever, saying before each move where the ref will point."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    while True:
        now = store.refs.get("a")
        following = publish(store, "".join(chance.choices("abc", k=chance.choice((1, 9, 9999)))))
        os.write(pipe, str(following.digest).encode())
        store.refs.move("a", following, expected=now.digest if now else None, message="on")
        if chance.random() < 0.3:
            store.refs.attach(publish(store, f"noise {chance.random()}", subject=following))
        if chance.random() < 0.3:
            store.gc(grace_seconds=1)


@dataclass
class Findings:
    """What a series of kills came to."""

    kills: int = 0
    moves: int = 0
    problems: list[str] = field(default_factory=list)


def look(root: Path, allowed: set[Digest | None], findings: Findings) -> Digest | None:
    """The store after a kill: readable, whole, its ref at the old or the new place."""
    findings.kills += 1
    try:
        store = Store.open(root)
        now = store.refs.get("a")
        findings.problems += [str(problem) for problem in store.fsck()]
        last = [entry.after for entry in store.refs.history("a")][-1:]
    except LopdError as error:
        findings.problems.append(repr(error))
        return None
    digest = now.digest if now else None
    if digest not in allowed:
        findings.problems.append(f"ref at {digest}, expected one of {allowed}")
    if [digest] != (last or [None]):
        findings.problems.append(f"ref at {digest}, log ends with {last}")
    return digest


def child(act: Callable[[int], None]) -> tuple[int, int]:
    """Fork a process that runs `act(pipe)`; its process id, and the pipe to read from."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reading)
        try:
            act(writing)
        finally:
            os._exit(0)
    os.close(writing)
    return process, reading


def said(pipe: int) -> list[Digest]:
    with os.fdopen(pipe, "rb") as file:
        data = file.read()
    return [
        Digest(data[start : start + DIGEST_BYTES].decode())
        for start in range(0, len(data), DIGEST_BYTES)
    ]


def kill(root: Path, seconds: float, seed: int, sync: Callable[[int], None]) -> Findings:
    chance = random.Random(seed)  # noqa: S311 - no secret
    store = Store.open(root, create=True, sync=sync)
    now: Digest | None = None
    findings = Findings()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not findings.problems:
        process, pipe = child(partial(work, store, seed=chance.randrange(1 << 30)))
        time.sleep(chance.uniform(0.0, 0.04))
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        meant = said(pipe)
        findings.moves += len(meant)
        now = look(root, {*[now, *meant][-2:]}, findings)
    return findings


def one_of_each(store: Store) -> None:
    """Every kind of change once, on a store that `lines` has prepared."""
    now = store.refs.get("a")
    following = publish(store, "new")
    store.refs.move("a", following, expected=now.digest if now else None)
    store.refs.attach(publish(store, "noise", subject=following))
    store.blobs.put(b"old")
    store.gc(grace_seconds=-10)
    store.refs.remove("a")
    store.gc(grace_seconds=-10)


def lines(root: Path, step: int, first: int) -> Findings:
    """Kill a child at its n-th line of lopd_store.store, for n = first, first + step, …"""
    model = root.with_name("model")
    new = publish(Store.open(root, create=True, sync=no_sync), "new").digest
    store = Store.open(model, create=True, sync=no_sync)
    old = publish(store, "old")
    store.refs.move("a", old, expected=None)
    findings = Findings()
    at = first
    while True:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(model, root)
        process, pipe = child(partial(die, Store.open(root, sync=no_sync), at))
        _, status = os.waitpid(process, 0)
        os.close(pipe)
        if not os.WIFSIGNALED(status):
            return findings
        look(root, {old.digest, new, None}, findings)
        recover(root, findings)
        at += step


def die(store: Store, line: int, _pipe: int) -> None:
    """Do one of each, and die at a line of it."""
    sys.settrace(dying_at(line))
    one_of_each(store)


def recover(root: Path, findings: Findings) -> None:
    """After a kill, the same work runs to its end and leaves nothing behind."""
    store = Store.open(root, sync=no_sync)
    try:
        one_of_each(store)
    except LopdError as error:
        findings.problems.append(f"again: {error!r}")
    left = [path.name for path in (*store.tmp.iterdir(), *store.blobs.folder.iterdir())]
    if left or store.fsck():
        findings.problems.append(f"again: left {left}, {store.fsck()}")


def dying_at(line: int) -> Callable[[FrameType, str, Any], Any]:
    """A trace function that kills this process at the n-th line run in the store's files."""
    left = line

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal left
        if "/lopd_store/store/" not in frame.f_code.co_filename:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def main(words: list[str]) -> None:
    root = Path(words[1])
    if words[0] == "count":
        count(root, words[2], int(words[3]))
        return
    if words[0] == "kill":
        sync = os.fsync if words[4] == "sync" else no_sync
        findings = kill(root, float(words[2]), int(words[3]), sync)
    else:
        findings = lines(root, int(words[2]), int(words[3]))
    json.dump(vars(findings), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
