"""Finished rows become an artifact: shards, documents, manifest, and only then a ref.

Nothing is visible before the last step, so a crash anywhere leaves blobs that gc takes, never a
partial artifact.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
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
from lopd_store.errors import FormatError
from lopd_store.rows.columns import type_text
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.sample_id import Occurrences
from lopd_store.shards.writer import ShardFile, write_shards
from lopd_store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """All of an artifact but its rows.

    Attributes:
        identity: who made the rows.
        tokenizer_blob: the packed tokenizer that the identity names.
        lineage: the artifacts it comes from.
        skipped: rows of the input that are not in it.
        shard_tokens: where shards are cut.
    """

    identity: Identity
    tokenizer_blob: bytes
    lineage: tuple[Lineage, ...]
    skipped: tuple[SkippedRow, ...]
    shard_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    shards: tuple[Descriptor, ...]
    columns: tuple[Column, ...]
    content: Digest
    rows: int
    tokens: int
    prompt_tokens: int
    duplicates: int


def store_artifact(store: Store, draft: Draft, batches: Iterator[pa.RecordBatch]) -> Descriptor:
    """Write an artifact's blobs and return its manifest's descriptor; no ref is moved.

    Raises:
        FormatError: no row is left to write.
        StoreError: the disk is full or read-only; what was there before is untouched.
    """
    first = next(batches, None)
    if first is None:
        raise FormatError(f"expected at least one row, found none{_why_none(draft.skipped)}")
    written = _write_shards(store, draft, first.schema, chain([first], batches))
    identity = draft.identity
    document = ArtifactDocument.of(
        kind=identity.kind,
        identities=(identity.digest,),
        columns=written.columns,
        rows=written.rows,
        tokens=written.tokens,
        prompt_tokens=written.prompt_tokens,
        content_digest=written.content,
        duplicates=written.duplicates,
        lineage=draft.lineage,
        skipped=dict(Counter(row.reason for row in draft.skipped)),
    )
    layers = [
        _put(store, identity.encode(), media.IDENTITY),
        _put(store, draft.tokenizer_blob, media.TOKENIZER),
        *written.shards,
    ]
    if draft.skipped:
        layers.append(_put(store, encode_skipped(draft.skipped), media.SKIPPED))
    config = _put(store, document.encode(), media.ARTIFACT)
    manifest = Manifest.of(
        artifact_type=media.artifact_type(identity.kind), config=config, layers=layers
    )
    store.blobs.put(manifest.encode())
    return manifest.descriptor()


def attach_noise(store: Store, subject: Descriptor, noise: Noise) -> None:
    """Attach measured noise to an artifact, by `subject`: evidence never changes the id."""
    manifest = Manifest.of(
        artifact_type=media.NOISE_TYPE,
        config=_put(store, media.EMPTY_DATA, media.OCI_EMPTY),
        layers=[_put(store, noise.encode(), media.NOISE)],
        subject=subject,
    )
    store.blobs.put(manifest.encode())
    store.refs.attach(manifest.descriptor())


def _put(store: Store, data: bytes, media_type: str) -> Descriptor:
    store.blobs.put(data)
    return Descriptor.of(data, media_type=media_type)


def _why_none(skipped: Sequence[SkippedRow]) -> str:
    counts = Counter(row.reason for row in skipped)
    return "; skipped: " + ", ".join(f"{n} {r}" for r, n in counts.items()) if counts else ""


def _write_shards(
    store: Store, draft: Draft, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> _Written:
    content = ContentDigest(schema)
    with TemporaryDirectory(dir=store.tmp) as name, Occurrences(Path(name)) as occurrences:
        numbered = _numbered(batches, occurrences, content)
        files = write_shards(
            numbered,
            identity=draft.identity.encode(),
            folder=Path(name),
            shard_tokens=draft.shard_tokens,
        )
        shards = [(_take_in(store, file, draft.identity), file) for file in files]
        return _Written(
            shards=tuple(descriptor for descriptor, _ in shards),
            columns=tuple(Column(name=f.name, type=type_text(f.type)) for f in schema),
            content=content.digest(),
            rows=sum(file.rows for _, file in shards),
            tokens=sum(file.tokens for _, file in shards),
            prompt_tokens=sum(file.prompt_tokens for _, file in shards),
            duplicates=occurrences.duplicates,
        )


def _numbered(
    batches: Iterator[pa.RecordBatch], occurrences: Occurrences, content: ContentDigest
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        ids = occurrences.number(batch.column("sample_id"))
        rows = batch.set_column(batch.schema.get_field_index("sample_id"), "sample_id", ids)
        content.update(rows)
        yield rows


def _take_in(store: Store, file: ShardFile, identity: Identity) -> Descriptor:
    store.blobs.put_file(file.path, digest=file.digest)
    return Descriptor.of_shard(
        digest=file.digest,
        size=file.size,
        rows=file.rows,
        tokens=file.tokens,
        identity=identity.digest,
    )
