"""Work done ahead of its turn by threads, taken in order, with a bound on what is held.

SHA-256, Parquet and NumPy let go of Python's lock, so threads do use several cores.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


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
