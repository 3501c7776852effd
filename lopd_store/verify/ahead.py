"""Work done ahead of its turn by threads, taken in order, with a bound on what is held.

SHA-256, Parquet and NumPy let go of Python's lock, so threads do use several cores.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from lopd_store.cores import usable_cores

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Threads of a verification, each pool for work that does not wait for another pool's.

    Attributes:
        count: the cores they share.
        digests: hash files that are looked at next.
        rows: decode and check row groups.
        columns: hash the columns of the row group whose turn it is.
    """

    count: int
    digests: ThreadPoolExecutor
    rows: ThreadPoolExecutor
    columns: ThreadPoolExecutor


@contextmanager
def workers(count: int | None = None) -> Iterator[Workers]:
    """`count` threads in each pool (None: as many as cores) while the context lasts."""
    count = count or usable_cores()
    with ExitStack() as stack:
        digests, rows, columns = (
            stack.enter_context(ThreadPoolExecutor(count, thread_name_prefix=name))
            for name in ("verify-digests", "verify-rows", "verify-columns")
        )
        yield Workers(count=count, digests=digests, rows=rows, columns=columns)


def one(_: object) -> int:
    """The weight of things that are only counted."""
    return 1


def ahead(
    pool: ThreadPoolExecutor,
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    most: int,
    weigh: Callable[[Item], int] = one,
) -> Iterator[Result]:
    """`work(item)` of each item, in the order of the items.

    What is begun and not yet taken weighs at most `most`, or is one item. An error of `work` is
    raised when its item's turn comes; what has not begun by then is never begun.
    """
    waiting: deque[tuple[int, Future[Result]]] = deque()
    held = 0
    try:
        for item in items:
            weight = weigh(item)
            while waiting and held + weight > most:
                held -= waiting[0][0]
                yield waiting.popleft()[1].result()
            waiting.append((weight, pool.submit(work, item)))
            held += weight
        while waiting:
            yield waiting.popleft()[1].result()
    finally:
        for _, future in waiting:
            future.cancel()
