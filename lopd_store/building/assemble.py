"""Shards that lie in a store become an artifact: documents, then the manifest that names them all.

Whoever makes rows, other rows of an artifact, or one artifact of several ends here.
"""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument, Column, Lineage
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import StoreError
from lopd_store.rows.columns import type_text
from lopd_store.shards.writer import ShardFile
from lopd_store.store import Store, durable

Hold = Callable[[Digest], None]
"""Told each digest before its blob is put, to keep gc away from it."""


def no_hold(_blob: Digest) -> None:
    """Nothing to hold: no gc runs, or its grace is long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an artifact's documents say, once its shards are in the store.

    Attributes:
        identities: who made the rows, each once; all of one kind.
        tokenizers: the packed tokenizers that the identities name, in the store.
        shards: in row order, in the store.
        skipped: the list of skipped rows, in the store; None where none was skipped.
        skipped_counts: reason → how many rows that list has.
        columns: of every shard.
        prompt_tokens: of all rows.
        content_digest: over the values of all rows.
        duplicates: rows that repeat an earlier sample.
        lineage: the artifacts it comes from.
    """

    identities: tuple[Identity, ...]
    tokenizers: tuple[Descriptor, ...]
    shards: tuple[Descriptor, ...]
    skipped: Descriptor | None = None
    skipped_counts: Mapping[str, int] = field(default_factory=dict)
    columns: tuple[Column, ...]
    prompt_tokens: int
    content_digest: Digest
    duplicates: int
    lineage: tuple[Lineage, ...]


def store_parts(store: Store, parts: Parts, *, hold: Hold = no_hold) -> Descriptor:
    """Write an artifact's documents and its manifest; the manifest's descriptor. No ref is moved.

    Raises:
        FormatError: the parts contradict each other.
        StoreError: the disk is full or read-only; what was there before is untouched.
    """
    document = _document(parts)
    layers = [put(store, one.encode(), media.IDENTITY, hold) for one in parts.identities]
    layers += [*parts.tokenizers, *parts.shards]
    if parts.skipped is not None:
        layers.append(parts.skipped)
    config = put(store, document.encode(), media.ARTIFACT, hold)
    manifest = Manifest.of(
        artifact_type=media.artifact_type(document.kind), config=config, layers=layers
    )
    return put_manifest(store, manifest, hold)


def _document(parts: Parts) -> ArtifactDocument:
    return ArtifactDocument.of(
        kind=parts.identities[0].kind,
        identities=[identity.digest for identity in parts.identities],
        columns=parts.columns,
        rows=sum(shard.rows for shard in parts.shards),
        tokens=sum(shard.tokens for shard in parts.shards),
        prompt_tokens=parts.prompt_tokens,
        content_digest=parts.content_digest,
        duplicates=parts.duplicates,
        lineage=parts.lineage,
        skipped=parts.skipped_counts,
    )


def columns_of(schema: pa.Schema) -> tuple[Column, ...]:
    """A schema as an artifact document says it."""
    return tuple(Column(name=field.name, type=type_text(field.type)) for field in schema)


def put(store: Store, data: bytes, media_type: str, hold: Hold) -> Descriptor:
    """Put bytes and describe them."""
    descriptor = Descriptor.of(data, media_type=media_type)
    hold(descriptor.digest)
    store.blobs.put(data)
    return descriptor


def put_manifest(store: Store, manifest: Manifest, hold: Hold) -> Descriptor:
    """Put a manifest and describe it."""
    hold(manifest.digest)
    store.blobs.put(manifest.encode())
    return manifest.descriptor()


def put_shard(store: Store, file: ShardFile, identity: Digest, hold: Hold) -> Descriptor:
    """Move a finished shard into the store and describe it."""
    hold(file.digest)
    store.blobs.put_file(file.path, digest=file.digest)
    return Descriptor.of_shard(
        digest=file.digest,
        size=file.size,
        rows=file.rows,
        tokens=file.tokens,
        identity=identity,
    )


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """A folder for unfinished shards and the names seen so far; a full disk is said clearly."""
    try:
        with durable.explained("cannot write", folder):
            folder.mkdir(exist_ok=True)
            with TemporaryDirectory(dir=folder) as name:
                yield Path(name)
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"cannot write in {folder}: {error}: free some space, then run it again"
        ) from error
