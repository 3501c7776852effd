"""One writer at a time, between processes and threads: `flock` on a file that is never removed.

The kernel frees the lock when its holder dies, so there are no stale locks. Taking the same lock
twice in one process waits for ever: locks do not nest. On NFS, flock holds between hosts only
with NFSv4 or later: keep a store that several hosts write on a file system of theirs.
"""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lopd_store.errors import StoreError
from lopd_store.store.durable import explained
from lopd_store.store.regular import open_descriptor

_PID_BYTES = 32


@contextmanager
def exclusive(
    path: Path, *, wait: bool = True, on_wait: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file `path` (made if missing, with its folder).

    Args:
        path: the lock file; it holds the process id of the holder, for people.
        wait: wait until it is free; otherwise refuse at once.
        on_wait: called once with a sentence naming the holder, before a wait.

    Raises:
        StoreError: it is held and `wait` is false; or the lock file cannot be written.
        IntegrityError: a link, a pipe or a device stands there.
    """
    with explained("cannot lock", path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = open_descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        _take(descriptor, path, wait=wait, on_wait=on_wait)
        try:
            _write_pid(descriptor, str(os.getpid()))
            yield
        finally:
            _write_pid(descriptor, "")
            # Explicit: a child forked meanwhile shares the lock and may live on.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _take(
    descriptor: int, path: Path, *, wait: bool, on_wait: Callable[[str], None] | None
) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        held = f"{path} is held by process {_holder(descriptor)}"
        if not wait:
            raise StoreError(f"{held}: wait for it to end, or stop it") from None
        if on_wait is not None:
            on_wait(held)
        with explained("cannot lock", path):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        with explained("cannot lock", path):
            raise


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, _PID_BYTES, 0).decode("ascii", "replace").strip()
    return text if text.isdecimal() else "(unknown)"


def _write_pid(descriptor: int, text: str) -> None:
    # For people only: on a full disk the lock must still work, so that gc can free space.
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
