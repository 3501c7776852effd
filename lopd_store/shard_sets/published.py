"""Shards on the Hub: of an artifact, checked against its manifest; or by themselves."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lopd_store import hub
from lopd_store.artifacts import Artifact, is_whole, load
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.errors import DigestMismatchError, FormatError, HubError, NotFoundError
from lopd_store.hub import HubName
from lopd_store.remembered import Records
from lopd_store.remote.artifact import RemoteArtifact
from lopd_store.remote.cached import CachedArtifact, open_cached
from lopd_store.remote.resolving import recall
from lopd_store.remote.seen import Seen, Sight
from lopd_store.shard_sets.files import file_digest, from_files, shards_in
from lopd_store.shard_sets.shard_set import ShardSet, as_named
from lopd_store.shard_sets.stored import from_store
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


def from_hub(name: str, store: Store | None) -> ShardSet:
    """What a name on the Hub means: the store's, if it has all of it, else in the client's cache.

    Documents come to the cache in any case; shards only where the store has not got them. Where
    neither the Hub nor the cache says what the name means, what the store saw last counts.

    Args:
        name: `org/name[/config[/split]][@revision][@sha256:…]`.
        store: may have the artifact, and remembers what was seen of the repository; None where
            there is none.

    Raises:
        UsageError: not such a name, or one of several artifacts.
        NotFoundError: no such repository, revision or artifact.
        HubError: no answer, and the cache does not have it.
        IntegrityError: another artifact than the one that is pinned or was seen, or a document that
            is not what its digest says. Shards are checked when they are opened.
        FormatError: a document is not valid, or there are no shards at all.
    """
    asked = HubName.parse(name)
    try:
        found = open_cached(asked, seen=Seen(store) if store else None)
    except (NotFoundError, HubError) as error:
        last = kept(asked, store) if hub.is_away(error) else None
        if last is None:
            raise
        return from_store(_at(asked, last.sight.commit), last.artifact)
    if found is None:
        return _without_manifest(name, store)
    if store is not None and is_whole(store, found.artifact.id):
        here = load(store, str(found.artifact.id))
        return from_store(_at(asked, found.snapshot.commit), here)
    return _of_artifact(asked, found, store)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An artifact of a store that was seen on the Hub.

    Attributes:
        sight: where it was.
        artifact: it, whole.
    """

    sight: Sight
    artifact: Artifact


def kept(name: HubName, store: Store | None) -> Kept | None:
    """What a name meant when the store last saw it; None where the store has not got all of it.

    Raises IntegrityError or FormatError where it is damaged.
    """
    sight = recall(name, Seen(store)) if store else None
    if store is None or sight is None:
        return None
    (id_,) = sight.artifacts.values()
    if not is_whole(store, id_):
        return None
    return Kept(sight=sight, artifact=load(store, str(id_)))


def _at(asked: HubName, commit: str) -> str:
    return str(replace(asked, revision=commit))


def _without_manifest(name: str, store: Store | None) -> ShardSet:
    folder = hub.download(name, what="dataset", patterns=("*.parquet",))
    files = shards_in(folder)
    if not files:
        raise FormatError(f"{name}: expected *.parquet shards in the dataset, found none")
    return from_files(f"{name.partition('@')[0]}@{folder.name}", files, store)


def _of_artifact(asked: HubName, found: CachedArtifact, store: Store | None) -> ShardSet:
    artifact, shards = found.artifact, tuple(found.shards())
    records = None if store is None else Records(store.verified)
    return ShardSet(
        name=_at(asked, found.snapshot.commit),
        id=artifact.id,
        kind=artifact.document.kind,
        identities=artifact.identities,
        rows=artifact.document.rows,
        tokens=artifact.document.tokens,
        content_digest=artifact.document.content_digest,
        store=store,
        _open=lambda: _checked(shards, records),
        _digests=lambda: tuple(layer.digest for layer, _ in shards),
        _tokenizer=partial(_tokenizer, artifact),
    )


def _checked(shards: Sequence[tuple[Descriptor, Path]], records: Records | None) -> Iterator[Shard]:
    for layer, path in shards:
        found = file_digest(path, records)
        if found != layer.digest:
            where = f"{path} (delete it to have it downloaded again)"
            raise DigestMismatchError(where=where, expected=str(layer.digest), found=str(found))
        yield as_named(Shard.open(path), layer)


def _tokenizer(artifact: RemoteArtifact, blob: Digest) -> bytes | None:
    for layer in artifact.manifest.tokenizers:
        if layer.digest == blob:
            return artifact.read(layer)
    return None
