"""Finished rows become an artifact: shards, documents, manifest, and only then a ref.

Nothing is visible before the last step, so a crash anywhere leaves blobs that gc takes, never a
partial artifact.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument, Column, Lineage
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.noise import Noise
from lopd_store.documents.skipped import SkippedRow, encode_skipped
from lopd_store.errors import FormatError, StoreError
from lopd_store.rows.columns import type_text
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.sample_id import Occurrences
from lopd_store.shards.writer import ShardFile, write_shards
from lopd_store.store import Store, durable

Hold = Callable[[Digest], None]


def no_hold(_blob: Digest) -> None:
    """Nothing to hold: no gc runs, or its grace is long enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All of an artifact but its rows.

    Attributes:
        identity: who made the rows.
        tokenizer_blob: the packed tokenizer that the identity names; None where it names none.
        lineage: the artifacts it comes from.
        skipped: rows of the input that are not in it.
        shard_tokens: where shards are cut.
    """

    identity: Identity
    tokenizer_blob: bytes | None
    lineage: tuple[Lineage, ...]
    skipped: tuple[SkippedRow, ...]
    shard_tokens: int


def store_artifact(
    store: Store,
    draft: Draft,
    batches: Iterator[pa.RecordBatch],
    *,
    scratch: Path | None = None,
    hold: Hold = no_hold,
) -> Descriptor:
    """Write an artifact's blobs and return its manifest's descriptor; no ref is moved.

    Args:
        store: where to.
        draft: all but the rows.
        batches: the rows, in order.
        scratch: a folder for unfinished shards, on the store's disk; None takes the store's own,
            where gc may look upon them as leftovers.
        hold: called with each digest before its blob is put, to keep gc away from it.

    Raises:
        FormatError: no row is left to write.
        StoreError: the disk is full or read-only; what was there before is untouched.
    """
    batches = (batch for batch in batches if len(batch))
    first = next(batches, None)
    if first is None:
        raise FormatError(f"expected at least one row, found none{_why_none(draft.skipped)}")
    content = ContentDigest(first.schema)
    with (
        _scratch_in(scratch or store.tmp) as folder,
        Occurrences(folder) as occurrences,
    ):
        files = write_shards(
            _numbered(chain([first], batches), occurrences, content),
            identity=draft.identity.encode(),
            folder=folder,
            shard_tokens=draft.shard_tokens,
        )
        shards = [(_take_in(store, file, draft.identity, hold), file) for file in files]
    identity = draft.identity
    document = _document(draft, first.schema, [file for _, file in shards], content, occurrences)
    layers = [_put(store, identity.encode(), media.IDENTITY, hold)]
    if draft.tokenizer_blob is not None:
        layers.append(_put(store, draft.tokenizer_blob, media.TOKENIZER, hold))
    layers += [descriptor for descriptor, _ in shards]
    if draft.skipped:
        layers.append(_put(store, encode_skipped(draft.skipped), media.SKIPPED, hold))
    config = _put(store, document.encode(), media.ARTIFACT, hold)
    manifest = Manifest.of(
        artifact_type=media.artifact_type(identity.kind), config=config, layers=layers
    )
    return _put_manifest(store, manifest, hold)


def _document(
    draft: Draft,
    schema: pa.Schema,
    files: Sequence[ShardFile],
    content: ContentDigest,
    occurrences: Occurrences,
) -> ArtifactDocument:
    return ArtifactDocument.of(
        kind=draft.identity.kind,
        identities=(draft.identity.digest,),
        columns=tuple(Column(name=f.name, type=type_text(f.type)) for f in schema),
        rows=sum(file.rows for file in files),
        tokens=sum(file.tokens for file in files),
        prompt_tokens=sum(file.prompt_tokens for file in files),
        content_digest=content.digest(),
        duplicates=occurrences.duplicates,
        lineage=draft.lineage,
        skipped=dict(Counter(row.reason for row in draft.skipped)),
    )


def attach_noise(store: Store, subject: Descriptor, noise: Noise, *, hold: Hold = no_hold) -> None:
    """Attach measured noise to an artifact, by `subject`: evidence never changes the id."""
    manifest = Manifest.of(
        artifact_type=media.NOISE_TYPE,
        config=_put(store, media.EMPTY_DATA, media.OCI_EMPTY, hold),
        layers=[_put(store, noise.encode(), media.NOISE, hold)],
        subject=subject,
    )
    store.refs.attach(_put_manifest(store, manifest, hold))


def _put_manifest(store: Store, manifest: Manifest, hold: Hold) -> Descriptor:
    hold(manifest.digest)
    store.blobs.put(manifest.encode())
    return manifest.descriptor()


def _put(store: Store, data: bytes, media_type: str, hold: Hold) -> Descriptor:
    descriptor = Descriptor.of(data, media_type=media_type)
    hold(descriptor.digest)
    store.blobs.put(data)
    return descriptor


def _why_none(skipped: Sequence[SkippedRow]) -> str:
    counts = Counter(row.reason for row in skipped)
    return "; skipped: " + ", ".join(f"{n} {r}" for r, n in counts.items()) if counts else ""


@contextmanager
def _scratch_in(folder: Path) -> Iterator[Path]:
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


def _numbered(
    batches: Iterator[pa.RecordBatch], occurrences: Occurrences, content: ContentDigest
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        ids = occurrences.number(batch.column("sample_id"))
        rows = batch.set_column(batch.schema.get_field_index("sample_id"), "sample_id", ids)
        content.update(rows)
        yield rows


def _take_in(store: Store, file: ShardFile, identity: Identity, hold: Hold) -> Descriptor:
    hold(file.digest)
    store.blobs.put_file(file.path, digest=file.digest)
    return Descriptor.of_shard(
        digest=file.digest,
        size=file.size,
        rows=file.rows,
        tokens=file.tokens,
        identity=identity.digest,
    )
