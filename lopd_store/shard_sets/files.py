"""Shards that no manifest names: each says in its own footer who made it."""

from collections.abc import Sequence
from pathlib import Path

from lopd_store import hub
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
)
from lopd_store.remembered import Records, digest_of
from lopd_store.shard_sets.shard_set import ShardSet
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


def shards_in(folder: Path) -> list[Path]:
    """The Parquet files in a folder and in its `data`, as datasets have it, by their paths.

    No deeper: who names `/` by mistake does not search a disk.
    """
    found = [path for place in (folder, folder / "data") for path in place.glob("*.parquet")]
    return sorted(
        (path for path in found if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def from_files(name: str, files: Sequence[Path], store: Store | None) -> ShardSet:
    """Files as one set of shards. Raises FormatError for a file that is none, and several kinds."""
    shards = [Shard.open(path) for path in files]
    kinds = sorted({shard.kind for shard in shards})
    if len(kinds) > 1:
        raise FormatError(f"{name}: expected shards of one kind, found {' and '.join(kinds)}")
    documents = dict.fromkeys(shard.identity_bytes for shard in shards)
    records = None if store is None else Records(store.verified)
    return ShardSet(
        name=name,
        id=None,
        kind=kinds[0],
        identities=tuple(Identity.parse(data, what=f"{name} footer") for data in documents),
        rows=sum(shard.rows for shard in shards),
        tokens=None,
        content_digest=None,
        store=store,
        _open=lambda: (_again(shard, records) for shard in shards),
        _digests=lambda: tuple(file_digest(shard.path, records) for shard in shards),
    )


def file_digest(path: Path, records: Records | None) -> Digest:
    """A shard's SHA-256, read once. Raises NotFoundError where it is no longer there."""
    try:
        return digest_of(path, records)
    except FileNotFoundError:
        raise NotFoundError(f"expected a shard at {path}, found no such file") from None


def _again(shard: Shard, records: Records | None) -> Shard:
    """A shard whose footer still says what was read first: by that its maker was judged.

    In the Hub's cache a file's name is its digest: there the bytes are checked before.
    """
    expected = hub.cached_digest(shard.path)
    if expected is not None and shard.path.is_file():
        found = file_digest(shard.path, records)
        if found != expected:
            where = str(shard.path)
            raise DigestMismatchError(where=where, expected=str(expected), found=str(found))
    now = Shard.open(shard.path)
    if (now.identity_bytes, now.rows) != (shard.identity_bytes, shard.rows):
        raise IntegrityError(
            f"{shard.path}: expected the shard that was opened, found another in its place"
        )
    return now
