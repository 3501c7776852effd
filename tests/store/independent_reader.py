"""Reads an OCI image layout with nothing but the standard library, as a stranger would.

Written from the OCI image specification and sharing no code with lopd: what it says of a store is
a second opinion. Run as `python -I independent_reader.py STORE`, it prints its findings as JSON.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

REF_NAME = "org.opencontainers.image.ref.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def read(root: str) -> dict[str, Any]:
    """Everything wrong with a layout (`problems`), and where its refs point (`refs`)."""
    problems: list[str] = []
    layout = json.loads(Path(root, "oci-layout").read_text())
    if layout != {"imageLayoutVersion": "1.0.0"}:
        problems.append(f"layout {layout}")
    blobs = {path.name: path for path in Path(root, "blobs", "sha256").iterdir()}
    for name, path in blobs.items():
        if not re.fullmatch("[0-9a-f]{64}", name):
            problems.append(f"stray {name}")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != name:
            problems.append(f"digest {name}")
        elif path.stat().st_mode & 0o222:
            problems.append(f"writable {name}")
    index = json.loads(Path(root, "index.json").read_text())
    if index["schemaVersion"] != 2:
        problems.append("schemaVersion")
    refs = {}
    for entry in index["manifests"]:
        name = entry.get("annotations", {}).get(REF_NAME)
        if name in refs:
            problems.append(f"twice {name}")
        if name is not None:
            refs[name] = entry["digest"]
        problems += _manifest(entry, blobs)
    return {"problems": problems, "refs": refs, "blobs": sorted(blobs)}


def _manifest(entry: dict[str, Any], blobs: dict[str, Path]) -> list[str]:
    if problems := _blob(entry, blobs):
        return problems
    if entry["mediaType"] != MANIFEST:
        return []
    manifest = json.loads(blobs[entry["digest"].removeprefix("sha256:")].read_bytes())
    if manifest["schemaVersion"] != 2:
        problems.append(f"manifest {entry['digest']}")
    for part in [manifest["config"], *manifest["layers"]]:
        problems += _blob(part, blobs)
    return problems


def _blob(descriptor: dict[str, Any], blobs: dict[str, Path]) -> list[str]:
    name = descriptor["digest"].removeprefix("sha256:")
    if name not in blobs:
        return [f"missing {name}"]
    if blobs[name].stat().st_size != descriptor["size"]:
        return [f"size {name}"]
    return []


if __name__ == "__main__":
    json.dump(read(sys.argv[1]), sys.stdout)
