"""A ref's history: one JSON line a move, in `.lopd/log/<quoted ref>.jsonl`.

A line is written before its ref moves, under the same lock, so no move goes untold. After a crash
between the two, a line may tell of a move that did not happen: the next line, or the ref itself,
then stands where that line started. `happened` leaves such lines out.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.errors import FormatError, LopdError, UsageError
from lopd_store.store import durable, index, regular

_MAX_LOG_BYTES: Final = 256 << 20  # a million moves
_LONGEST_MESSAGE: Final = 10_000  # characters; each is at most 12 bytes of JSON
_LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One move of a ref.

    Attributes:
        time: when, UTC, ISO 8601 with seconds.
        before: where the ref pointed; None when it was made.
        after: where it points from then on; None when it was removed.
        message: why, in the words of who moved it; may be empty.
    """

    time: str
    before: Digest | None
    after: Digest | None
    message: str

    def to_json(self) -> dict[str, Any]:
        """The line's JSON."""
        return {
            "time": self.time,
            "from": self.before and str(self.before),
            "to": self.after and str(self.after),
            "message": self.message,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Entry":
        """Read a line's JSON. Raises FormatError."""
        if not isinstance(value, dict):
            raise FormatError(f"expected an object, found {type(value).__name__}")
        time, message = value.get("time"), value.get("message", "")
        if not isinstance(time, str) or not isinstance(message, str):
            raise FormatError("expected a time and a message, both strings")
        return cls(
            time=time,
            before=_digest(value.get("from")),
            after=_digest(value.get("to")),
            message=message,
        )


class Log:
    """The histories of all refs of one store."""

    def __init__(self, folder: Path, *, sync: durable.Sync) -> None:
        """See Store: `folder` is `.lopd/log`."""
        self._folder = folder
        self._sync = sync

    def read(self, name: str) -> list[Entry]:
        """The moves of a ref as written, oldest first; empty when it has no history here.

        A last line without its end is what a crash left of a write, and is passed over.

        Raises:
            UsageError: not a ref's name.
            FormatError: another line is not what we write.
            IntegrityError: the log is a link, a pipe or a device.
        """
        path = self._path(name)
        try:
            data = regular.read(path, limit=_MAX_LOG_BYTES)
        except FileNotFoundError:
            return []
        return [_entry(line, path, number) for number, line in enumerate(_lines(data), start=1)]

    def files(self) -> Iterator[Path]:
        """The log files there are, in no order."""
        return self._folder.glob("*.jsonl")

    def append(
        self, name: str, *, before: Digest | None, after: Digest | None, message: str = ""
    ) -> None:
        """Add a move, under the index lock. Raises StoreError; the log is then as it was."""
        with self.appended(name, before=before, after=after, message=message):
            pass

    @contextmanager
    def appended(
        self, name: str, *, before: Digest | None, after: Digest | None, message: str
    ) -> Iterator[None]:
        """Add a move and make it within; when that raises, the line is taken back."""
        if len(message) > _LONGEST_MESSAGE:
            raise UsageError(f"expected a message of at most {_LONGEST_MESSAGE} characters")
        now = datetime.now(UTC).isoformat(timespec="seconds")
        entry = Entry(time=now, before=before, after=after, message=message)
        path = self._path(name)
        durable.make_folder(self._folder, sync=self._sync)
        descriptor = regular.open_descriptor(path, os.O_RDWR | os.O_CREAT)
        try:
            end = _end_of_whole_lines(descriptor, path)
            try:
                with durable.explained("cannot write", path):
                    _write_line(descriptor, end, canonical.encode(entry.to_json()) + b"\n")
                    self._sync(descriptor)
                    durable.sync_folder(self._folder, sync=self._sync)
                yield
            except (LopdError, OSError):
                os.ftruncate(descriptor, end)
                raise
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        # Quoting leaves no slash, and a ref's name never starts with a dot: one file, in here.
        return self._folder / f"{quote(index.check_name(name), safe='')}.jsonl"


def happened(entries: Sequence[Entry], now: Digest | None) -> list[Entry]:
    """The moves that were made, of those written down, for a ref that points at `now`."""
    made = []
    for number, entry in enumerate(entries, start=1):
        then = entries[number].before if number < len(entries) else now
        if then == entry.after or then != entry.before:
            made.append(entry)
    return made


def _lines(data: bytes) -> list[bytes]:
    return data[: data.rfind(b"\n") + 1].split(b"\n")[:-1]


def _entry(line: bytes, path: Path, number: int) -> Entry:
    try:
        return Entry.from_json(canonical.decode_lenient(line))
    except FormatError as error:
        raise FormatError(f"{path} line {number}: {error}") from error


def _end_of_whole_lines(descriptor: int, path: Path) -> int:
    """Where the next line starts; a torn line after that is cut off."""
    with durable.explained("cannot read", path):
        size = os.fstat(descriptor).st_size
        start = max(0, size - _LONGEST_LINE)
        tail = os.pread(descriptor, size - start, start)
        end = start + tail.rfind(b"\n") + 1
        if end == start > 0:
            raise FormatError(f"{path}: expected lines of at most {_LONGEST_LINE} bytes")
        if end != size:
            os.ftruncate(descriptor, end)
    return end


def _write_line(descriptor: int, end: int, line: bytes) -> None:
    while line:
        count = os.pwrite(descriptor, line, end)
        line, end = line[count:], end + count


def _digest(text: Any) -> Digest | None:
    return None if text is None else Digest(text)
