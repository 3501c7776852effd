"""An artifact in a repository: its documents read, each checked against the digest that names it.

The index is the Hub's word: which artifact is at a place. From its id on, everything follows by
digests.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from lopd_store.canonical import MAX_DOCUMENT_BYTES
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import (
    DigestMismatchError,
    FormatError,
    IntegrityError,
    Problem,
)
from lopd_store.remote.layout import Place
from lopd_store.store import index

_MOST_EVIDENCE: Final = 1000
_EVIDENCE_BYTES: Final = 256 << 20  # a signature has 600; anybody may name a large file often


class Files(Protocol):
    """The files of a repository at one commit. `str()` of it names it in messages."""

    def read(self, path: str, *, limit: int) -> bytes:
        """A file, whole. Raises NotFoundError, and FormatError beyond `limit` bytes."""
        ...


class Allowance:
    """How many bytes of evidence are read of one artifact; told before they are."""

    def __init__(self) -> None:
        self._left = _EVIDENCE_BYTES

    def take(self, parts: Iterable[Descriptor], *, where: str) -> None:
        """Raise FormatError where these are too many."""
        self._left -= sum(part.size for part in parts)
        if self._left < 0:
            raise FormatError(
                f"{where}: expected at most {_EVIDENCE_BYTES:,} bytes of evidence, found more"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteArtifact:
    """An artifact's documents. Their bytes were checked against their digests.

    Attributes:
        files: the repository.
        place: where in it.
        manifest: the OCI manifest; its digest is the artifact's id.
        document: what came out.
        identities: who made the rows, in the manifest's order.
        evidence: descriptors of manifests about it, in the index's order.
    """

    files: Files = field(repr=False)
    place: Place
    manifest: Manifest
    document: ArtifactDocument
    identities: tuple[Identity, ...] = field(repr=False)
    evidence: tuple[Descriptor, ...]

    @property
    def id(self) -> Digest:
        """SHA-256 of the manifest."""
        return self.manifest.digest

    def shards(self) -> Iterator[tuple[Descriptor, str]]:
        """The shards in row order, each with its path."""
        for number, shard in enumerate(self.manifest.shards):
            yield shard, self.place.shard(number, shard.digest)

    def blobs(self) -> Iterator[tuple[Descriptor, str]]:
        """Everything else that the manifest names, with its path; the config comes first."""
        for part in (self.manifest.config, *self.manifest.layers):
            if part.media_type != media.SHARD:
                yield part, self.place.blob(part)

    def read(self, part: Descriptor) -> bytes:
        """A blob that is no shard, checked. Raises as `Files.read` does, and IntegrityError."""
        return read_part(self.files, self.place.blob(part), part)

    def read_evidence(self) -> Iterator[tuple[Manifest, list[bytes]]]:
        """Manifests about this artifact, each with its layers; all are checked.

        Raises as `read` does; FormatError for one that is about something else, or for too much.
        """
        allowance = Allowance()
        for entry in self.evidence:
            data = read_part(self.files, self.place.blob(entry, evidence=True), entry)
            manifest = Manifest.parse(data, what=f"{self.files} evidence {entry.digest.short}")
            allowance.take(
                (entry, manifest.config, *manifest.layers), where=f"{self.files} {self.place}"
            )
            about = manifest.subject.digest if manifest.subject else None
            if about != self.id:
                raise FormatError(
                    f"{self.files} {self.place}: expected evidence about {self.id}, found some"
                    f" about {about}"
                )
            yield manifest, [self.read(layer) for layer in manifest.layers]


def open_artifact(files: Files, place: Place) -> RemoteArtifact:
    """Read the documents of the artifact at a place.

    Raises:
        NotFoundError: no artifact there, or a document of it is missing.
        IntegrityError: a document is not what its digest says.
        FormatError: a document is not valid.
    """
    where = f"{files} {place}"
    entry, evidence = read_index(files, place)
    manifest = Manifest.parse(
        read_part(files, place.blob(entry), entry), what=f"{where} manifest {entry.digest.short}"
    )
    if manifest.kind not in media.KINDS:
        raise FormatError(
            f"{where}: expected an artifact of kind {', '.join(media.KINDS)},"
            f" found {manifest.artifact_type}"
        )
    config = read_part(files, place.blob(manifest.config), manifest.config)
    document = ArtifactDocument.parse(config, what=f"{where} artifact document")
    if problems := manifest.disagreements(document):
        raise FormatError.of(problems, subject=where)
    identities = tuple(
        Identity.parse(read_part(files, place.blob(layer), layer), what=f"{where} identity")
        for layer in manifest.identities
    )
    return RemoteArtifact(
        files=files,
        place=place,
        manifest=manifest,
        document=document,
        identities=identities,
        evidence=evidence,
    )


def artifact_at(files: Files, place: Place) -> Digest:
    """The id of the artifact at a place, as the index says. Raises as `open_artifact` does."""
    return read_index(files, place)[0].digest


def read_index(files: Files, place: Place) -> tuple[Descriptor, tuple[Descriptor, ...]]:
    """The artifact's descriptor, and those of the evidence. Raises as `open_artifact` does."""
    where = f"{files} {place.index}"
    document = index.parse(files.read(place.index, limit=MAX_DOCUMENT_BYTES))
    entries = [Descriptor.from_json(entry) for entry in document["manifests"]]
    if not 1 <= len(entries) <= 1 + _MOST_EVIDENCE:
        raise FormatError(
            f"{where}: expected an artifact and at most {_MOST_EVIDENCE} manifests about it,"
            f" found {len(entries)} entries"
        )
    for entry in entries:
        if entry.media_type != media.OCI_MANIFEST:
            raise FormatError(f"{where}: expected manifests, found {entry.media_type}")
    return entries[0], tuple(entries[1:])


def read_part(files: Files, path: str, part: Descriptor) -> bytes:
    """The bytes of what a descriptor names: size, then digest, then the bytes.

    Raises as `Files.read` does, and IntegrityError.
    """
    where = f"{files} {path}"
    if part.size > MAX_DOCUMENT_BYTES:
        raise FormatError(
            f"{where}: expected at most {MAX_DOCUMENT_BYTES} bytes, found {part.size}"
        )
    data = files.read(path, limit=MAX_DOCUMENT_BYTES)
    if len(data) != part.size:
        problem = Problem("size-mismatch", where, f"{part.size} bytes", f"{len(data)} bytes")
        raise IntegrityError(str(problem), problems=[problem])
    if (found := Digest.of(data)) != part.digest:
        raise DigestMismatchError(where=where, expected=str(part.digest), found=str(found))
    return data
