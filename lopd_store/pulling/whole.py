"""An artifact as it is on the Hub: staged, checked, moved into the blobs."""

from pathlib import Path

from lopd_store.building.progress import Progress
from lopd_store.building.work import Work
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import FormatError
from lopd_store.hub.snapshot import Snapshot
from lopd_store.hub.together import Told
from lopd_store.pulling.bringing import Part, bring, check_listing, missing
from lopd_store.pulling.stage import Stage, require_room
from lopd_store.remote.artifact import RemoteArtifact
from lopd_store.shard_sets import as_named, column_problems
from lopd_store.shards.reader import Shard
from lopd_store.store import Store


class Whole:
    """One artifact on its way into the store, all of it."""

    def __init__(
        self, store: Store, snapshot: Snapshot, artifact: RemoteArtifact, stage: Stage, work: Work
    ) -> None:
        self._store = store
        self._snapshot = snapshot
        self._artifact = artifact
        self._stage = stage
        self._work = work
        self._evidence: list[Manifest] = []

    def bring(self, progress: Progress) -> int:
        """Stage everything that the store lacks, and check it; the bytes of it that had to come.

        Raises:
            IntegrityError: a file is not what the manifest says.
            FormatError: the documents, or evidence, contradict each other or the shards.
            NotFoundError: a file is missing, or the Hub stopped answering.
            StoreError: no room, or the disk refuses.
        """
        told = Told(progress.advance)
        lacking = self._lacking(told)
        check_listing(self._snapshot, lacking)
        self._stage_documents()
        self._stage_evidence()
        count = sum(part.blob.size for part in lacking)
        done = sum(min(self._stage.size(part.blob.digest), part.blob.size) for part in lacking)
        require_room(self._store, count - done)
        progress.begin_transfer(total_bytes=count, done_bytes=done)
        bring(self._snapshot, lacking, self._stage, told)
        self._stage.require_there()
        for layer in self._artifact.manifest.shards:
            check_shard(self._found(layer), layer, self._artifact.document)
        return count - done

    def install(self) -> Descriptor:
        """Move what is staged into the blobs, what names it last; the manifest's descriptor."""
        self._stage.require_there()
        manifest = self._artifact.manifest
        for one in (*manifest.layers, manifest.config, manifest.descriptor()):
            self._install(one)
        for evidence in self._evidence:
            for one in (*evidence.layers, evidence.config, evidence.descriptor()):
                self._install(one)
        return manifest.descriptor()

    def attach(self) -> None:
        """List the evidence, once the artifact has its ref. Raises StoreError."""
        known = {one.digest for one in self._store.evidence(self._artifact.id)}
        for evidence in self._evidence:
            if evidence.digest not in known:
                self._store.refs.attach(evidence.descriptor())

    def _lacking(self, told: Told) -> list[Part]:
        """What has to come: neither in the store, where it is held now, nor a document read."""
        read = {document.digest for document in self._documents()}
        parts = [
            Part(blob, path)
            for blob, path in (*self._artifact.shards(), *self._artifact.blobs())
            if blob.digest not in read
        ]
        for part in parts:
            self._work.claim(part.blob.digest)
        return missing(self._store, parts, told)

    def _stage_documents(self) -> None:
        for each in (*self._documents(), self._artifact.manifest):
            self._stage.write(each.digest, each.encode())

    def _documents(self) -> tuple[Identity | ArtifactDocument, ...]:
        """Those whose bytes were read and compared with the manifest."""
        return (*self._artifact.identities, self._artifact.document)

    def _stage_evidence(self) -> None:
        for manifest, layers in self._artifact.read_evidence():
            for descriptor, data in zip(manifest.layers, layers, strict=True):
                self._stage.write(descriptor.digest, data)
            self._stage.write(manifest.config.digest, self._artifact.read(manifest.config))
            self._stage.write(manifest.digest, manifest.encode())
            self._evidence.append(manifest)

    def _found(self, layer: Descriptor) -> Path:
        """Where a shard is, staged or in the store."""
        if self._stage.has(layer.digest):
            return self._stage.path(layer.digest)
        return self._store.blobs.path(layer.digest)

    def _install(self, one: Descriptor) -> None:
        if self._stage.has(one.digest):
            self._work.hold(one.digest)
            self._store.blobs.put_file(self._stage.path(one.digest), digest=one.digest)


def check_shard(path: Path, layer: Descriptor, document: ArtifactDocument) -> Shard:
    """Open a shard that is what its documents say, as far as its footer tells.

    Raises IntegrityError or FormatError.
    """
    shard = as_named(Shard.open(path), layer)
    if problems := column_problems(shard, document, f"shard {layer.digest.short}"):
        raise FormatError.of(problems, subject=str(path))
    return shard
