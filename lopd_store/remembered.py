"""What was found out of a file, for as long as it is still that file.

A record counts only while the file's device, inode, size and times are those it was read at, and
only for the user who wrote it; one that does not check out is ignored, never repaired. Nothing here
is trusted for longer than that: losing the folder costs one read of each file.
"""

import os
import stat
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.errors import FormatError

_MAX_RECORD_BYTES: Final = 64 << 20
# A file changed again within one clock tick keeps its times: what is this fresh is not remembered.
_TICK_NS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file does."""

    text: str

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """The state of the file that `path` leads to. Raises OSError."""
        real = path.resolve()
        stat = real.stat()
        numbers = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        # A path need be neither text nor one line.
        return cls("\n".join([ascii(str(real)), *map(str, numbers)]))

    @property
    def is_settled(self) -> bool:
        """Whether the file's times are old enough to tell a later change."""
        return time.time_ns() - max(map(int, self.text.split("\n")[-2:])) > _TICK_NS


class Records:
    """Records in a folder, one file for each path. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first record is written."""
        self._folder = folder

    def recall(self, path: Path) -> dict[str, Any] | None:
        """What was remembered of the file as it is now, or None."""
        try:
            state = FileState.of(path)
            with open(self._record(state), "rb", opener=_open_own) as file:
                data = file.read(_MAX_RECORD_BYTES + 1)
            return _read(data, state)
        except (OSError, FormatError):
            return None

    def remember(self, path: Path, state: FileState, known: dict[str, Any]) -> None:
        """Record what was read of `path`, if it is still in the `state` from before the read.

        A record that cannot be written is a read more next time, not an error.
        """
        try:
            if state.is_settled and FileState.of(path) == state:
                self._write(self._record(state), _encode(known | {"state": state.text}))
        except OSError:
            return

    def _write(self, target: Path, data: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".tmp", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.flush()
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)

    def _record(self, state: FileState) -> Path:
        """Users who share a store have their own records."""
        real = state.text.partition("\n")[0]
        return self._folder / f"{Digest.of(b'%d %b' % (os.geteuid(), os.fsencode(real))).hex}.json"


def digest_of(path: Path, records: Records | None) -> Digest:
    """A file's SHA-256, read once for as long as the file stays what it is. Raises OSError."""
    if records is None:
        return Digest.of_file(path)
    state = FileState.of(path)
    match records.recall(path):
        case {"digest": str(known)}:
            return Digest(known)
    found = Digest.of_file(path)
    records.remember(path, state, {"digest": str(found)})
    return found


def _open_own(path: str, flags: int) -> int:
    """A file that this user wrote: whoever else can write to a store can make any record.

    Raises OSError: another user's, or a link, a pipe, a device.
    """
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        os.close(descriptor)
        raise PermissionError(path)
    return descriptor


def _encode(record: dict[str, Any]) -> bytes:
    check = Digest.of(canonical.encode(record))
    return canonical.encode({"record": record, "check": str(check)})


def _read(data: bytes, state: FileState) -> dict[str, Any] | None:
    document = canonical.decode(data, what="record")
    match document:
        case {"record": {"state": state.text} as record, "check": str(check)}:
            known: dict[str, Any] = record
        case _:
            return None
    return known if str(Digest.of(canonical.encode(known))) == check else None
