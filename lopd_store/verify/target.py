"""What can be verified: an artifact of a store, a whole store, one stray shard."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from lopd_store.building.options import EngineOptions
from lopd_store.digest import Digest
from lopd_store.documents import media
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.noise import Noise
from lopd_store.errors import IntegrityError, LopdError, UsageError
from lopd_store.identity.model import Fingerprint
from lopd_store.shards.reader import Shard
from lopd_store.store import Store
from lopd_store.verify.behaviour import Tolerance, at, places, rescore, tolerance
from lopd_store.verify.identity import check_teacher
from lopd_store.verify.integrity import check_artifact, check_file
from lopd_store.verify.report import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How deep to look.

    Attributes:
        teacher: the teacher at hand, for depth 2.
        rescore: rows to score again with it, for depth 3; 0 for none.
        engine: how to score them.
    """

    teacher: Fingerprint | None = None
    rescore: int = 0
    engine: EngineOptions = field(default_factory=EngineOptions)

    def __post_init__(self) -> None:
        if self.rescore and self.teacher is None:
            raise UsageError("expected a teacher to score rows again with, found none (--teacher)")
        if self.rescore < 0:
            raise UsageError(f"expected a number of rows to score again, found {self.rescore}")


def verify_target(target: str, *, root: Path, depth: Depth) -> Report:
    """Verify what a person names: a file, a store's folder, else an artifact of the one at `root`.

    Raises:
        NotFoundError: no such store, or nothing in it has the name.
        UsageError: a whole store is to be compared with one teacher.
    """
    path = Path(target)
    if _exists(path) and path.is_file():
        return verify_file(path, depth)
    if not _exists(path / "oci-layout"):
        return verify_artifact(Store.open(root), target, depth)
    if depth.teacher is not None:
        raise UsageError(
            f"{target} is a whole store: to compare with a teacher, name one artifact of it,"
            f" as in: verify REF --store {target} --teacher MODEL"
        )
    return verify_store(Store.open(path))


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # too long for a file's name
        return False


def verify_artifact(store: Store, name: str, depth: Depth) -> Report:
    """Verify the artifact a ref or id names. Raises NotFoundError when nothing has the name."""
    artifact = store.refs.resolve(name)
    report = Report(target=f"{name} ({artifact.short})")
    documents = check_artifact(store, artifact, report)
    if documents is None or depth.teacher is None:
        return report
    identities = list(documents.identities.values())
    report.depth = 2
    check_teacher(identities, depth.teacher, report)
    if depth.rescore and report.ok:
        sources = [
            (store.blobs.path(layer.digest), documents.identities[layer.identity])
            for layer in documents.manifest.shards
        ]
        noise = _noise(store, artifact, report)
        _rescore(sources, documents.artifact.rows, noise, depth, report)
    return report


def verify_file(path: Path, depth: Depth) -> Report:
    """Verify one shard by what it says of itself."""
    report = Report(target=str(path))
    identity = check_file(path, report)
    if identity is None or depth.teacher is None:
        return report
    report.depth = 2
    check_teacher([identity], depth.teacher, report)
    if depth.rescore and report.ok:
        _rescore([(path, identity)], Shard.open(path).rows, None, depth, report)
    return report


def verify_store(store: Store) -> Report:
    """Verify every blob of a store and every artifact that a ref names."""
    report = Report(target=str(store.root))
    report.add(IntegrityError, store.fsck())
    for name, descriptor in store.refs.list().items():
        part = Report(target=name)
        check_artifact(store, descriptor.digest, part)
        report.include(part)
    return report


def _noise(store: Store, artifact: Digest, report: Report) -> Noise | None:
    try:
        for descriptor in store.evidence(artifact, media.artifact_type("noise")):
            manifest = Manifest.parse(store.blobs.get(descriptor.digest, size=descriptor.size))
            for layer in manifest.layers_of(media.NOISE):
                return Noise.parse(store.blobs.get(layer.digest, size=layer.size))
    except LopdError as error:
        report.add_error(error, "attached noise")
    return None


def _rescore(
    sources: Sequence[tuple[Path, Identity]],
    total: int,
    noise: Noise | None,
    depth: Depth,
    report: Report,
) -> None:
    assert depth.teacher is not None  # noqa: S101 - Depth refuses it
    report.depth = 3
    chosen = places(total, depth.rescore)
    with depth.engine.scorer(depth.teacher.folder) as scorer:
        dtype = str(scorer.scoring["dtype"])
        rescore(_rows(sources, chosen, noise=noise, dtype=dtype), scorer, report)


def _rows(
    sources: Sequence[tuple[Path, Identity]],
    chosen: Sequence[int],
    *,
    noise: Noise | None,
    dtype: str,
) -> Iterator[tuple[pa.RecordBatch, Tolerance]]:
    """The chosen rows of all shards, each with what the identity of its own shard allows."""
    first = 0
    for path, identity in sources:
        shard = Shard.open(path)
        inside = [place - first for place in chosen if first <= place < first + shard.rows]
        first += shard.rows
        if inside:
            limit = tolerance(identity, noise, dtype)
            for batch in at(shard.batches(), inside):
                yield batch, limit
