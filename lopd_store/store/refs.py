"""Refs: movable names for artifacts, in index.json; and evidence, listed there without a name.

Every change is read, checked, written anew and renamed into place under one lock, so a reader
needs none. Entries and fields that other tools wrote stay as they are. Digests that are not
listed here, and that nothing listed names, are for gc.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lopd_store import canonical
from lopd_store.digest import Digest
from lopd_store.documents.manifest import Descriptor
from lopd_store.documents.media import REF_NAME
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    NotFoundError,
    Problem,
    RefMovedError,
)
from lopd_store.store import durable, index, regular
from lopd_store.store.blobs import Blobs
from lopd_store.store.locks import exclusive
from lopd_store.store.log import Entry, Log, happened

_PREFIX: Final = re.compile(r"[0-9a-f]{6,64}")


class Refs:
    """The refs and the evidence of one store."""

    def __init__(
        self, path: Path, *, blobs: Blobs, log: Log, lock: Path, tmp: Path, sync: durable.Sync
    ) -> None:
        """See Store: `path` is index.json, `lock` the one under which it changes."""
        self._path = path
        self._blobs = blobs
        self._log = log
        self._lock = lock
        self._tmp = tmp
        self._sync = sync

    def read_index(self) -> dict[str, Any]:
        """The whole index document, other tools' fields and all.

        Raises:
            NotFoundError: no index.json.
            FormatError: not an index, or too large.
            IntegrityError: a link, a pipe or a device.
        """
        try:
            data = regular.read(self._path, limit=canonical.MAX_DOCUMENT_BYTES)
        except FileNotFoundError:
            raise NotFoundError(f"no index.json in {self._path.parent}") from None
        return index.parse(data)

    def write_index(self, document: dict[str, Any]) -> None:
        """Replace the index; only under the lock. Raises StoreError; the index is as it was."""
        data = canonical.encode(document)
        durable.write(self._path, data, tmp=self._tmp, sync=self._sync)

    def get(self, name: str) -> Descriptor | None:
        """Where a ref points, with the annotations of its entry; None when there is no such ref.

        Raises:
            UsageError: not a ref's name.
            FormatError: the name stands in index.json more than once.
        """
        return _only(self.read_index(), index.check_name(name))

    def resolve(self, text: str) -> Digest:
        """The artifact that a person means.

        Args:
            text: a ref, `sha256:<hex>`, or the first 6 or more hex characters of one manifest's
                digest. A ref comes first.

        Raises:
            NotFoundError: nothing has that name, or several have that prefix (then all named).
        """
        if index.is_name(text) and (descriptor := self.get(text)):
            return descriptor.digest
        prefix = text.removeprefix("sha256:")
        if _PREFIX.fullmatch(prefix):
            found = sorted(self._blobs.all(prefix=prefix))
            if prefix == text:
                found = [digest for digest in found if self.is_manifest(digest)]
            if len(found) == 1:
                return found[0]
            if found:
                raise NotFoundError(f"{text!r} is ambiguous: {', '.join(map(str, found))}")
        raise NotFoundError(f"no ref or artifact {text!r} in {self._path.parent}")

    def history(self, name: str) -> list[Entry]:
        """The moves of a ref that happened, oldest first; a removed ref keeps its history.

        Raises:
            UsageError: not a ref's name.
            FormatError: the log has a line that is not ours.
        """
        entries = self._log.read(name)
        descriptor = self.get(name)
        return happened(entries, descriptor.digest if descriptor else None)

    def move(
        self, name: str, descriptor: Descriptor, *, expected: Digest | None, message: str = ""
    ) -> None:
        """Point a ref at an artifact, if it still points where the caller saw it.

        Args:
            name: the ref, made if missing.
            descriptor: the manifest; it and all it names must be in the store. Its annotations
                stand in the ref's entry.
            expected: where the ref points now; None when it must not exist yet.
            message: why, for the log.

        Raises:
            RefMovedError: the ref points elsewhere; nothing has changed.
            UsageError: not a ref's name.
            NotFoundError, IntegrityError: a blob of the artifact is missing or of another size.
            StoreError: the index cannot be written; nothing has changed.
        """
        index.check_name(name)
        annotations = {**descriptor.annotations, REF_NAME: name}
        entry = replace(descriptor, annotations=annotations).to_json()
        with exclusive(self._lock):
            document = self.read_index()
            entry_now = _only(document, name)
            found = entry_now.digest if entry_now else None
            _compare(name, expected=expected, found=found)
            self._require_complete(descriptor)
            _put(document, entry, instead_of=lambda other: index.name_of(other) == name)
            self._publish(document, name, found, descriptor.digest, message)

    def remove(self, name: str, *, expected: Digest | None = None, message: str = "") -> None:
        """Take a ref away; its blobs stay until gc.

        Args:
            name: the ref.
            expected: where it must point now; None when that does not matter.
            message: why, for the log.

        Raises:
            NotFoundError: no such ref.
            RefMovedError: the ref points elsewhere.
            StoreError: the index cannot be written; nothing has changed.
        """
        index.check_name(name)
        with exclusive(self._lock):
            document = self.read_index()
            links = [index.link_of(e) for e in document["manifests"] if index.name_of(e) == name]
            if not links:
                raise NotFoundError(f"no ref {name!r} in {self._path.parent}")
            found = links[0].digest if links[0] else None
            if expected is not None:
                _compare(name, expected=expected, found=found)
            document["manifests"] = [
                entry for entry in document["manifests"] if index.name_of(entry) != name
            ]
            self._publish(document, name, found, None, message)

    def attach(self, descriptor: Descriptor) -> None:
        """List evidence: a manifest with `subject` and `artifactType`, never under a name.

        Raises:
            FormatError: the manifest has no subject or no artifactType.
            NotFoundError, IntegrityError: a blob of it, or its subject, is missing or damaged.
            StoreError: the index cannot be written; nothing has changed.
        """
        with exclusive(self._lock):
            document = self.read_index()
            node = self._require_complete(descriptor)
            if node.subject is None or not node.artifact_type:
                raise FormatError(f"{descriptor.digest}: expected a subject and an artifactType")
            self._blobs.size(node.subject)
            annotations = {k: v for k, v in descriptor.annotations.items() if k != REF_NAME}
            entry = replace(
                descriptor, annotations=annotations, artifact_type=node.artifact_type
            ).to_json()
            _put(document, entry, instead_of=lambda other: _is_unnamed(other, descriptor.digest))
            self.write_index(document)

    def detach(self, digest: Digest) -> None:
        """Take a nameless entry (evidence) out of the index.

        Raises:
            NotFoundError: no nameless entry has that digest.
            StoreError: the index cannot be written; nothing has changed.
        """
        with exclusive(self._lock):
            document = self.read_index()
            kept = [entry for entry in document["manifests"] if not _is_unnamed(entry, digest)]
            if len(kept) == len(document["manifests"]):
                raise NotFoundError(f"no evidence {digest} in {self._path.parent}")
            document["manifests"] = kept
            self.write_index(document)

    def evidence(self, subject: Digest, artifact_type: str | None = None) -> list[Descriptor]:
        """The evidence about an artifact, in the order of the index, of one type or of all.

        Raises:
            NotFoundError, IntegrityError: a listed manifest without name is missing or damaged.
        """
        found = []
        for entry in self.read_index()["manifests"]:
            link = index.link_of(entry)
            if link is None or index.name_of(entry) or link.media_type not in index.MANIFEST_TYPES:
                continue
            node = self.node(link)
            if node.subject == subject and artifact_type in (None, node.artifact_type):
                found.append(Descriptor.from_json(entry))
        return found

    def node(self, link: index.Link) -> index.Node:
        """What a manifest names. Raises NotFoundError, IntegrityError and FormatError."""
        data = self._blobs.get(link.digest, size=link.size)
        return index.node(data, what=str(link.digest))

    def is_manifest(self, digest: Digest) -> bool:
        """Whether a blob is there, intact, and reads as a manifest or an index."""
        try:
            index.node(self._blobs.get(digest), what=str(digest))
        except (FormatError, IntegrityError, NotFoundError):
            return False
        return True

    def _require_complete(self, descriptor: Descriptor) -> index.Node:
        data = self._blobs.get(descriptor.digest, size=descriptor.size)
        node = index.node(data, what=str(descriptor.digest))
        for link in node.links:
            self._blobs.size(link.digest, expected=link.size)
        return node

    def _publish(
        self,
        document: dict[str, Any],
        name: str,
        before: Digest | None,
        after: Digest | None,
        message: str,
    ) -> None:
        if before == after:
            self.write_index(document)
            return
        with self._log.appended(name, before=before, after=after, message=message):
            self.write_index(document)

    def list(self) -> dict[str, Descriptor]:
        """All refs, by name in order. Entries of other tools whose names no ref has are left out.

        Raises:
            FormatError: a name stands in index.json more than once.
        """
        found: dict[str, Descriptor] = {}
        for entry in self.read_index()["manifests"]:
            name = index.name_of(entry)
            if name is None or not index.is_name(name) or index.link_of(entry) is None:
                continue
            if name in found:
                raise FormatError(f"index.json: expected the ref {name!r} once, found it again")
            found[name] = Descriptor.from_json(entry)
        return dict(sorted(found.items()))


def _only(document: dict[str, Any], name: str) -> Descriptor | None:
    entries = [entry for entry in document["manifests"] if index.name_of(entry) == name]
    if len(entries) > 1:
        raise FormatError(f"index.json: expected the ref {name!r} once, found {len(entries)} times")
    return Descriptor.from_json(entries[0]) if entries else None


def _compare(name: str, *, expected: Digest | None, found: Digest | None) -> None:
    if expected != found:
        problem = Problem("ref-moved", name, str(expected or "no ref"), str(found or "no ref"))
        raise RefMovedError(str(problem), problems=(problem,))


def _put(
    document: dict[str, Any], entry: dict[str, Any], *, instead_of: Callable[[dict[str, Any]], bool]
) -> None:
    entries = document["manifests"]
    places = [number for number, other in enumerate(entries) if instead_of(other)]
    if places:
        entries[places[0]] = entry
    else:
        entries.append(entry)


def _is_unnamed(entry: dict[str, Any], digest: Digest) -> bool:
    return index.name_of(entry) is None and entry["digest"] == str(digest)
