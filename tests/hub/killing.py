"""Pulls that are killed at random moments, by a Hub that is slow enough for that."""

import hashlib
import signal as signals
import time
from dataclasses import dataclass

import numpy as np

from lopd_store.artifacts import load
from lopd_store.store import Store
from tests.hub.clients import Client
from tests.hub.pulled import BYTES, pulled, sent
from tests.hub_server import Fault, Hub

BUFFERED = 4 * (1 << 20)  # bytes that may be on their way to the disk when a process is killed


@dataclass
class Kills:
    """What was seen in a run of them.

    Attributes:
        landed: how many processes were at work when they were killed.
        staged: how often something of the artifact was there afterwards.
        wrong: states that must not be.
    """

    landed: int = 0
    staged: int = 0
    wrong: list[str] | None = None


def kill_pulls(hub: Hub, client: Client, *, times: int, seed: int, expected: str) -> Kills:
    """Kill so many pulls of `org/data`, then let one end; nothing half is ever visible."""
    chance, seen, wrong = np.random.default_rng(seed), Kills(), list[str]()
    hub.faults = [Fault(match=BYTES, times=None, pause=0.1)]
    for _ in range(times):
        process = client.start("pull", "org/data")
        begun = time.monotonic()
        while not hub.asked(BYTES) and process.poll() is None and time.monotonic() < begun + 60:
            time.sleep(0.02)
        time.sleep(float(chance.uniform(0, 1.2)))
        process.kill()
        process.communicate()
        seen.landed += process.returncode == -signals.SIGKILL
        if client.store.exists():
            wrong += half_visible(Store.open(client.store, create=True), expected)
            seen.staged += any(Store.open(client.store).tmp.glob("pull-*/*"))
    hub.faults.clear()
    (found,) = pulled(client.lopd_store("pull", "org/data", "--json"))
    here = Store.open(client.store)
    if found["id"] != expected or here.fsck() or list(here.tmp.iterdir()):
        wrong.append(f"at the end: {found['id']}, {here.fsck()}, {list(here.tmp.iterdir())}")
    seen.wrong = wrong
    return seen


def half_visible(store: Store, expected: str) -> list[str]:
    """What an interrupted pull must never leave: a ref to half an artifact, bytes under a name."""
    wrong = [str(problem) for problem in store.fsck()]
    wrong += [
        f"{digest} has other bytes"
        for digest in store.blobs.all()
        if hashlib.sha256(store.blobs.path(digest).read_bytes()).hexdigest() != digest.hex
    ]
    for ref in store.refs.list():
        artifact = load(store, ref)
        if str(artifact.id) != expected or len(list(artifact.open_shards())) < 2:
            wrong.append(f"{ref} names {artifact.id}")
    return wrong


def most_sent(hub: Hub, kills: Kills) -> bool:
    """Whether what was sent twice is no more than what was on its way when a process died."""
    whole = sum(len(data) for data in hub.files("org/data").values())
    return sent(hub) <= whole + kills.landed * BUFFERED
