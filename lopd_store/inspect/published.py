"""What is on the Hub: documents are read, and nothing of a shard.

What a store has seen of the repository is compared, and what is shown is remembered there.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from lopd_store.documents import media
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.noise import Noise
from lopd_store.documents.skipped import parse_skipped
from lopd_store.errors import (
    FormatError,
    HubError,
    IntegrityError,
    NotFoundError,
    StoreError,
    UsageError,
)
from lopd_store.hub import HubName, is_away
from lopd_store.hub.snapshot import Snapshot, history, refs
from lopd_store.inspect import stored
from lopd_store.inspect.facts import in_full, in_line, in_short
from lopd_store.remote.artifact import RemoteArtifact, open_artifact
from lopd_store.remote.layout import Place
from lopd_store.remote.resolving import MAIN, Resolved, by_number, find, resolve, sight
from lopd_store.remote.seen import Seen, Sight
from lopd_store.shard_sets.published import kept
from lopd_store.signing import signers
from lopd_store.store import Store


def ls(name: HubName, store: Store | None) -> dict[str, Any]:
    """What a repository has: an entry a place, and its versions; one that cannot be read says why.

    Args:
        name: of the repository, perhaps at a revision; a config, a split or a digest chooses.
        store: has seen it before, perhaps; None where there is none.

    Raises:
        NotFoundError: no such repository, revision or place, or no artifact there.
        HubError: no answer.
        IntegrityError: what is pinned is not there, or the Hub shows something else than before.
    """
    snapshot, places = find(name, open_at=Snapshot.open)
    read = {place: _entry(snapshot, place) for place in places}
    ids = {place: found.id for place, found in read.items() if isinstance(found, RemoteArtifact)}
    now = sight(snapshot, ids)
    if store is not None:
        seen = Seen(store)
        seen.check(now, partial(history, snapshot.repo, snapshot.commit))
        with suppress(StoreError):  # a store that is only read
            seen.remember(now)
    versions = refs(name.repo).tags
    return {
        "repository": name.repo,
        "revision": snapshot.revision or MAIN,
        "commit": snapshot.commit,
        "artifacts": [_line(place, found) for place, found in read.items()],
        "versions": [
            {"version": version, "commit": versions[version]}
            for version in sorted(versions, key=by_number)
        ],
    }


def _entry(snapshot: Snapshot, place: Place) -> RemoteArtifact | str:
    try:
        return open_artifact(snapshot, place)
    except (FormatError, IntegrityError, NotFoundError) as error:
        return str(error)


def _line(place: Place, found: RemoteArtifact | str) -> dict[str, Any]:
    where = {"config": place.config, "split": place.split}
    return where | ({"error": found} if isinstance(found, str) else in_short(found))


def show(name: HubName, store: Store | None) -> dict[str, Any]:
    """Everything an artifact on the Hub says of itself, and what is attached to it.

    Where the Hub is away, the store's own is shown, if it has what it saw there last.

    Args:
        name: must mean one artifact.
        store: has seen it before, perhaps; None where there is none.

    Raises:
        UsageError: several artifacts, of which none is named.
        NotFoundError, HubError, IntegrityError: as `ls`; also for a document of the artifact.
        FormatError: a document is not valid.
    """
    try:
        found = _resolve(name, store)
    except (NotFoundError, HubError) as error:
        last = kept(name, store) if is_away(error) else None
        if last is None:
            raise
        return stored.show(last.artifact.store, str(last.artifact.id)) | _where(last.sight)
    (artifact,) = found.artifacts
    attached = list(artifact.read_evidence())
    return {
        "id": str(artifact.id),
        "refs": stored.refs_to(store, artifact.id) if store else [],
        **_where(found.sight),
        **in_full(artifact),
        "shards": [in_line(layer, path) for layer, path in artifact.shards()],
        "evidence": [
            {"type": manifest.artifact_type, "digest": str(manifest.digest)}
            for manifest, _ in attached
        ],
        "noise": [Noise.parse(data).json for data in _layers(attached, media.NOISE)],
        "signers": list(signers(_layers(attached, media.SIGNATURE))),
    }


def skipped(name: HubName, store: Store | None) -> list[dict[str, Any]]:
    """The rows of the source that an artifact left out: row, reason and detail.

    Raises as `show` does.
    """
    (artifact,) = _resolve(name, store).artifacts
    layer = artifact.manifest.skipped
    return [] if layer is None else [row.to_json() for row in parse_skipped(artifact.read(layer))]


def _resolve(name: HubName, store: Store | None) -> Resolved:
    """One artifact, compared with what was seen, which is remembered."""
    seen = Seen(store) if store else None
    found = resolve(name, seen=seen)
    if len(found.artifacts) > 1:
        places = ", ".join(f"{name.repo}/{artifact.place}" for artifact in found.artifacts)
        raise UsageError(f"{name}: expected a name of one artifact, found several: {places}")
    if seen is not None:
        with suppress(StoreError):  # a store that is only read
            seen.remember(found.sight)
    return found


def _where(sight: Sight) -> dict[str, str]:
    """Where on the Hub the only artifact of a sight is."""
    (place,) = sight.artifacts
    return {
        "repository": sight.repo,
        "config": place.config,
        "split": place.split,
        "revision": sight.revision,
        "commit": sight.commit,
    }


def _layers(evidence: Sequence[tuple[Manifest, list[bytes]]], media_type: str) -> list[bytes]:
    return [
        data
        for manifest, parts in evidence
        for layer, data in zip(manifest.layers, parts, strict=True)
        if layer.media_type == media_type
    ]
