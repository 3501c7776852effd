"""What is in a store."""

from typing import Any

from lopd_store.artifacts import load, noises
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Manifest
from lopd_store.documents.skipped import parse_skipped
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError
from lopd_store.inspect.facts import in_full, in_line, in_short
from lopd_store.signing import envelopes, signers
from lopd_store.store import Store


def ls(store: Store) -> list[dict[str, Any]]:
    """One entry a ref, in name order; a ref whose artifact cannot be read says why."""
    return [_entry(store, name, ref.digest) for name, ref in store.refs.list().items()]


def _entry(store: Store, name: str, digest: Digest) -> dict[str, Any]:
    try:
        artifact = load(store, str(digest))
    except LopdError as error:
        return {"ref": name, "id": str(digest), "error": str(error)}
    return {"ref": name, **in_short(artifact)}


def show(store: Store, name: str) -> dict[str, Any]:
    """Everything an artifact says of itself, and what is attached to it.

    Raises as `artifacts.load` does, of the evidence too.
    """
    artifact = load(store, name)
    return {
        "id": str(artifact.id),
        "refs": refs_to(store, artifact.id),
        **in_full(artifact),
        "shards": [
            in_line(layer, str(store.blobs.path(layer.digest))) for layer in artifact.shards
        ],
        "evidence": [
            {"type": found.artifact_type, "digest": str(found.digest)}
            for found in store.evidence(artifact.id)
        ],
        "noise": [noise.json for noise in noises(store, artifact.id)],
        "signers": list(signers(list(envelopes(store, artifact.id)))),
    }


def refs_to(store: Store, artifact: Digest) -> list[str]:
    """The refs that name an artifact, in name order."""
    return [ref for ref, at in store.refs.list().items() if at.digest == artifact]


def skipped(store: Store, name: str) -> list[dict[str, Any]]:
    """The rows of the source that an artifact left out: row, reason and detail.

    Raises as `artifacts.load` does.
    """
    layer = load(store, name).manifest.skipped
    if layer is None:
        return []
    data = store.blobs.get(layer.digest, size=layer.size)
    return [row.to_json() for row in parse_skipped(data)]


def kind_of(store: Store, artifact: Digest) -> str | None:
    """The kind that an artifact's manifest says; None where no manifest can be read."""
    try:
        return Manifest.parse(store.blobs.get(artifact)).kind
    except (FormatError, IntegrityError, NotFoundError):
        return None


def log(store: Store, ref: str) -> list[dict[str, Any]]:
    """How a ref moved, newest first; a ref that was removed keeps its history.

    Raises NotFoundError for a ref that never was.
    """
    entries = store.refs.history(ref)
    if not entries and store.refs.get(ref) is None:
        raise NotFoundError(f"no ref {ref!r} in {store.root}, and none was there before")
    return [entry.to_json() for entry in reversed(entries)]
