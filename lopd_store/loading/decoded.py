"""Decoded columns beside the store: found by what they were decoded from, mapped, evictable.

    STORE/.lopd/decoded/<key>/<column>.arrow     an Arrow IPC stream of one column

The key is a digest of the shards' digests. A file counts only while it is the very file that was
written here (`remembered`); anything else is decoded again from shards whose digests are checked.
"""

import errno
import os
import secrets
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store.digest import tagged
from lopd_store.errors import StoreError, UsageError
from lopd_store.loading.decode import CORE, columns_of, decode
from lopd_store.remembered import FileState, Records
from lopd_store.rows.columns import TYPES
from lopd_store.shard_sets import ShardSet

_TAG: Final = "lopd.decoded.v1"
_SETTLING_SECONDS: Final = 0.03  # a file this old is told from one that is changed later
_NOT_OURS: Final = (errno.EROFS, errno.EACCES, errno.EPERM)


def open_columns(shards: ShardSet, names: Sequence[str] | None = None) -> dict[str, pa.Table]:
    """Columns of all shards in row order, each as a memory-mapped table of that one column.

    What is not there yet is decoded and checked. Where there is no store, or one that cannot be
    written, that happens in a temporary folder (TMPDIR) and is gone with the last array.

    Args:
        shards: whose rows.
        names: columns that every shard has; None for those of `CORE` that there are.

    Raises:
        UsageError: a column that not every shard has.
        FormatError, NotFoundError, IntegrityError: as `decode`.
        StoreError: no room.
    """
    types = columns_of(shards)
    wanted = _default(types) if names is None else list(names)
    if unknown := [name for name in wanted if name not in types]:
        raise UsageError(
            f"{shards.name}: expected columns among {', '.join(types)}, found"
            f" {', '.join(map(repr, unknown))}"
        )
    with ExitStack() as temporary:
        kept = _kept(shards)
        found = {} if kept is None else kept.mapped(wanted)
        missing = _with_core([name for name in wanted if name not in found], types)
        if missing:
            place = kept if kept is not None and kept.is_writable() else None
            place = place or _Folder(Path(temporary.enter_context(_temporary())), None)
            place.fill(shards, types, missing)
            found |= place.mapped(missing)
    return {name: found[name] for name in wanted}


def default_columns(shards: ShardSet) -> list[str]:
    """The columns of `CORE` that there are."""
    return _default(columns_of(shards))


def _default(types: Mapping[str, pa.DataType]) -> list[str]:
    return [name for name in types if name in CORE]


def _with_core(missing: Sequence[str], types: Mapping[str, pa.DataType]) -> list[str]:
    """Columns that are checked against each other are decoded together."""
    if not set(missing) & set(CORE):
        return list(missing)
    return list(dict.fromkeys([*(name for name in types if name in CORE), *missing]))


def _kept(shards: ShardSet) -> "_Folder | None":
    if shards.store is None or not shards.store.work.is_dir():
        return None
    key = tagged(_TAG, *(bytes.fromhex(digest.hex) for digest in shards.shard_digests()))
    return _Folder(shards.store.decoded / key.hex, Records(shards.store.verified))


@contextmanager
def _temporary() -> Iterator[str]:
    with _explained(tempfile.gettempdir(), "name another folder with TMPDIR"):
        folder = tempfile.TemporaryDirectory(prefix="lopd-")
    with folder as name:
        yield name


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where the columns of one set of shards stand.

    Attributes:
        path: the folder.
        records: which files were written here; None where nobody else can have written.
    """

    path: Path
    records: Records | None

    def file(self, name: str) -> Path:
        """A column's file: a name of strangers never becomes a path."""
        plain = name if name in TYPES else f"x-{tagged(_TAG, name.encode()).hex}"
        return self.path / f"{plain}.arrow"

    def mapped(self, names: Iterable[str]) -> dict[str, pa.Table]:
        """Those of the columns that are there."""
        there = {name: file for name in names if self._is_ours(name, file := self.file(name))}
        if there and self.records is not None:
            os.utime(self.path)  # used: gc takes what is not
        return {
            name: pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
            for name, file in there.items()
        }

    def _is_ours(self, name: str, file: Path) -> bool:
        if self.records is None:
            return file.is_file()
        return (self.records.recall(file) or {}).get("decoded") == name

    def is_writable(self) -> bool:
        """Make the folder; False where that is not ours to do."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in _NOT_OURS:
                return False
            with _explained(str(self.path)):
                raise
        # A link in a stranger's store would have us write elsewhere.
        return os.access(self.path, os.W_OK) and not self.path.is_symlink()

    def fill(
        self, shards: ShardSet, types: Mapping[str, pa.DataType], names: Iterable[str]
    ) -> None:
        """Decode columns into files that appear whole or not at all."""
        token = f"{os.getpid()}-{secrets.token_hex(8)}"
        begun = {name: self.path / f"{token}-{self.file(name).name}" for name in names}
        try:
            with _explained(str(self.path)):
                decode(shards, types, begun)
                for name, path in begun.items():
                    _sync(path)
                    path.replace(self.file(name))
                self._remember(begun)
        finally:
            for path in begun.values():
                path.unlink(missing_ok=True)

    def _remember(self, names: Iterable[str]) -> None:
        if self.records is None:
            return
        time.sleep(_SETTLING_SECONDS)
        for name in names:
            file = self.file(name)
            self.records.remember(file, FileState.of(file), {"decoded": name})


def _sync(path: Path) -> None:
    """Bring a file to the disk: after a power cut, its record must not outlive its bytes."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _explained(where: str, advice: str = "free some space there") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot keep the decoded rows in {where}: {error.strerror or error}: {advice}"
        ) from error
