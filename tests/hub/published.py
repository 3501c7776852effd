"""An artifact of a store as files of a repository, written after schemas/hub.md and nothing else.

Reads the store as the OCI image layout that it is: JSON and blobs, without a line of the project.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

NAMES = {
    "application/vnd.lopd.artifact.v1+json": ("artifact", ".json"),
    "application/vnd.lopd.identity.v1+json": ("identity", ".json"),
    "application/vnd.lopd.tokenizer.v1+zstd": ("tokenizer", ".zst"),
    "application/vnd.lopd.skipped.v1+jsonl": ("skipped", ".jsonl"),
    "application/vnd.lopd.noise.v1+json": ("noise", ".json"),
    "application/vnd.lopd.signature.v1+json": ("signature", ".json"),
}
SHARD = "application/vnd.lopd.shard.v1+parquet"
REF = "org.opencontainers.image.ref.name"


def blob(store: Path, digest: str) -> bytes:
    data = (store / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert "sha256:" + hashlib.sha256(data).hexdigest() == digest
    return data


def files_of(
    store: Path,
    ref: str,
    *,
    config: str = "default",
    split: str = "train",
    columns: dict[str, str] | None = None,
) -> dict[str, bytes]:
    """Path → bytes of the artifact that a ref names, with its evidence; no card."""
    listed = json.loads((store / "index.json").read_bytes())["manifests"]
    entry = next(one for one in listed if one.get("annotations", {}).get(REF) == ref)
    folder = f"lopd/{config}/{split}"
    manifest = json.loads(blob(store, entry["digest"]))
    evidence = [
        one
        for one in listed
        if "annotations" not in one
        and json.loads(blob(store, one["digest"])).get("subject", {}).get("digest")
        == entry["digest"]
    ]
    files = {
        f"{folder}/index.json": index(entry, evidence),
        f"{folder}/manifest-{short(entry)}.json": blob(store, entry["digest"]),
    }
    shards = [layer for layer in manifest["layers"] if layer["mediaType"] == SHARD]
    for number, layer in enumerate(shards):
        path = f"data/{config}/{split}-{number:05d}-{short(layer)}.parquet"
        files[path] = blob(store, layer["digest"])
    others = [manifest["config"], *(one for one in manifest["layers"] if one not in shards)]
    for one in evidence:
        files[f"{folder}/evidence-{short(one)}.json"] = blob(store, one["digest"])
        about = json.loads(blob(store, one["digest"]))
        others += [about["config"], *about["layers"]]
    for one in others:
        name, suffix = NAMES.get(one["mediaType"], ("blob", ""))
        files[f"{folder}/{name}-{short(one)}{suffix}"] = blob(store, one["digest"])
    if columns is not None:
        document = {"format": "lopd.columns.v1", "columns": columns}
        files[f"{folder}/columns.json"] = canonical(document)
    return files


def index(entry: dict[str, Any], evidence: list[dict[str, Any]]) -> bytes:
    artifact = {key: value for key, value in entry.items() if key != "annotations"}
    ordered = sorted(evidence, key=lambda one: str(one["digest"]))
    return canonical(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [artifact, *ordered],
        }
    )


def canonical(value: object) -> bytes:
    """RFC 8785, for documents of ASCII strings and integers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def short(descriptor: dict[str, Any]) -> str:
    return str(descriptor["digest"]).removeprefix("sha256:")[:12]
