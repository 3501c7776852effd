"""An artifact of a store, loaded: its documents checked, its shards opened when asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.noise import Noise
from lopd_store.errors import FormatError, IntegrityError, NotFoundError
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """An artifact's documents. Their bytes were checked against their digests.

    Attributes:
        store: where it lies.
        id: SHA-256 of the manifest.
        manifest: the OCI manifest.
        document: what came out: counts, content digest, lineage.
        identities: who made the rows; each shard names one of them.
    """

    store: Store
    id: Digest
    manifest: Manifest
    document: ArtifactDocument
    identities: tuple[Identity, ...]

    @property
    def shards(self) -> tuple[Descriptor, ...]:
        """The shards' descriptors in row order."""
        return self.manifest.shards

    def open_shards(self) -> Iterator[Shard]:
        """Each shard in row order, its bytes checked against its digest before it is opened.

        Which files passed is remembered: `Blobs.check_once`.
        """
        for descriptor in self.shards:
            self.store.blobs.check_once(descriptor.digest, size=descriptor.size)
            yield Shard.open(self.store.blobs.path(descriptor.digest))


def load(store: Store, name: str) -> Artifact:
    """The artifact a ref, an id or the beginning of an id names.

    Raises:
        NotFoundError: nothing has that name, or a blob of it is missing.
        IntegrityError: a blob is not what its name says.
        FormatError: a document is not valid.
    """
    digest = store.refs.resolve(name)
    manifest = Manifest.parse(store.blobs.get(digest))
    if manifest.kind not in media.KINDS:
        raise FormatError(
            f"{name}: expected an artifact of kind {', '.join(media.KINDS)},"
            f" found {manifest.artifact_type}"
        )
    config = store.blobs.get(manifest.config.digest, size=manifest.config.size)
    identities = tuple(
        Identity.parse(store.blobs.get(layer.digest, size=layer.size))
        for layer in manifest.identities
    )
    return Artifact(
        store=store,
        id=digest,
        manifest=manifest,
        document=ArtifactDocument.parse(config),
        identities=identities,
    )


def noises(store: Store, artifact: Digest) -> list[Noise]:
    """How far re-scored log-probs moved, as measured and attached to an artifact.

    Raises:
        NotFoundError, IntegrityError, FormatError: evidence is missing, damaged or not valid.
    """
    manifests = [
        Manifest.parse(store.blobs.get(found.digest, size=found.size))
        for found in store.evidence(artifact, media.NOISE_TYPE)
    ]
    return [
        Noise.parse(store.blobs.get(layer.digest, size=layer.size))
        for manifest in manifests
        for layer in manifest.layers_of(media.NOISE)
    ]


def is_whole(store: Store, artifact: Digest) -> bool:
    """Whether a manifest and every blob it names are there in their sizes; shards are not read."""
    return _every_blob(
        store, artifact, lambda part: store.blobs.size(part.digest, expected=part.size)
    )


def is_intact(store: Store, artifact: Digest) -> bool:
    """Whether a manifest and every blob it names are what their names say; all are read."""
    return _every_blob(store, artifact, lambda part: store.blobs.check(part.digest, size=part.size))


def _every_blob(store: Store, artifact: Digest, look: Callable[[Descriptor], object]) -> bool:
    try:
        manifest = Manifest.parse(store.blobs.get(artifact))
        for part in (manifest.config, *manifest.layers):
            look(part)
    except (FormatError, IntegrityError, NotFoundError):
        return False
    return True


def point(store: Store, ref: str, artifact: Digest, *, expected: Descriptor | None) -> None:
    """Make `ref` name `artifact`, if it still points where the caller saw it or there already.

    Raises RefMovedError when somebody else moved it elsewhere, and whatever `Refs.move` raises.
    """
    now = store.refs.get(ref)
    if now is None or now.digest != artifact:
        descriptor = Manifest.parse(store.blobs.get(artifact)).descriptor()
        store.refs.move(ref, descriptor, expected=expected.digest if expected else None)
