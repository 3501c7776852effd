"""How the format spells things, from the spec alone: digests, canonical JSON, bytes as text."""

import hashlib
import json
import struct
from base64 import b64encode
from typing import Any


def sha256(data: bytes) -> str:
    """A digest as text."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def u64(count: int) -> bytes:
    """Eight bytes, little-endian."""
    return struct.pack("<Q", count)


def base64(data: bytes) -> str:
    """Bytes as text."""
    return b64encode(data).decode()


def tagged(tag: str, *parts: bytes) -> str:
    """Conventions: the tag, a newline, then each part after its length."""
    return sha256(tag.encode() + b"\n" + b"".join(u64(len(part)) + part for part in parts))


def raw(digest: str) -> bytes:
    """The 32 bytes of a digest."""
    return bytes.fromhex(digest.removeprefix("sha256:"))


def canonical(value: Any) -> bytes:
    """RFC 8785 for values without floats."""
    return json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def ordered(value: Any) -> Any:
    """Keys by their UTF-16 code units, as RFC 8785 asks."""
    if isinstance(value, dict):
        keys = sorted(value, key=lambda key: key.encode("utf-16-be"))
        return {key: ordered(value[key]) for key in keys}
    return [ordered(item) for item in value] if isinstance(value, list) else value
