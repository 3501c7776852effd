"""Depth 1: every digest, size, footer, schema, count, length and value of an artifact.

Order on read is size, digest, parse: bytes that are not what their name says are never parsed.
Nothing stops at the first problem.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from lopd_store.ahead import ahead
from lopd_store.digest import Digest
from lopd_store.documents.artifact import ArtifactDocument
from lopd_store.documents.identity import Identity
from lopd_store.documents.manifest import Descriptor, Manifest
from lopd_store.errors import FormatError, IntegrityError, LopdError, Problem
from lopd_store.rows.sample_id import Occurrences
from lopd_store.shard_sets import column_problems
from lopd_store.shards.reader import Shard
from lopd_store.store import Store
from lopd_store.verify.documents import Documents, check_documents
from lopd_store.verify.report import Report
from lopd_store.verify.rows import Tally, check_rows
from lopd_store.verify.workers import Workers, workers


def check_artifact(store: Store, artifact: Digest, report: Report) -> Documents | None:
    """Check one artifact of a store. None when its documents are too damaged to go on."""
    try:
        manifest = Manifest.parse(store.blobs.get(artifact), what=f"manifest {artifact.short}")
    except LopdError as error:
        report.add_error(error, f"artifact {artifact.short}")
        return None
    documents = check_documents(
        manifest, lambda part: store.blobs.get(part.digest, size=part.size), report
    )
    if documents is None:
        return None
    _check_shards(store, documents, report)
    return documents


def check_file(path: Path, report: Report) -> Identity | None:
    """Check a stray shard against the identity in its own footer. None when it has none."""
    report.notes.append("no manifest names this file: it is checked against itself only")
    try:
        shard = Shard.open(path)
        identity = Identity.parse(shard.identity_bytes, what=f"{path} footer")
        tally = Tally()
        with workers() as threads:
            check_rows(shard, identity, str(path), tally, report, threads)
    except LopdError as error:
        report.add_error(error, str(path))
        return None
    report.notes.append(f"{tally.rows} rows, {tally.tokens} tokens")
    return identity


def _check_shards(store: Store, documents: Documents, report: Report) -> None:
    """Look at the shards in row order; those that come next are hashed meanwhile."""
    tally = Tally()
    with (
        TemporaryDirectory() as folder,
        Occurrences(Path(folder)) as occurrences,
        workers() as threads,
    ):
        tally.occurrences = occurrences
        whole = True
        for number, (layer, damage) in enumerate(_hashed(store, documents.manifest, threads)):
            if damage is not None:
                report.add_error(damage, f"shard {number}")
                whole = False
            else:
                whole &= _check_shard(store, layer, number, documents, tally, report, threads)
        tally.duplicates = occurrences.duplicates
    if whole:
        report.add(FormatError, _total_problems(documents.artifact, tally))


def _hashed(
    store: Store, manifest: Manifest, threads: Workers
) -> Iterator[tuple[Descriptor, LopdError | None]]:
    """Each shard and what its size or digest says against it.

    Only the next few are hashed ahead, so that a shard's bytes are still in the system's cache
    when its rows are read. Decoding takes several times as long as hashing.
    """

    def damage_of(layer: Descriptor) -> LopdError | None:
        try:
            store.blobs.check(layer.digest, size=layer.size)
        except LopdError as error:
            return error
        return None

    found = ahead(threads.digests, damage_of, manifest.shards, most=2 + threads.count // 4)
    yield from zip(manifest.shards, found, strict=True)


def _check_shard(
    store: Store,
    layer: Descriptor,
    number: int,
    documents: Documents,
    tally: Tally,
    report: Report,
    threads: Workers,
) -> bool:
    """Whether the shard's rows could be read to the end."""
    where = f"shard {number}"
    identity = documents.identities.get(layer.identity)
    if identity is None:
        report.notes.append(f"{where}: rows not looked at, as their identity could not be read")
        return False
    rows, tokens = tally.rows, tally.tokens
    try:
        shard = Shard.open(store.blobs.path(layer.digest))
        if shard.identity_bytes != identity.encode():
            found = Digest.of(shard.identity_bytes)
            problem = Problem("footer-identity", where, str(layer.identity), str(found))
            report.add(IntegrityError, [problem])
        report.add(FormatError, column_problems(shard, documents.artifact, where))
        check_rows(shard, identity, where, tally, report, threads)
    except LopdError as error:
        report.add_error(error, where)
        return False
    counted = {"rows": tally.rows - rows, "tokens": tally.tokens - tokens}
    claimed = {"rows": layer.rows, "tokens": layer.tokens}
    report.add(FormatError, _count_problems(where, claimed, counted))
    return True


def _total_problems(artifact: ArtifactDocument, tally: Tally) -> list[Problem]:
    claimed = {
        "rows": artifact.rows,
        "tokens": artifact.tokens,
        "prompt_tokens": artifact.prompt_tokens,
        "duplicates": artifact.duplicates,
        "content_digest": str(artifact.content_digest),
    }
    counted = {
        "rows": tally.rows,
        "tokens": tally.tokens,
        "prompt_tokens": tally.prompt_tokens,
        "duplicates": tally.duplicates,
        "content_digest": str(tally.content.digest()) if tally.content else "none",
    }
    return _count_problems("artifact", claimed, counted)


def _count_problems(
    where: str, claimed: Mapping[str, object], counted: Mapping[str, object]
) -> list[Problem]:
    return [
        Problem(f"{name.replace('_', '-')}-differ", where, str(claimed[name]), str(counted[name]))
        for name in claimed
        if claimed[name] != counted[name]
    ]
