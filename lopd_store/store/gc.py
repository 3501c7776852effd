"""Removing what nothing refers to: mark from refs, evidence and builds, then sweep by age.

Kept are: what a ref or another tool's entry names, whole; evidence whose subject stays; what a
build holds; and what is younger than the grace, for writers that have not named it yet. When a
manifest cannot be read, nothing is removed: what it names would be lost.
"""

import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, NotFoundError
from lopd_store.store import durable, index, regular
from lopd_store.store.blobs import Blobs
from lopd_store.store.refs import Refs

DAY: Final = 24 * 60 * 60  # seconds: longer than a writer needs between its blobs and its ref
DECODED_SECONDS: Final = 30 * DAY  # decoded rows that nobody has opened for so long go
_LONGEST_HOLDS: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GcReport:
    """What gc removed, or would remove.

    Attributes:
        removed: the blobs, sorted.
        removed_bytes: their size.
        kept: how many blobs stay.
        young: how many of these stay only for their age.
        evidence: manifests taken out of the index because their subject goes, sorted.
        temporary: how many files and folders in `.lopd/tmp` that crashes had left.
        temporary_bytes: their size.
        decoded: how many artifacts' decoded rows, which loading makes anew.
        decoded_bytes: their size.
        dry_run: whether all of it is still there.
    """

    removed: tuple[Digest, ...]
    removed_bytes: int
    kept: int
    young: int
    evidence: tuple[Digest, ...]
    temporary: int
    temporary_bytes: int
    decoded: int
    decoded_bytes: int
    dry_run: bool


class Collector:
    """One run of gc. The caller holds the index lock, unless it is a dry run."""

    def __init__(
        self,
        *,
        refs: Refs,
        blobs: Blobs,
        builds: Path,
        tmp: Path,
        decoded: Path,
        grace_seconds: float,
        decoded_seconds: float,
    ) -> None:
        """See Store for the parts and `Store.gc` for the times."""
        self._refs = refs
        self._blobs = blobs
        self._builds = builds
        self._tmp = tmp
        self._decoded = decoded
        self._cut = time.time() - grace_seconds
        self._decoded_cut = time.time() - decoded_seconds
        self._sizes: dict[Digest, int] = {}
        self._young: set[Digest] = set()
        self._live: set[Digest] = set()
        self._named: set[Digest] = set()
        self._followed: set[index.Link] = set()

    def run(self, *, dry_run: bool) -> GcReport:
        """Mark and sweep.

        Raises:
            IntegrityError: a manifest that the index names, or a build's `holds`, cannot be read;
                nothing was removed.
            StoreError: something could not be removed.
        """
        document = self._refs.read_index()
        self._survey()
        evidence = self._mark_all(document)
        doomed = self._sizes.keys() - self._live
        leftovers = dict(_leftovers(self._tmp, before=self._cut))
        decoded = dict(_leftovers(self._decoded, before=self._decoded_cut))
        report = GcReport(
            removed=tuple(sorted(doomed)),
            removed_bytes=sum(self._sizes[digest] for digest in doomed),
            kept=len(self._sizes) - len(doomed),
            young=len(self._sizes) - len(doomed) - len(self._named),
            evidence=tuple(sorted(evidence)),
            temporary=len(leftovers),
            temporary_bytes=sum(leftovers.values()),
            decoded=len(decoded),
            decoded_bytes=sum(decoded.values()),
            dry_run=dry_run,
        )
        if not dry_run:
            _remove_leftovers([*leftovers, *decoded])
            self._sweep(document, doomed, evidence)
        return report

    def _survey(self) -> None:
        for digest in self._blobs.all():
            found = os.lstat(self._blobs.folder / digest.hex)
            if stat.S_ISREG(found.st_mode):  # fsck reports the others; not ours to remove
                self._sizes[digest] = found.st_size
                if found.st_mtime >= self._cut:
                    self._young.add(digest)

    def _mark_all(self, document: dict[str, Any]) -> set[Digest]:
        """Fill `_live` and `_named`; return the evidence whose subject goes."""
        pending: dict[Digest, Digest] = {}
        for entry in document["manifests"]:
            if link := index.link_of(entry):
                node = self._node_of_entry(link)
                if node and node.subject and index.name_of(entry) is None:
                    pending[link.digest] = node.subject
                else:
                    self._live.add(link.digest)
                    self._mark(node.links if node else ())
        self._mark(self._manifests(_held(self._builds)))
        self._mark_evidence(pending)
        self._named = self._live & self._sizes.keys()
        # A young manifest keeps what it names: an artifact stays whole or goes whole.
        self._mark(self._manifests(self._young))
        self._mark_evidence(pending)
        return set(pending)

    def _node_of_entry(self, link: index.Link) -> index.Node | None:
        """What an entry names, whatever its media type says: one flipped bit must cost nothing."""
        if link.media_type in index.MANIFEST_TYPES or self._refs.is_manifest(link.digest):
            return self._node(link)
        return None

    def _mark_evidence(self, pending: dict[Digest, Digest]) -> None:
        """Mark what is about something marked, or is marked, until there is no more of it."""
        while ready := [e for e, about in pending.items() if {e, about} & self._live]:
            for evidence in ready:
                del pending[evidence]
            self._mark(self._manifests(ready))

    def _mark(self, links: Iterable[index.Link]) -> None:
        todo = list(links)
        while todo:
            link = todo.pop()
            self._live.add(link.digest)
            if link.media_type in index.MANIFEST_TYPES and link not in self._followed:
                self._followed.add(link)
                todo.extend(self._node(link).links)

    def _node(self, link: index.Link) -> index.Node:
        try:
            return self._refs.node(link)
        except (NotFoundError, IntegrityError, FormatError) as error:
            raise IntegrityError(
                f"nothing removed: what {link.digest} names is not known, see `lopd-store fsck` "
                f"({error})"
            ) from error

    def _manifests(self, digests: Iterable[Digest]) -> Iterator[index.Link]:
        """The blobs as links, manifests told from other bytes by reading them."""
        for digest in digests:
            size = self._sizes.get(digest, 0)
            is_manifest = digest in self._sizes and self._refs.is_manifest(digest)
            media_type = index.MANIFEST_TYPES[0] if is_manifest else ""
            yield index.Link(digest=digest, size=size, media_type=media_type)

    def _sweep(
        self, document: dict[str, Any], doomed: Iterable[Digest], evidence: set[Digest]
    ) -> None:
        """Remove the doomed; what evidence names only once the index does not list it any more.

        The rest goes before the index is written: on a full disk that needs the space.
        """
        self._mark(self._manifests(evidence))
        listed = {digest for digest in doomed if digest in self._live}
        self._remove(digest for digest in doomed if digest not in listed)
        if evidence:
            document["manifests"] = [
                entry
                for entry in document["manifests"]
                if index.name_of(entry) or entry["digest"] not in map(str, evidence)
            ]
            self._refs.write_index(document)
            self._remove(listed)

    def _remove(self, digests: Iterable[Digest]) -> None:
        for digest in digests:
            path = self._blobs.folder / digest.hex
            with durable.explained("cannot remove", path):
                path.unlink(missing_ok=True)


def _held(builds: Path) -> Iterator[Digest]:
    """The digests that builds hold. Raises IntegrityError on a file that cannot be read."""
    for path in builds.glob("*/holds"):
        try:
            lines = regular.read(path, limit=_LONGEST_HOLDS).decode("ascii").split("\n")
            # No newline at the end: a crash cut the last line short.
            yield from (Digest(line) for line in lines[:-1] if line)
        except FileNotFoundError:
            continue  # the build has ended meanwhile
        except (FormatError, UnicodeDecodeError) as error:
            raise IntegrityError(f"nothing removed: {path} cannot be read: {error}") from error


def _leftovers(folder: Path, *, before: float) -> Iterator[tuple[Path, int]]:
    """What stands in a folder and has not changed since `before` (a time), with its bytes."""
    for path in folder.iterdir() if folder.is_dir() else ():
        parts = [path]
        for place, folders, files in os.walk(path) if not path.is_symlink() else ():
            parts += [Path(place, name) for name in (*folders, *files)]
        try:
            found = [os.lstat(part) for part in parts]
        except FileNotFoundError:
            continue  # its writer is at work
        if max(one.st_mtime for one in found) < before:
            yield path, sum(one.st_size for one in found if stat.S_ISREG(one.st_mode))


def _remove_leftovers(paths: Iterable[Path]) -> None:
    for path in paths:
        with durable.explained("cannot remove", path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
