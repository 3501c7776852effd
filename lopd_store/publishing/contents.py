"""What a repository holds of one artifact: each file's path and bytes, but for the card."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from lopd_store import canonical
from lopd_store.artifacts import Artifact
from lopd_store.cores import usable_cores
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import FormatError, IntegrityError, Problem
from lopd_store.hub.committing import Addition
from lopd_store.hub.snapshot import Snapshot, git_oid
from lopd_store.remote import columns
from lopd_store.remote.layout import CARD, COLUMNS, HISTOGRAM, OVERRIDE, Place
from lopd_store.rows.columns import arrow_type
from lopd_store.rows.content import ContentDigest
from lopd_store.shards.reader import Shard
from lopd_store.store import index

VIEWER_BYTES: Final = 300_000_000  # what the Hub's viewer reads of a row group at most


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The files of an artifact at a place.

    Attributes:
        place: where in the repository.
        files: by path; all that the place has, and nothing else.
    """

    place: Place
    files: Mapping[str, Addition]

    def missing_from(self, snapshot: Snapshot | None) -> list[Addition]:
        """The files that a commit does not have in these bytes."""
        return [file for file in self.files.values() if not _has(snapshot, file)]

    def stale_in(self, snapshot: Snapshot | None) -> list[str]:
        """The files of another version of the artifact, or of another one at this place."""
        paths = snapshot.files if snapshot else {}
        return sorted(path for path in paths if self.place.owns(path) and path not in self.files)

    def require_alone(self, snapshot: Snapshot | None) -> None:
        """Raise FormatError where `datasets` would load other files, or others with the shards."""
        files = snapshot.files if snapshot else {}
        if OVERRIDE in files:
            raise FormatError(
                f"{snapshot}: expected no {OVERRIDE}, found one: datasets takes what it says in"
                f" place of {CARD}, and loads other rows: move its lines to {CARD}, remove it on"
                " the Hub, and push again"
            )
        for path in sorted(files):
            if self.place.selects(path) and not self.place.owns(path):
                raise FormatError(
                    f"{snapshot}: expected no other files of the form {self.place.shards}, found"
                    f" {path}, which datasets would load as rows of {self.place}: remove or rename"
                    " it on the Hub and push again, or push to another config"
                )


def contents(artifact: Artifact, place: Place, *, picture: bytes | None) -> Contents:
    """Lay an artifact out for a repository. All rows are read, and have to be what it says.

    Raises:
        IntegrityError: a blob or the rows are not what their digests say.
        FormatError: a row group beyond what the Hub's viewer reads.
    """
    evidence = list(_evidence(artifact))
    files = [
        *_shards(artifact, place),
        *_blobs(artifact, place, [artifact.manifest.descriptor()], evidence=False),
        *_blobs(artifact, place, [one.descriptor() for one in evidence], evidence=True),
        *_layers(artifact, place, (artifact.manifest, *evidence)),
        Addition.of(place.index, _index(artifact.manifest, evidence)),
        Addition.of(f"{place.folder}/{COLUMNS}", columns.encode(_column_digests(artifact))),
    ]
    if picture is not None:
        files.append(Addition.of(f"{place.folder}/{HISTOGRAM}", picture))
    return Contents(place=place, files=by_path(files))


def by_path(files: Iterable[Addition]) -> Mapping[str, Addition]:
    """Paths have twelve digits of a digest: two blobs that share one cannot both be there."""
    found: dict[str, Addition] = {}
    for file in files:
        if found.setdefault(file.path, file).digest != file.digest:
            raise FormatError(
                f"expected one blob for {file.path}, found {found[file.path].digest} and"
                f" {file.digest}: somebody made their digests alike; take one of them away, or"
                " push what they were made from"
            )
    return found


def _has(snapshot: Snapshot | None, file: Addition) -> bool:
    found = snapshot.files.get(file.path) if snapshot else None
    if found is None or found.size != file.size:
        return False
    if found.sha256 is not None:
        return found.sha256 == file.digest
    data = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
    return found.git_oid == git_oid(data)


def _shards(artifact: Artifact, place: Place) -> Iterator[Addition]:
    for number, layer in enumerate(artifact.shards):
        yield Addition(
            path=place.shard(number, layer.digest),
            source=artifact.store.blobs.path(layer.digest),
            digest=layer.digest,
            size=layer.size,
        )


def _evidence(artifact: Artifact) -> Iterator[Manifest]:
    """Manifests about the artifact, by their digests; those that are not of this format stay."""
    found = {one.digest: one for one in artifact.store.evidence(artifact.id)}
    for digest in sorted(found):
        yield Manifest.parse(artifact.store.blobs.get(digest, size=found[digest].size))


def _layers(artifact: Artifact, place: Place, manifests: Sequence[Manifest]) -> Iterator[Addition]:
    for manifest in manifests:
        parts = [
            part for part in (manifest.config, *manifest.layers) if part.media_type != media.SHARD
        ]
        yield from _blobs(artifact, place, parts, evidence=False)


def _blobs(
    artifact: Artifact, place: Place, parts: Sequence[Descriptor], *, evidence: bool
) -> Iterator[Addition]:
    for part in parts:
        yield Addition(
            path=place.blob(part, evidence=evidence),
            source=artifact.store.blobs.get(part.digest, size=part.size),
            digest=part.digest,
            size=part.size,
        )


def _index(manifest: Manifest, evidence: Sequence[Manifest]) -> bytes:
    entries = [one.descriptor().to_json() for one in (manifest, *evidence)]
    return canonical.encode(index.empty() | {"manifests": entries})


def _column_digests(artifact: Artifact) -> Mapping[str, Digest]:
    """The digest of each column, once the rows have turned out to be the artifact's."""
    columns_of = artifact.document.columns
    schema = pa.schema([(column.name, arrow_type(column.type)) for column in columns_of])
    content = ContentDigest(schema)
    with ThreadPoolExecutor(usable_cores()) as pool:
        for shard in artifact.open_shards():
            _require_viewable(shard)
            for batch in shard.batches():
                content.update(batch, each=pool.map)
    if (found := content.digest()) != artifact.document.content_digest:
        expected = str(artifact.document.content_digest)
        problem = Problem("content-digest-differ", "artifact", expected, str(found))
        raise IntegrityError(str(problem), problems=[problem])
    return content.columns()


def _require_viewable(shard: Shard) -> None:
    for number, group in enumerate(shard.groups):
        if group.size > VIEWER_BYTES:
            raise FormatError(
                f"{shard.path} row group {number}: expected at most {VIEWER_BYTES:,} bytes, which"
                f" is what the Hub's viewer reads, found {group.size:,}: let lopd write these rows"
                " anew (lopd-store export --format jsonl, then import)"
            )
