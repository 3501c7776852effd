"""Several transfers at once, which end together: at the first error, and at Ctrl-C."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Final, TypeVar

from lopd_store.hub.fetching import Advance

AT_ONCE: Final = 4  # one connection seldom fills a line; more ask for rate limits
Item = TypeVar("Item")
Result = TypeVar("Result")


class StoppedError(Exception):
    """Another thread has failed, or the person has had enough: this one ends."""


class Told:
    """An `Advance` for several threads, which also tells them to stop."""

    def __init__(self, advance: Advance) -> None:
        self._advance = advance
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def __call__(self, count: int) -> None:
        """So many bytes have come. Raises StoppedError."""
        if self._stopped.is_set():
            raise StoppedError
        with self._lock:
            self._advance(count)

    def stop(self) -> None:
        """Every thread stops at its next block."""
        self._stopped.set()


def at_once(work: Callable[[Item], Result], items: Iterable[Item], told: Told) -> list[Result]:
    """`work(item)` of each item by several threads; the first error stops them all."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException:  # Ctrl-C too; it goes on once the threads know
            told.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [future.result() for future in futures]
