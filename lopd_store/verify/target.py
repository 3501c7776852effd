"""What can be verified: an artifact of a store, a whole store, shards that no manifest names."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from lopd_store import hub
from lopd_store.artifacts import noises
from lopd_store.building.progress import Progress
from lopd_store.digest import Digest
from lopd_store.documents.identity import Identity
from lopd_store.documents.noise import Noise
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError, UsageError
from lopd_store.hub import HubName
from lopd_store.hub.snapshot import Snapshot
from lopd_store.identity.model import Fingerprint
from lopd_store.keys import PublicKey
from lopd_store.pulling import pull
from lopd_store.remote.cached import is_plain
from lopd_store.remote.resolving import MAIN
from lopd_store.remote.seen import Seen
from lopd_store.shard_sets import ShardSet, open_shard_set, shards_in
from lopd_store.shards.reader import Shard
from lopd_store.signing import envelopes
from lopd_store.store import Store
from lopd_store.store.durable import no_sync
from lopd_store.verify.behaviour import chosen_rows, places, rescore
from lopd_store.verify.depth import Depth, check_student, check_teachers
from lopd_store.verify.documents import Documents
from lopd_store.verify.integrity import check_artifact, check_file
from lopd_store.verify.remote import verify_remote
from lopd_store.verify.report import Report, Verified, joined
from lopd_store.verify.signed import check_signed, refuse_unnamed

__all__ = [
    "Depth",
    "verify_artifact",
    "verify_file",
    "verify_shards",
    "verify_store",
    "verify_target",
]


def verify_target(
    target: str,
    *,
    root: Path,
    depth: Depth,
    accept_moved: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Verify what a person names.

    A Parquet file, a store's folder, a folder of Parquet files, an artifact of the store at
    `root`, or a repository on the Hub: the first that there is.

    Args:
        target: what.
        root: the store's folder; where there is none, none is made.
        depth: how deep.
        accept_moved: on the Hub, whether a tag may have moved and a branch may have been rewound.
        progress: is told of what has to be downloaded.

    Raises:
        NotFoundError: no such store, or nothing in it or on the Hub has the name.
        FormatError: a folder or dataset whose files are no shards.
        UsageError: a whole store is to be compared with one teacher or one student.
    """
    path = Path(target)
    if _exists(path) and path.is_file():
        return verify_file(path, depth)
    if _exists(path / "oci-layout"):
        return _verify_whole(path, depth)
    if _exists(path) and path.is_dir() and shards_in(path):
        return verify_shards(open_shard_set(target, root=None), depth)
    if hub.is_artifact_name(target) and not _is_in_store(target, root):
        return _verify_on_hub(
            HubName.parse(target), Store.find(root), depth, progress, accept_moved=accept_moved
        )
    return verify_artifact(Store.open(root), target, depth)


def _verify_whole(root: Path, depth: Depth) -> Report:
    for word, model in (("teacher", depth.teacher), ("student", depth.student)):
        if model is not None:
            raise UsageError(
                f"{root} is a whole store: to compare with a {word}, name one artifact of it,"
                f" as in: verify REF --store {root} --{word} MODEL"
            )
    return verify_store(Store.open(root), key=depth.key)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # too long for a file's name, or a NUL in it
        return False


def _is_in_store(name: str, root: Path) -> bool:
    try:
        Store.open(root).refs.resolve(name)
    except NotFoundError:
        return False
    return True


def _verify_on_hub(
    name: HubName,
    store: Store | None,
    depth: Depth,
    progress: Progress | None,
    *,
    accept_moved: bool,
) -> Report:
    """At a distance; rows are read where they have to be, and where there are only rows."""
    seen = Seen(store) if store else None
    open_at = cache(Snapshot.open)  # what it lists may be long
    if is_plain(name, seen=None if accept_moved else seen, open_at=open_at):
        shards = open_shard_set(str(name), root=None)
        report = verify_shards(shards, depth)
        report.revision, report.commit = name.revision or MAIN, HubName.parse(shards.name).revision
        report.notes.append("there is no artifact in this repository: its shards were downloaded")
        return report
    report, exact = verify_remote(
        name, seen=seen, depth=depth, open_at=open_at, accept_moved=accept_moved
    )
    if not (depth.deep or depth.rescore):
        return report
    if not report.ok:
        report.notes.append("nothing was downloaded: what can be seen of it is wrong already")
        return report
    room = store.tmp if store and os.access(store.tmp, os.W_OK) else None
    with TemporaryDirectory(prefix="verify-", dir=room) as folder:
        place = Store.open(Path(folder) / "store", create=True, sync=no_sync)
        parts = [_verify_pulled(place, one, depth, progress) for one in exact]
    return replace(
        joined(report.target, parts),
        artifacts=report.artifacts,
        revision=report.revision,
        commit=report.commit,
    )


def _verify_pulled(store: Store, exact: HubName, depth: Depth, progress: Progress | None) -> Report:
    """One artifact, downloaded whole and verified as in any store."""
    try:
        (made,) = pull(store, exact, ref="here", progress=progress)
    except (IntegrityError, FormatError) as error:
        report = Report(target=str(exact))
        report.add_error(error, str(exact))
        return report
    return replace(verify_artifact(store, str(made.id), depth), target=str(made.place))


def verify_artifact(store: Store, name: str, depth: Depth) -> Report:
    """Verify the artifact a ref or id names. Raises NotFoundError when nothing has the name."""
    artifact = store.refs.resolve(name)
    report = Report(target=f"{name} ({artifact.short})")
    signed_by = _check_signed(store, artifact, depth.key, report)
    documents = check_artifact(store, artifact, report)
    report.artifacts.append(_looked_at(artifact, documents, signed_by))
    if documents is None:
        return report
    identities = list(documents.identities.values())
    check_teachers(identities, depth, report)
    if depth.rescore and report.ok:
        sources = [
            (store.blobs.path(layer.digest), documents.identities[layer.identity])
            for layer in documents.manifest.shards
        ]
        noise = _noise(store, artifact, report)
        _rescore(sources, documents.artifact.rows, noise, depth, report)
    check_student(identities, depth, report)
    return report


def verify_file(path: Path, depth: Depth) -> Report:
    """Verify one shard by what it says of itself."""
    report = _of_unnamed(str(path), depth)
    identity = check_file(path, report)
    if identity is not None:
        _look_deeper([(path, identity)], depth, report)
    return report


def verify_shards(shards: ShardSet, depth: Depth) -> Report:
    """Verify shards that no manifest names, each by what it says of itself, and all together."""
    report = _of_unnamed(shards.name, depth)
    sources = []
    try:
        for number, shard in enumerate(shards.open_shards()):
            part = Report(target=f"shard {number}")
            identity = check_file(shard.path, part)
            report.include(part)
            if identity is not None:
                sources.append((shard.path, identity))
    except LopdError as error:
        report.add_error(error, shards.name)
        report.notes.append("the shards after the damaged one were not looked at")
    if sources:
        _look_deeper(sources, depth, report)
    return report


def _of_unnamed(name: str, depth: Depth) -> Report:
    """The report of shards that no manifest names: nobody can have signed them."""
    report = Report(target=name)
    if depth.key is not None:
        refuse_unnamed(name, depth.key, report)
    return report


def _look_deeper(sources: Sequence[tuple[Path, Identity]], depth: Depth, report: Report) -> None:
    """Depths 2 to 4 of shards that no manifest names."""
    identities = list({identity.digest: identity for _, identity in sources}.values())
    check_teachers(identities, depth, report)
    if depth.rescore and report.ok:
        rows = sum(Shard.open(path).rows for path, _ in sources)
        _rescore(sources, rows, None, depth, report)
    check_student(identities, depth, report)


def verify_store(store: Store, *, key: PublicKey | None = None) -> Report:
    """Verify every blob of a store and every artifact that a ref names, and who signed it."""
    report = Report(target=str(store.root))
    report.add(IntegrityError, store.fsck())
    for name, descriptor in store.refs.list().items():
        part = Report(target=name)
        documents = check_artifact(store, descriptor.digest, part)
        signed_by = _check_signed(store, descriptor.digest, key, part)
        part.artifacts.append(_looked_at(descriptor.digest, documents, signed_by))
        report.include(part)
    return report


def _looked_at(id_: Digest, documents: Documents | None, signed_by: tuple[str, ...]) -> Verified:
    return Verified.of(id_, documents.artifact if documents else None, signed_by=signed_by)


def _check_signed(
    store: Store, artifact: Digest, key: PublicKey | None, report: Report
) -> tuple[str, ...]:
    if key is None:
        return ()
    return check_signed(artifact, lambda: envelopes(store, artifact), key, report)


def _noise(store: Store, artifact: Digest, report: Report) -> Noise | None:
    try:
        return next(iter(noises(store, artifact)), None)
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
    assert isinstance(depth.teacher, Fingerprint)  # noqa: S101 - Depth refuses others
    report.depth = 3
    chosen = places(total, depth.rescore)
    with depth.engine.scorer(depth.teacher.folder) as scorer:
        dtype = str(scorer.scoring["dtype"])
        rescore(chosen_rows(sources, chosen, noise=noise, dtype=dtype), scorer, report)
