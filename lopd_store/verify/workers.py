"""The threads of a verification."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from lopd_store.cores import usable_cores


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
