"""Shards by any name a person gives them: a ref, a file, a folder, a dataset on the Hub."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lopd_store import hub
from lopd_store.artifacts import Artifact, load
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    NotFoundError,
    Problem,
    UsageError,
)
from lopd_store.remembered import Records, digest_of
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSet:
    """Shards in row order, and who made their rows.

    Attributes:
        name: as it was given, with the commit where it came from the Hub.
        id: the artifact's id where a store holds it; None for shards without a manifest.
        kind: `signal`, `sft` or `rollouts`.
        identities: the different ones among the shards, in row order.
        rows: rows in all shards.
        tokens: their response tokens, where a manifest counts them.
        content_digest: of their values, where an artifact document has it.
        store: where the artifact lies; for other shards the store at hand, if there is one.
    """

    name: str
    id: Digest | None
    kind: str
    identities: tuple[Identity, ...] = field(repr=False)
    rows: int
    tokens: int | None
    content_digest: Digest | None
    store: Store | None = field(repr=False)
    _open: Callable[[], Iterator[Shard]] = field(repr=False)
    _digests: Callable[[], tuple[Digest, ...]] = field(repr=False)

    def open_shards(self) -> Iterator[Shard]:
        """Each shard in row order; where its digest is known, its bytes are checked first.

        Raises:
            NotFoundError: a shard is no longer there.
            IntegrityError: its bytes are not what its digest says.
            FormatError: it is not a shard.
        """
        return self._open()

    def shard_digests(self) -> tuple[Digest, ...]:
        """The shards' SHA-256 in row order; of those without a manifest, read once.

        Raises NotFoundError where a shard is no longer there.
        """
        return self._digests()

    def tokenizer_blob(self, identity: Identity) -> bytes | None:
        """The packed tokenizer of these rows, where the store at hand has it.

        Raises IntegrityError where it is not what its name says.
        """
        blob = identity.tokenizer_blob
        if self.store is None or blob is None or not self.store.blobs.has(blob):
            return None
        return self.store.blobs.get(blob)


def open_shard_set(name: str, *, root: Path | None) -> ShardSet:
    """Open what a person names: a file, a folder, else a ref or id, else `org/dataset[@rev]`.

    Artifacts of kind sft and rollouts open too: `kind` says which it is.

    Args:
        name: a Parquet file; a folder with Parquet files in it or in its `data`; a ref or an id in
            the store; a dataset on the Hub, whose environment variables count (HF_HUB_OFFLINE, …).
        root: the store's folder; None when there is none to look in.

    Raises:
        NotFoundError: nothing has that name, or an artifact's shard is missing.
        UsageError: a whole store.
        IntegrityError: a document of the artifact is not what its name says.
        FormatError: a file that is not a shard, no shard at all, or shards of several kinds.
    """
    path = Path(name)
    store = _store_at(root)
    if _is(path, Path.is_file):
        return _from_files(name, [path], store)
    if name and _is(path, Path.is_dir):
        if (path / "oci-layout").exists():
            raise UsageError(f"{name} is a whole store: name one artifact of it (--store {name})")
        if files := shards_in(path):
            return _from_files(name, files, store)
    if path.suffix == ".parquet":
        raise NotFoundError(f"expected a shard at {name}, found no such file")
    if artifact := _in_store(name, root):
        return _from_store(name, artifact)
    if hub.is_name(name):
        try:
            return _from_hub(name, store)
        except NotFoundError as error:
            here = f"no ref or artifact {name!r} in {root or 'a store'}"
            raise NotFoundError(f"{here}, and on the Hub: {error}") from error
    raise NotFoundError(
        "expected a shard, a folder of *.parquet shards, an artifact of a store or org/dataset on"
        f" the Hub, found nothing named {name!r}"
    )


def _is(path: Path, kind: Callable[[Path], bool]) -> bool:
    try:
        return kind(path)
    except (OSError, ValueError):  # too long for a file's name, or a NUL in it
        return False


def shards_in(folder: Path) -> list[Path]:
    """The Parquet files in a folder and in its `data`, as datasets have it, by their paths.

    No deeper: who names `/` by mistake does not search a disk.
    """
    found = [path for place in (folder, folder / "data") for path in place.glob("*.parquet")]
    return sorted(
        (path for path in found if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def _store_at(root: Path | None) -> Store | None:
    try:
        return None if root is None else Store.open(root)
    except NotFoundError:
        return None


def _in_store(name: str, root: Path | None) -> Artifact | None:
    """The artifact of that name; None where no store has it and the Hub may."""
    if root is None:
        return None
    try:
        store = Store.open(root)
        store.refs.resolve(name)
    except NotFoundError:
        if hub.is_name(name):
            return None
        raise
    return load(store, name)


def _from_store(name: str, artifact: Artifact) -> ShardSet:
    """An artifact, once every shard is there in its size: training must not stop at the last."""
    if problems := artifact.manifest.disagreements(artifact.document):
        raise FormatError.of(problems, subject=name)
    for layer in artifact.shards:
        artifact.store.blobs.size(layer.digest, expected=layer.size)
    return ShardSet(
        name=name,
        id=artifact.id,
        kind=artifact.document.kind,
        identities=artifact.identities,
        rows=artifact.document.rows,
        tokens=artifact.document.tokens,
        content_digest=artifact.document.content_digest,
        store=artifact.store,
        _digests=lambda: tuple(layer.digest for layer in artifact.shards),
        _open=lambda: (
            as_named(shard, layer)
            for shard, layer in zip(artifact.open_shards(), artifact.shards, strict=True)
        ),
    )


def as_named(shard: Shard, layer: Descriptor) -> Shard:
    """A shard whose footer says what the manifest says: what was checked is what is read.

    Raises IntegrityError or FormatError where it does not.
    """
    found = Digest.of(shard.identity_bytes)
    if found != layer.identity:
        where = f"shard {layer.digest.short}"
        problem = Problem("footer-identity", where, str(layer.identity), str(found))
        raise IntegrityError(str(problem), problems=[problem])
    if shard.rows != layer.rows:
        raise FormatError(f"{shard.path}: expected {layer.rows} rows, found {shard.rows}")
    return shard


def _from_hub(name: str, store: Store | None) -> ShardSet:
    folder = hub.download(name, what="dataset", patterns=("*.parquet",))
    files = shards_in(folder)
    if not files:
        raise FormatError(f"{name}: expected *.parquet shards in the dataset, found none")
    return _from_files(f"{name.partition('@')[0]}@{folder.name}", files, store)


def _from_files(name: str, files: Sequence[Path], store: Store | None) -> ShardSet:
    """Shards that no manifest names: each says in its own footer who made it."""
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
        _digests=lambda: tuple(_digest(shard, records) for shard in shards),
    )


def _again(shard: Shard, records: Records | None) -> Shard:
    """A shard whose footer still says what was read first: by that its maker was judged.

    In the Hub's cache a file's name is its digest: there the bytes are checked before.
    """
    expected = hub.cached_digest(shard.path)
    if expected is not None and shard.path.is_file():
        found = _digest(shard, records)
        if found != expected:
            where = str(shard.path)
            raise DigestMismatchError(where=where, expected=str(expected), found=str(found))
    now = Shard.open(shard.path)
    if (now.identity_bytes, now.rows) != (shard.identity_bytes, shard.rows):
        raise IntegrityError(
            f"{shard.path}: expected the shard that was opened, found another in its place"
        )
    return now


def _digest(shard: Shard, records: Records | None) -> Digest:
    try:
        return digest_of(shard.path, records)
    except FileNotFoundError:
        raise NotFoundError(f"expected a shard at {shard.path}, found no such file") from None
