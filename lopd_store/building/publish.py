"""Finished rows become an artifact: shards, documents, manifest, and only then a ref.

Nothing is visible before the last step, so a crash anywhere leaves blobs that gc takes, never a
partial artifact.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa

from lopd_store.building.assemble import (
    Hold,
    Parts,
    columns_of,
    no_hold,
    put,
    put_manifest,
    put_shard,
    scratch_in,
    store_parts,
)
from lopd_store.documents import media
from lopd_store.documents.artifact import Lineage
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.noise import Noise
from lopd_store.documents.skipped import SkippedRow, encode_skipped
from lopd_store.errors import FormatError
from lopd_store.rows.content import ContentDigest
from lopd_store.rows.sample_id import Occurrences
from lopd_store.shards.writer import write_shards
from lopd_store.store import Store


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
    identity = draft.identity
    with (
        scratch_in(scratch or store.tmp) as folder,
        Occurrences(folder) as occurrences,
    ):
        files = write_shards(
            _numbered(chain([first], batches), occurrences, content),
            identity=identity.encode(),
            folder=folder,
            shard_tokens=draft.shard_tokens,
        )
        shards = [(put_shard(store, file, identity.digest, hold), file) for file in files]
    blob, skipped = draft.tokenizer_blob, draft.skipped
    parts = Parts(
        identities=(identity,),
        tokenizers=(put(store, blob, media.TOKENIZER, hold),) if blob is not None else (),
        shards=tuple(descriptor for descriptor, _ in shards),
        skipped=put(store, encode_skipped(skipped), media.SKIPPED, hold) if skipped else None,
        skipped_counts=Counter(row.reason for row in skipped),
        columns=columns_of(first.schema),
        prompt_tokens=sum(file.prompt_tokens for _, file in shards),
        content_digest=content.digest(),
        duplicates=occurrences.duplicates,
        lineage=draft.lineage,
    )
    return store_parts(store, parts, hold=hold)


def attach_noise(store: Store, subject: Descriptor, noise: Noise, *, hold: Hold = no_hold) -> None:
    """Attach measured noise to an artifact, by `subject`: evidence never changes the id."""
    manifest = Manifest.of(
        artifact_type=media.NOISE_TYPE,
        config=put(store, media.EMPTY_DATA, media.OCI_EMPTY, hold),
        layers=[put(store, noise.encode(), media.NOISE, hold)],
        subject=subject,
    )
    store.refs.attach(put_manifest(store, manifest, hold))


def _why_none(skipped: Sequence[SkippedRow]) -> str:
    counts = Counter(row.reason for row in skipped)
    return "; skipped: " + ", ".join(f"{n} {r}" for r, n in counts.items()) if counts else ""


def _numbered(
    batches: Iterator[pa.RecordBatch], occurrences: Occurrences, content: ContentDigest
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        ids = occurrences.number(batch.column("sample_id"))
        rows = batch.set_column(batch.schema.get_field_index("sample_id"), "sample_id", ids)
        content.update(rows)
        yield rows
