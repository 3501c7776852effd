"""Checkpoints written, and named, with the standard library alone: the oracle of these tests."""

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Tensors = Mapping[str, tuple[str, list[int], bytes]]
"""Name to dtype, shape and bytes."""


def floats(*values: float) -> tuple[str, list[int], bytes]:
    return "F32", [len(values)], struct.pack(f"<{len(values)}f", *values)


def safetensors_bytes(tensors: Tensors, metadata: Mapping[str, str] | None = None) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    body = b""
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {
            "dtype": dtype,
            "shape": shape,
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    return with_header(json.dumps(header).encode(), body)


def with_header(header: bytes, body: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + body


def expected_weights_digest(tensors: Tensors) -> str:
    """The published definition, for names and dtypes of ASCII letters, dots and digits."""
    entries = [
        [name, dtype, shape, "sha256:" + hashlib.sha256(data).hexdigest()]
        for name, (dtype, shape, data) in sorted(tensors.items(), key=lambda item: item[0].encode())
    ]
    text = json.dumps(entries, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(b"lopd.weights.v1\n" + text.encode()).hexdigest()


def tensors_in(folder: Path) -> dict[str, tuple[str, list[int], bytes]]:
    """Every tensor of a folder's safetensors files, read by hand."""
    found: dict[str, tuple[str, list[int], bytes]] = {}
    for path in folder.glob("*.safetensors"):
        data = path.read_bytes()
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        header.pop("__metadata__", None)
        for name, entry in header.items():
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = entry["dtype"], entry["shape"], data[begin:end]
    return found


def write_sharded(folder: Path, parts: list[dict[str, tuple[str, list[int], bytes]]]) -> None:
    folder.mkdir(exist_ok=True)
    weight_map: dict[str, str] = {}
    for number, part in enumerate(parts):
        name = f"model-{number:05}.safetensors"
        (folder / name).write_bytes(safetensors_bytes(part))
        weight_map |= dict.fromkeys(part, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
