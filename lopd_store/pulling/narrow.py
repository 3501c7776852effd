"""Some columns of an artifact of the Hub: another artifact, of the same rows.

Only these columns travel where the repository says the digest of each: `remote.columns`. They are
proven by what the artifact's id covers, though no shard is there to be hashed. Where it does not,
or the store has a shard already, whole shards are checked and then narrowed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa

from lopd_store import canonical
from lopd_store.artifacts import is_intact, load
from lopd_store.building.assemble import Parts, put_shard, store_parts
from lopd_store.building.progress import Progress
from lopd_store.building.publish import attach_noise
from lopd_store.building.work import Work
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument, Lineage
from lopd_store.documents.manifest import Descriptor
from lopd_store.documents.noise import Noise
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    Problem,
    UsageError,
)
from lopd_store.hub.snapshot import Snapshot
from lopd_store.hub.together import Told, at_once
from lopd_store.pulling.bringing import Part, bring, check_listing, missing
from lopd_store.pulling.ranges import begun_of, bring_ranges, bytes_of, ranges_of
from lopd_store.pulling.stage import Stage, require_room
from lopd_store.pulling.whole import check_shard
from lopd_store.remote.artifact import RemoteArtifact
from lopd_store.remote.columns import MAX_BYTES, parse
from lopd_store.remote.layout import COLUMNS
from lopd_store.rows.columns import ordered, required
from lopd_store.rows.content import ContentDigest, joined
from lopd_store.shards.reader import Shard
from lopd_store.shards.writer import ShardFile, write_shards
from lopd_store.store import Store

_WHOLE: Final = canonical.MAX_INTEGER  # tokens: a shard stays one shard
_MASK: Final = "loss_mask"  # without it, all rows would count whole


def columns_to_have(document: ArtifactDocument, named: Sequence[str]) -> list[str]:
    """The named columns, those that every artifact of the kind has, and what these depend on.

    Raises UsageError on a column that is not there.
    """
    here = {column.name for column in document.columns}
    if unknown := sorted(set(named) - here):
        raise UsageError(
            f"expected columns of {', '.join(ordered(here))}, found {', '.join(unknown)}"
        )
    return ordered({*named, *required(document.kind), _MASK} & here)


class Narrow:
    """One artifact on its way into the store, with these columns only."""

    def __init__(
        self,
        store: Store,
        snapshot: Snapshot,
        artifact: RemoteArtifact,
        stage: Stage,
        work: Work,
        *,
        columns: Sequence[str],
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._artifact = artifact
        self._stage = stage
        self._work = work
        self._columns = columns
        self._files: list[ShardFile] = []
        self._evidence: list[Noise] = []

    def is_made(self, found: Digest) -> bool:
        """Whether an artifact of the store is what this would come to, as columns.json proves."""
        proven = self._proven()
        if proven is None:
            return False
        try:
            document = load(self._store, str(found)).document
        except (FormatError, IntegrityError, NotFoundError):
            return False
        expected = joined(document.rows, {name: proven[name] for name in self._columns})
        return (
            document.content_digest == expected
            and document.lineage == self._lineage
            and is_intact(self._store, found)
        )

    def bring(self, progress: Progress) -> int:
        """Stage these columns, and check them; the bytes that had to come. Raises as `Whole`."""
        told = Told(progress.advance)
        shards = [Part(blob, path) for blob, path in self._artifact.shards()]
        others = [
            Part(blob, path)
            for blob, path in self._artifact.blobs()
            if blob.media_type in {media.TOKENIZER, media.SKIPPED}
        ]
        for part in (*shards, *others):
            self._work.claim(part.blob.digest)
        lacking = missing(self._store, [*shards, *others], told)
        check_listing(self._snapshot, lacking)
        self._evidence = self._noises()
        proven = self._proven()
        partly = [part for part in lacking if part in shards and proven is not None]
        wholly = [part for part in lacking if part not in partly]
        with _unproven(partly):
            fetched = self._fetch(wholly, partly, progress)
            if lacking:
                self._stage.require_there()
            found = self._narrow()
        if proven is not None:
            _compare(found, proven, where=f"{self._snapshot} {self._artifact.place}")
        return fetched

    def install(self) -> Descriptor:
        """Move what was made into the blobs; the new manifest's descriptor. Raises StoreError."""
        source, document = self._artifact.manifest, self._artifact.document
        kept = (*source.tokenizers, *((source.skipped,) if source.skipped else ()))
        for one in kept:
            if self._stage.has(one.digest):
                self._work.hold(one.digest)
                self._store.blobs.put_file(self._stage.path(one.digest), digest=one.digest)
        shards = [
            put_shard(self._store, file, layer.identity, self._work.hold)
            for file, layer in zip(self._files, source.shards, strict=True)
        ]
        self._made = store_parts(
            self._store,
            Parts(
                identities=self._artifact.identities,
                tokenizers=source.tokenizers,
                shards=tuple(shards),
                skipped=source.skipped,
                skipped_counts=document.skipped,
                columns=tuple(one for one in document.columns if one.name in self._columns),
                prompt_tokens=document.prompt_tokens,
                content_digest=self._content.digest(),
                duplicates=document.duplicates,
                lineage=self._lineage,
            ),
            hold=self._work.hold,
        )
        return self._made

    def attach(self) -> None:
        """Attach the noise that was measured of these rows. Raises StoreError."""
        for noise in self._evidence:
            attach_noise(self._store, self._made, noise, hold=self._work.hold)

    @property
    def _lineage(self) -> tuple[Lineage, ...]:
        document = self._artifact.document
        return (*document.lineage, Lineage(kind=document.kind, digest=self._artifact.id))

    def _noises(self) -> list[Noise]:
        """Signatures stay behind: they are of other bytes."""
        return [
            Noise.parse(layers[0])
            for manifest, layers in self._artifact.read_evidence()
            if manifest.artifact_type == media.NOISE_TYPE
        ]

    def _proven(self) -> dict[str, Digest] | None:
        """The digest of each column, where the repository has the file that says it."""
        path = f"{self._artifact.place.folder}/{COLUMNS}"
        if path not in self._snapshot.files:
            return None
        what = f"{self._snapshot} {path}"
        document = self._artifact.document
        found = parse(self._snapshot.read(path, limit=MAX_BYTES), document, what=what)
        names = {column.name for column in document.columns}
        if found.keys() != names:  # else digests could stand beside other columns' names
            expected, shown = ", ".join(sorted(names)), ", ".join(sorted(found))
            raise IntegrityError.of(
                [Problem("columns-differ", path, expected, shown)], subject=what
            )
        return found

    def _fetch(self, wholly: list[Part], partly: list[Part], progress: Progress) -> int:
        told = Told(progress.advance)
        snapshot, stage = self._snapshot, self._stage
        look = partial(ranges_of, snapshot, columns=self._columns, stage=stage)
        looked = list(zip(partly, at_once(look, partly, told), strict=True))
        total = sum(part.blob.size for part in wholly)
        total += sum(bytes_of(ranges) for _, ranges in looked)
        left = sum(part.blob.size - begun_of(part, stage) for part in wholly)
        left += sum(bytes_of(ranges, begun=begun_of(part, stage)) for part, ranges in looked)
        require_room(self._store, left + total)  # what comes, and what is made of it
        progress.begin_transfer(total_bytes=total, done_bytes=total - left)
        bring(snapshot, wholly, stage, told)
        at_once(lambda one: bring_ranges(snapshot, *one, stage=stage, told=told), looked, told)
        return left

    def _narrow(self) -> dict[str, Digest]:
        """Write the shards anew, with these columns; the digest of each."""
        self._files = []
        for number, layer in enumerate(self._artifact.manifest.shards):
            staged = self._stage.has(layer.digest)
            path = (self._stage if staged else self._store.blobs).path(layer.digest)
            shard = check_shard(path, layer, self._artifact.document)
            if number == 0:
                fields = [shard.schema.field(name) for name in self._columns]
                self._content = ContentDigest(pa.schema(fields))
            file = self._written(shard, self._stage.scratch(number))
            if (file.rows, file.tokens) != (layer.rows, layer.tokens):
                raise FormatError(
                    f"shard {layer.digest.short}: expected {layer.rows} rows of {layer.tokens}"
                    f" tokens, found {file.rows} of {file.tokens}"
                )
            self._files.append(file)
        return self._content.columns()

    def _written(self, shard: Shard, folder: Path) -> ShardFile:
        (file,) = write_shards(
            self._read(shard),
            identity=shard.identity_bytes,
            folder=folder,
            shard_tokens=_WHOLE,
        )
        return file

    def _read(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        for batch in shard.batches(self._columns):
            self._content.update(batch)
            yield batch


@contextmanager
def _unproven(parts: Sequence[Part]) -> Iterator[None]:
    """Pages that no digest vouches for and nobody can read are not what was published."""
    try:
        yield
    except FormatError as error:
        if not parts:
            raise
        raise IntegrityError(
            f"{error}; without --columns whole shards are compared with their digests",
            problems=error.problems,
        ) from error


def _compare(found: Mapping[str, Digest], proven: Mapping[str, Digest], *, where: str) -> None:
    problems = [
        Problem("column-digest", f"{where} {name}", str(proven[name]), str(digest))
        for name, digest in found.items()
        if proven[name] != digest
    ]
    if problems:
        raise IntegrityError.of(problems, subject=where)
