"""Shards of an artifact that a store has."""

from lopd_store.artifacts import Artifact
from lopd_store.errors import FormatError
from lopd_store.shard_sets.shard_set import ShardSet, as_named


def from_store(name: str, artifact: Artifact) -> ShardSet:
    """An artifact, once every shard is there in its size: training must not stop at the last.

    Raises:
        NotFoundError: a shard is missing.
        IntegrityError: one has another size than the manifest says.
        FormatError: the documents contradict each other.
    """
    if problems := artifact.manifest.disagreements(artifact.document):
        raise FormatError.of(problems, subject=name)
    for layer in artifact.shards:
        artifact.store.blobs.size(layer.digest, expected=layer.size)
    return ShardSet(
        name=name,
        id=artifact.id,
        kind=artifact.document.kind,
        identities=artifact.identities,
        rows=artifact.document.rows,
        tokens=artifact.document.tokens,
        content_digest=artifact.document.content_digest,
        store=artifact.store,
        _digests=lambda: tuple(layer.digest for layer in artifact.shards),
        _open=lambda: (
            as_named(shard, layer)
            for shard, layer in zip(artifact.open_shards(), artifact.shards, strict=True)
        ),
    )
