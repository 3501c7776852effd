"""Remembered digests of large files, so that a model is read once.

A record counts only while the file's device, inode, size and times are those it was read at; a
record that does not check out is ignored, never repaired. Nothing here is trusted for longer
than that: losing the folder costs one read.
"""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.errors import FormatError, NotFoundError
from lopd_store.identity import strangers
from lopd_store.identity.tensors import TensorDigest

_MAX_RECORD_BYTES: Final = 64 << 20
# A file changed again within one clock tick keeps its times: what is this fresh is not remembered.
_TICK_NS: Final = 20_000_000


@dataclass(frozen=True, slots=True)
class FileState:
    """What changes when a file does."""

    text: str

    @classmethod
    def of(cls, path: Path) -> "FileState":
        """The state of the file that `path` leads to."""
        real = path.resolve()
        stat = real.stat()
        numbers = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        return cls("\n".join([str(real), *map(str, numbers)]))

    @property
    def is_settled(self) -> bool:
        """Whether the file's times are old enough to tell a later change."""
        return time.time_ns() - max(map(int, self.text.split("\n")[-2:])) > _TICK_NS


@dataclass(frozen=True, slots=True, kw_only=True)
class Remembered:
    """What is known of a file.

    Attributes:
        digest: of its bytes, as read; None when they were not hashed whole.
        tensors: of its tensors; None when they were not hashed.
    """

    digest: Digest | None
    tensors: tuple[TensorDigest, ...] | None


class FileCache:
    """Records in a folder, one file for each path. Safe for several processes at once."""

    def __init__(self, folder: Path) -> None:
        """`folder` is made when the first record is written."""
        self._folder = folder

    def recall(self, path: Path) -> Remembered | None:
        """What is known of the file as it is now, or None."""
        try:
            state = FileState.of(path)
            data = strangers.read_bytes(self._record(state), limit=_MAX_RECORD_BYTES)
            return _read(data, state)
        except (OSError, FormatError, NotFoundError):
            return None

    def remember(self, path: Path, state: FileState, known: Remembered) -> None:
        """Record what was read of `path`, if it is still in the `state` from before the read.

        A record that cannot be written is a read more next time, not an error.
        """
        try:
            if state.is_settled and FileState.of(path) == state:
                self._write(self._record(state), _encode(state, known))
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
        real = state.text.partition("\n")[0]
        return self._folder / f"{Digest.of(os.fsencode(real)).hex}.json"


def _encode(state: FileState, known: Remembered) -> bytes:
    record: dict[str, Any] = {"state": state.text}
    if known.digest:
        record["digest"] = str(known.digest)
    if known.tensors is not None:
        record["tensors"] = [tensor.to_json() for tensor in known.tensors]
    check = Digest.of(canonical.encode(record))
    return canonical.encode({"record": record, "check": str(check)})


def _read(data: bytes, state: FileState) -> Remembered | None:
    document = canonical.decode(data, what="cache record")
    match document:
        case {"record": {"state": state.text} as record, "check": str(check)}:
            pass
        case _:
            return None
    if str(Digest.of(canonical.encode(record))) != check:
        return None
    digest, tensors = record.get("digest"), record.get("tensors")
    return Remembered(
        digest=Digest(digest) if digest else None,
        tensors=None if tensors is None else tuple(_tensor(entry) for entry in tensors),
    )


def _tensor(entry: list[Any]) -> TensorDigest:
    name, dtype, shape, digest = entry
    return TensorDigest(name=name, dtype=dtype, shape=tuple(shape), digest=Digest(digest))
