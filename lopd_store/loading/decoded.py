"""Decoded columns beside the store: found by what they were decoded from, mapped, evictable.

    STORE/.lopd/decoded/<key>/<column>.arrow     an Arrow IPC stream of one column

The key is a digest of the shards' digests. A file counts only while it is the very file that was
written here (`remembered`); anything else is decoded again from shards whose digests are checked.
"""

import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store.digest import tagged
from lopd_store.errors import IntegrityError, StoreError, UsageError
from lopd_store.loading.decode import CORE, decode
from lopd_store.remembered import FileState, Records
from lopd_store.rows.columns import TYPES
from lopd_store.shard_sets import ShardSet

_TAG: Final = "lopd.decoded.v1"
_SETTLING_SECONDS: Final = 0.03  # a file this old is told from one that is changed later
_NOT_OURS: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
ELSEWHERE: Final = "free some space there, or name another folder with TMPDIR"


def open_columns(
    shards: ShardSet, types: Mapping[str, pa.DataType], names: Sequence[str] | None = None
) -> dict[str, pa.Table]:
    """Columns of all shards in row order, each as a memory-mapped table of that one column.

    What is not there yet is decoded and checked. Where there is no store, or one that cannot be
    written, that happens in a temporary folder (TMPDIR) and is gone with the last array.

    Args:
        shards: whose rows.
        types: of their columns: `columns_of`.
        names: columns that every shard has; None for those of `CORE` that there are.

    Raises:
        UsageError: a column that not every shard has.
        FormatError, NotFoundError, IntegrityError: as `decode`; or shards that changed meanwhile.
        StoreError: no room.
    """
    wanted = _default(types) if names is None else list(names)
    if unknown := [name for name in wanted if name not in types]:
        raise UsageError(
            f"{shards.name}: expected columns among {', '.join(types)}, found"
            f" {', '.join(map(repr, unknown))}"
        )
    kept = _kept(shards)
    found = {} if kept is None else kept.mapped(wanted)
    if missing := _with_core([name for name in wanted if name not in found], types):
        found |= _decoded(shards, types, missing, kept)
    return {name: found[name] for name in wanted}


def _default(types: Mapping[str, pa.DataType]) -> list[str]:
    """The columns of `CORE` that there are."""
    return [name for name in types if name in CORE]


def _with_core(missing: Sequence[str], types: Mapping[str, pa.DataType]) -> list[str]:
    """Columns that are checked against each other are decoded together."""
    if not set(missing) & set(CORE):
        return list(missing)
    return list(dict.fromkeys([*_default(types), *missing]))


def _decoded(
    shards: ShardSet, types: Mapping[str, pa.DataType], names: Iterable[str], kept: "_Kept | None"
) -> dict[str, pa.Table]:
    """Decode columns and map them; they are kept where that can be."""
    with _temporary(None if kept is None else kept.tmp) as folder:
        files = {name: Path(folder) / _file_name(name) for name in names}
        with explained(folder):
            decode(shards, types, files)
            found = {name: _mapped(file) for name, file in files.items()}
        if kept is not None:
            if _key(shards) != kept.path.name:
                raise IntegrityError(
                    f"{shards.name}: expected the shards that were opened, found others in their"
                    " place"
                )
            kept.keep(files)
    return found


def _mapped(file: Path) -> pa.Table:
    return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()


def _file_name(column: str) -> str:
    """A name of strangers never becomes a path."""
    return f"{column if column in TYPES else 'x-' + tagged(_TAG, column.encode()).hex}.arrow"


def _key(shards: ShardSet) -> str:
    return tagged(_TAG, *(bytes.fromhex(digest.hex) for digest in shards.shard_digests())).hex


def _kept(shards: ShardSet) -> "_Kept | None":
    store = shards.store
    if store is None or not store.work.is_dir():
        return None
    return _Kept(path=store.decoded / _key(shards), tmp=store.tmp, records=Records(store.verified))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kept:
    """Where the columns of one set of shards are kept. Any of it may be gone at any time.

    Attributes:
        path: the folder.
        tmp: where they are decoded; on the same file system, and gc clears it after a crash.
        records: which files were written here.
    """

    path: Path
    tmp: Path
    records: Records

    def mapped(self, names: Iterable[str]) -> dict[str, pa.Table]:
        """Those of the columns that are there."""
        found = {}
        for name in names:
            file = self.path / _file_name(name)
            if (self.records.recall(file) or {}).get("decoded") == self._place(file):
                with suppress(FileNotFoundError):  # gc took it just now
                    found[name] = _mapped(file)
        if found:
            with suppress(OSError):  # a store that is only read
                os.utime(self.path)  # used: gc takes what is not
        return found

    def keep(self, files: Mapping[str, Path]) -> None:
        """Move decoded columns here, each whole or not at all.

        Their rows are in use already: where they cannot be kept they are decoded again, no more.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if self.path.is_symlink():  # in a stranger's store it would have us write elsewhere
                return
            written = [self._moved(file) for file in files.values()]
        except OSError:
            return
        time.sleep(_SETTLING_SECONDS)
        for file, state in written:
            self.records.remember(file, state, {"decoded": self._place(file)})

    def _place(self, file: Path) -> str:
        """What a file is: a link to another artifact's column is that one's."""
        return f"{self.path.name}/{file.name}"

    def _moved(self, file: Path) -> tuple[Path, FileState]:
        _sync(file)
        target = file.replace(self.path / file.name)
        return target, FileState.of(target)


def _sync(path: Path) -> None:
    """Bring a file to the disk: after a power cut, its record must not outlive its bytes."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _temporary(inside: Path | None) -> "tempfile.TemporaryDirectory[str]":
    """A folder that goes in the end: in `inside` where that can be written, else in TMPDIR."""
    if inside is not None:
        try:
            inside.mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(prefix="decoded-", dir=inside)
        except OSError as error:
            if error.errno not in _NOT_OURS:
                with explained(str(inside)):
                    raise
    with explained(tempfile.gettempdir(), ELSEWHERE):
        return tempfile.TemporaryDirectory(prefix="lopd-")


@contextmanager
def explained(folder: str, advice: str = "free some space there") -> Iterator[None]:
    """A StoreError that says where there is no room, in place of an OSError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot keep the decoded rows in {folder}: {error.strerror or error}: {advice}"
        ) from error
