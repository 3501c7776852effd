"""Artifacts made by a hostile hand: every digest is right, and what they say is wrong."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import rfc8785

from lopd_store.artifacts import load
from lopd_store.digest import Digest
from lopd_store.store import Store
from tests.building.chain import publish, tokenizer_blob_of

Layers = list[dict[str, Any]]


def rows_of_signal(store: Store, ref: str = "signal") -> pa.RecordBatch:
    """All rows of an artifact, their sample ids without numbers."""
    batches = [b for shard in load(store, ref).open_shards() for b in shard.batches()]
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    names = [name.partition(".")[0] for name in rows["sample_id"].to_pylist()]
    return with_values(rows, "sample_id", pa.array(names))


def with_values(rows: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    return rows.set_column(rows.schema.get_field_index(name), name, values)


def republish(store: Store, rows: pa.RecordBatch, *, ref: str = "bad") -> Digest:
    """Other rows under the identity of `signal`, coherent in every digest and count."""
    artifact = load(store, "signal")
    identity = artifact.identities[0]
    blob = tokenizer_blob_of(store, identity)
    return publish(store, ref, identity, [rows], tokenizer_blob=blob, shard_tokens=800)


def with_layers(
    store: Store, edit: Callable[[Layers], Sequence[dict[str, Any]]], *, ref: str = "bad"
) -> Digest:
    """The artifact `signal` with edited layers, its manifest named by its own new digest."""
    return _with_manifest(store, lambda m: m | {"layers": list(edit(m["layers"]))}, ref)


def with_document(store: Store, **fields: Any) -> Digest:
    """The artifact `signal` whose document says something else."""
    config = _document(store, fields)
    return _with_manifest(store, lambda m: m | {"config": m["config"] | config}, "bad")


def with_identity(store: Store, data: bytes) -> Digest:
    """The artifact `signal` with other bytes for its identity, named wherever it is named."""
    digest = str(store.blobs.put(data))
    config = _document(store, {"identities": [digest]})

    def edit(manifest: dict[str, Any]) -> Any:
        manifest["config"] |= config
        for layer in manifest["layers"]:
            if "identity" in layer["mediaType"]:
                layer |= {"digest": digest, "size": len(data)}
            if "annotations" in layer:
                layer["annotations"]["dev.lopd.identity"] = digest
        return manifest

    return _with_manifest(store, edit, "bad")


def _document(store: Store, fields: dict[str, Any]) -> dict[str, Any]:
    data = rfc8785.dumps(load(store, "signal").document.json | fields)
    return {"digest": str(store.blobs.put(data)), "size": len(data)}


def with_blob(store: Store, media_type: str, data: bytes) -> Digest:
    """The artifact `signal` with the first layer of a media type replaced by other bytes."""

    def edit(layers: Layers) -> Layers:
        place = next(i for i, layer in enumerate(layers) if layer["mediaType"] == media_type)
        layers[place] |= {"digest": str(store.blobs.put(data)), "size": len(data)}
        return layers

    return with_layers(store, edit)


def raw_manifest(store: Store, data: bytes, *, ref: str = "bad") -> Digest:
    """Any bytes as a manifest under a ref; index.json is written by hand, no check is passed."""
    digest = store.blobs.put(data)
    path = store.root / "index.json"
    index = json.loads(path.read_text())
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(digest),
        "size": len(data),
        "annotations": {"org.opencontainers.image.ref.name": ref},
    }
    index["manifests"].append(entry)
    path.write_text(json.dumps(index))
    return digest


def shard_paths(store: Store, ref: str = "signal") -> list[Path]:
    return [store.blobs.path(layer.digest) for layer in load(store, ref).shards]


def stray(store: Store, folder: Path) -> Path:
    """The first shard of `signal`, copied out of the store under another name."""
    path = folder / "stray.parquet"
    path.write_bytes(shard_paths(store)[0].read_bytes())
    return path


def _with_manifest(store: Store, edit: Callable[[dict[str, Any]], Any], ref: str) -> Digest:
    manifest = edit(load(store, "signal").manifest.json)
    return raw_manifest(store, rfc8785.dumps(manifest), ref=ref)
