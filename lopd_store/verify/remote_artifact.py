"""One artifact on the Hub: its documents read whole, its shards by what the Hub lists of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.artifact import ArtifactDocument, Column
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.documents.noise import Noise
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError, Problem
from lopd_store.hub.snapshot import RemoteFile, Snapshot
from lopd_store.keys import PublicKey
from lopd_store.remote import columns
from lopd_store.remote.artifact import Allowance, read_index, read_part
from lopd_store.remote.layout import COLUMNS, Place
from lopd_store.signing import MAX_ENVELOPE_BYTES
from lopd_store.verify.documents import Documents, check_documents
from lopd_store.verify.report import Report, Verified
from lopd_store.verify.signed import check_signed

_ADVICE: Final = "push it again: only what is missing is sent"


class RemoteLook:
    """An artifact at a place of a repository, and what was found there.

    Attributes:
        place: where.
        id: as the index says; None where it cannot be read.
        shards: the paths that the manifest gives; None where it cannot be read.
        columns: of the shards; empty where the artifact's document cannot be read.
        identities: who made the rows, as far as they could be read.
    """

    def __init__(
        self, snapshot: Snapshot, place: Place, *, key: PublicKey | None, report: Report
    ) -> None:
        """Look at everything but the bytes of shards, and put what is wrong into the report."""
        self._snapshot = snapshot
        self._report = report
        self.place = place
        self.id: Digest | None = None
        self.shards: frozenset[str] | None = None
        self.columns: tuple[Column, ...] = ()
        self.identities: list[Identity] = []
        self._document: ArtifactDocument | None = None
        self._signed_by: tuple[str, ...] = ()
        self._allowance = Allowance()
        with self._noting(place.index):
            entry, evidence = read_index(snapshot, place)
            self.id = entry.digest
            signatures = [found for one in evidence for found in self._evidence(one)]
            if key is not None:
                self._signed_by = check_signed(entry.digest, lambda: signatures, key, self._report)
            data = read_part(snapshot, place.blob(entry), entry)
            self._check(Manifest.parse(data, what=f"{place} manifest {entry.digest.short}"))
        if self.id is not None:
            looked_at = Verified.of(self.id, self._document, place=place, signed_by=self._signed_by)
            self._report.artifacts.append(looked_at)

    def _check(self, manifest: Manifest) -> None:
        documents = check_documents(manifest, self._read, self._report)
        if documents is not None:
            self._document = documents.artifact
            self.identities = list(documents.identities.values())
            self.columns = documents.artifact.columns
            self._check_columns(documents)
        for part in manifest.layers:
            if part.media_type not in media.LAYER_ORDER:
                with self._noting(self.place.blob(part)):
                    self._read(part)
        self._check_shards(manifest.shards)

    def _read(self, part: Descriptor) -> bytes:
        return read_part(self._snapshot, self.place.blob(part), part)

    def _check_shards(self, shards: Sequence[Descriptor]) -> None:
        paths = [self.place.shard(number, shard.digest) for number, shard in enumerate(shards)]
        self.shards = frozenset(paths)
        files = self._snapshot.files
        for path, shard in zip(paths, shards, strict=True):
            if path in files:
                self._report.add(IntegrityError, _differences(shard, files[path]))
            else:
                problem = Problem("missing-file", path, f"shard {shard.digest.short}", "none")
                self._report.add(NotFoundError, [problem])
        for path in sorted(files.keys() - self.shards):
            if self.place.selects(path):
                expected = (
                    f"only the {len(paths)} shards of the manifest, as load_dataset reads all"
                )
                problem = Problem("stray-shard", path, expected, "another file")
                self._report.add(IntegrityError, [problem])
        self._tell(paths, sum(shard.size for shard in shards))

    def _tell(self, paths: Sequence[str], size: int) -> None:
        files = self._snapshot.files
        if absent := [path for path in paths if path not in files]:
            self._report.notes.append(f"{len(absent)} shard(s) are missing: {_ADVICE}")
        if unnamed := [path for path in paths if path in files and files[path].sha256 is None]:
            self._report.notes.append(
                f"of {len(unnamed)} shard(s), kept as small files, the Hub lists no SHA-256: only"
                " their sizes were compared"
            )
        self._report.notes.append(
            f"{len(paths)} shard(s) of {size:,} bytes were compared by what the Hub lists of them;"
            " no row was read (--deep reads them)"
        )

    def _check_columns(self, documents: Documents) -> None:
        """The digests with which some columns are pulled; an artifact is whole without them."""
        path = f"{self.place.folder}/{COLUMNS}"
        if path in self._snapshot.files:
            with self._noting(path):
                data = self._snapshot.read(path, limit=columns.MAX_BYTES)
                columns.parse(data, documents.artifact, what=path)

    def _evidence(self, entry: Descriptor) -> Iterator[bytes]:
        """The signatures of a manifest about the artifact; all that it names is read."""
        path = self.place.blob(entry, evidence=True)
        with self._noting(path):
            manifest = Manifest.parse(read_part(self._snapshot, path, entry), what=path)
            about = manifest.subject.digest if manifest.subject else None
            if about != self.id:
                problem = Problem("other-subject", path, str(self.id), str(about or "none"))
                self._report.add(FormatError, [problem])
            parts = (manifest.config, *manifest.layers)
            self._allowance.take((entry, *parts), where=path)
            for part in parts:
                data = self._read(part)
                if part.media_type == media.NOISE:
                    Noise.parse(data, what=f"{self.place} noise {part.digest.short}")
                if part.media_type == media.SIGNATURE and len(data) <= MAX_ENVELOPE_BYTES:
                    yield data

    @contextmanager
    def _noting(self, where: str) -> Iterator[None]:
        try:
            yield
        except LopdError as error:
            self._report.add_error(error, where)


def _differences(shard: Descriptor, listed: RemoteFile) -> Iterator[Problem]:
    if listed.size != shard.size:
        sizes = f"{shard.size} bytes", f"{listed.size} bytes"
        yield Problem("size-mismatch", listed.path, *sizes)
    if listed.sha256 not in {None, shard.digest}:
        yield Problem("digest-mismatch", listed.path, str(shard.digest), str(listed.sha256))
