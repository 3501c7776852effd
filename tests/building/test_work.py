"""Short work in a store: alone, safe from gc, and gone when it ends."""

from threading import Event, Thread

import pytest

from lopd_store.building.progress import Silence
from lopd_store.building.work import at_work
from lopd_store.digest import Digest
from lopd_store.store import Store


class Waits(Silence):
    """Says when it has to wait."""

    def __init__(self) -> None:
        self.waiting = Event()
        self.says: list[str] = []

    def say(self, message: str) -> None:
        self.says.append(message)
        self.waiting.set()


def test_what_is_held_stays_until_the_work_ends(store: Store) -> None:
    with at_work(store, "test", progress=Silence()) as work:
        blob = store.blobs.put(b"rows")
        work.hold(blob)
        store.gc(grace_seconds=0)
        assert store.blobs.has(blob)
    store.gc(grace_seconds=0)
    assert not store.blobs.has(blob)


def test_what_is_claimed_is_there_and_stays(store: Store) -> None:
    blob = store.blobs.put(b"rows")
    with at_work(store, "test", progress=Silence()) as work:
        assert work.claim(blob)
        assert not work.claim(Digest.of(b"nothing"))
        store.gc(grace_seconds=0)
        assert store.blobs.has(blob)


def test_a_second_run_of_the_same_work_waits_and_says_so(store: Store) -> None:
    second = Waits()
    order = []

    def run() -> None:
        with at_work(store, "test", progress=second):
            order.append("second")

    thread = Thread(target=run)
    with at_work(store, "test", progress=Silence()):
        thread.start()
        assert second.waiting.wait(60)
        order.append("first")
    thread.join(60)
    assert order == ["first", "second"]
    assert "is held by process" in second.says[0]


def test_nothing_stays_behind_whatever_happens(store: Store) -> None:
    def fail() -> None:
        with at_work(store, "test", progress=Silence()) as work:
            work.hold(Digest.of(b"rows"))
            work.scratch.mkdir()
            (work.scratch / "half").write_bytes(b"PAR1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not (store.builds / "test").exists()


def test_what_a_killed_run_left_is_cleared(store: Store) -> None:
    left = store.builds / "test"
    (left / "tmp").mkdir(parents=True)
    (left / "holds").write_text(f"{Digest.of(b'rows')}\nsha256:0")
    with at_work(store, "test", progress=Silence()) as work:
        work.hold(Digest.of(b"rows"))
        store.gc(grace_seconds=0)
        assert not work.scratch.exists()
