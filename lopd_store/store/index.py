"""`index.json` and manifests as graphs: which blobs a document names.

Read leniently, because other tools write into the same layout: what we do not know is kept as it
is. Whether an artifact is a valid one is asked elsewhere; here only digests and sizes count.
"""

import re
from dataclasses import dataclass
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.media import OCI_INDEX, OCI_MANIFEST, REF_NAME
from lopd_store.errors import FormatError, UsageError

MANIFEST_TYPES: Final = (
    OCI_MANIFEST,
    OCI_INDEX,
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_SCHEMA_VERSION: Final = 2
_COMPONENT: Final = r"[A-Za-z0-9]+(?:(?:[._+-]|--)[A-Za-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*(?::{_COMPONENT})?")
_LONGEST_NAME: Final = 80  # quoted, it still fits a file name of 255 bytes
_SHA256: Final = re.compile(r"sha256:[0-9a-f]{64}")
_OTHER_ALGORITHM: Final = re.compile(r"(sha512|blake3):[0-9a-f]+")  # OCI's others, not ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One blob that a document names, by SHA-256.

    Attributes:
        digest: the blob's name.
        size: its size in bytes, as claimed.
        media_type: what it holds, as claimed; empty when the document does not say.
    """

    digest: Digest
    size: int
    media_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What a manifest or index names.

    Attributes:
        links: config, layers, manifests, in order; those under other digests than SHA-256 left out.
        subject: what it is evidence about, if anything.
        artifact_type: what kind of artifact or evidence it is; empty when it does not say.
        media_type: what it says it is; empty when it does not say.
    """

    links: tuple[Link, ...]
    subject: Digest | None
    artifact_type: str
    media_type: str


def check_name(name: str) -> str:
    """Return a ref's name if it keeps the grammar, which is a part of OCI's for `ref.name`.

    Components of letters, digits and single `.`, `_`, `-`, `+` (or `--`) between them, joined by
    `/`, and perhaps `:` and a last component: `math/qwen3-8b:v3`. At most 80 characters. Never a
    path: no `..`, no leading `/`. Not `sha256:…`, which names an artifact by its id.

    Raises:
        UsageError: the name breaks the grammar.
    """
    if len(name) <= _LONGEST_NAME and _NAME.fullmatch(name) and not name.startswith("sha256:"):
        return name
    raise UsageError(
        f"expected a ref like math/qwen3-8b:v3 (letters, digits, single . _ - + between them, "
        f"at most {_LONGEST_NAME} characters), found {name[:200]!r}"
    )


def is_name(name: str) -> bool:
    """Whether `check_name` accepts the name."""
    try:
        check_name(name)
    except UsageError:
        return False
    return True


def empty() -> dict[str, Any]:
    """An index without entries."""
    return {"schemaVersion": _SCHEMA_VERSION, "mediaType": OCI_INDEX, "manifests": []}


def parse(data: bytes) -> dict[str, Any]:
    """Read index.json in any spelling; all that is in it is kept.

    Raises:
        FormatError: not JSON, a key twice, no list of manifests, an entry that is no descriptor.
    """
    value = canonical.decode_lenient(data, what="index.json")
    if not isinstance(value, dict) or value.get("schemaVersion") != _SCHEMA_VERSION:
        raise FormatError(f"index.json: expected an object with schemaVersion {_SCHEMA_VERSION}")
    if value.get("mediaType", OCI_INDEX) != OCI_INDEX:
        raise FormatError(f"index.json: expected mediaType {OCI_INDEX}")
    entries = value.get("manifests")
    if not isinstance(entries, list):
        raise FormatError("index.json: expected a list of manifests")
    for number, entry in enumerate(entries):
        _check_descriptor(entry, f"index.json: /manifests/{number}")
    return value


def name_of(entry: dict[str, Any]) -> str | None:
    """The ref name of an index entry, or None."""
    name = entry.get("annotations", {}).get(REF_NAME)
    return name if isinstance(name, str) else None


def link_of(entry: dict[str, Any]) -> Link | None:
    """What an index entry names; None under another digest than SHA-256."""
    if not _SHA256.fullmatch(entry["digest"]):
        return None
    return Link(
        digest=Digest(entry["digest"]), size=entry["size"], media_type=entry.get("mediaType", "")
    )


def node(data: bytes, *, what: str) -> Node:
    """Read what a manifest or index names. Raises FormatError when it is neither."""
    value = canonical.decode_lenient(data, what=what)
    if not isinstance(value, dict) or value.get("schemaVersion") != _SCHEMA_VERSION:
        raise FormatError(f"{what}: expected a manifest with schemaVersion {_SCHEMA_VERSION}")
    named = [("/config", value["config"])] if "config" in value else []
    for key in ("layers", "blobs", "manifests"):
        items = value.get(key, [])
        if not isinstance(items, list):
            raise FormatError(f"{what}: /{key}: expected a list")
        named += [(f"/{key}/{number}", item) for number, item in enumerate(items)]
    for pointer, item in named:
        _check_descriptor(item, f"{what}: {pointer}")
    links = (link_of(item) for _, item in named)
    return Node(
        links=tuple(link for link in links if link),
        subject=_subject(value.get("subject"), what),
        artifact_type=_text(value.get("artifactType", ""), f"{what}: /artifactType"),
        media_type=_text(value.get("mediaType", ""), f"{what}: /mediaType"),
    )


def _subject(value: Any, what: str) -> Digest | None:
    if value is None:
        return None
    _check_descriptor(value, f"{what}: /subject")
    link = link_of(value)
    return link.digest if link else None


def _check_descriptor(value: Any, where: str) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("digest"), str):
        raise FormatError(f"{where}: expected a descriptor with a digest")
    digest, size = value["digest"], value.get("size")
    if not _SHA256.fullmatch(digest) and not _OTHER_ALGORITHM.fullmatch(digest):
        raise FormatError(
            f"{where}: expected a digest like sha256:<64 hex>, found {digest[:100]!r}"
        )
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise FormatError(f"{where}: expected a size in bytes, found {size!r}")
    if not isinstance(value.get("annotations", {}), dict):
        raise FormatError(f"{where}: expected annotations, an object of strings")
    _text(value.get("mediaType", ""), f"{where}/mediaType")


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise FormatError(f"{where}: expected a string")
    return value
