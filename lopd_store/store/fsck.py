"""Looking for damage: every blob hashed again, every name followed. Never changes anything.

The problems, by kind:

    index-unreadable       index.json is missing, not JSON, not an index, or not a regular file
    ref-name               a name that no ref can have, such as a path
    duplicate-ref          one name on two entries
    blob-missing           an entry or a manifest names a blob that is not there
    size-mismatch          a blob has another size than what names it says
    digest-mismatch        a blob's bytes hash to another digest
    manifest-unreadable    intact bytes that are no manifest, though named as one
    media-type-mismatch    a manifest says it is something else than what names it says
    not-a-regular-file     a link, a pipe, a folder where a file belongs
    unreadable             the system does not let us read it
    stray-file             a file among the blobs that is none
    log-unreadable         a ref's history has a line that is not ours

Not seen, because nothing says otherwise: a ref's name changed into another good name.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from lopd_store.digest import Digest
from lopd_store.errors import (
    FormatError,
    IntegrityError,
    LopdError,
    NotFoundError,
    Problem,
    StoreError,
)
from lopd_store.store import index
from lopd_store.store.blobs import Blobs, where
from lopd_store.store.log import Log
from lopd_store.store.refs import Refs

_MOST_THREADS: Final = 8  # SHA-256 of cached files is bound by cores, of a disk by its queue


def problems(*, refs: Refs, blobs: Blobs, log: Log) -> list[Problem]:
    """Everything wrong in a store, each thing once, in no promised order."""
    try:
        document = refs.read_index()
    except LopdError as error:
        found = [Problem("index-unreadable", "index.json", "an OCI image index", str(error))]
    else:
        found = [*_names(document), *_Walk(refs, blobs).problems(document)]
    known = {problem.where for problem in found if problem.kind != "media-type-mismatch"}
    found += [problem for problem in _rehash(blobs) if problem.where not in known]
    return [*found, *_strays(blobs), *_logs(log)]


class _Walk:
    """Follows the index to every blob it leads to."""

    def __init__(self, refs: Refs, blobs: Blobs) -> None:
        self._refs = refs
        self._blobs = blobs
        self._seen: set[index.Link] = set()

    def problems(self, document: dict[str, Any]) -> Iterator[Problem]:
        todo = []
        for number, entry in enumerate(document["manifests"]):
            if link := index.link_of(entry):
                todo.append((link, f"index.json entry {number}", entry.get("artifactType", "")))
        while todo:
            link, named_by, artifact_type = todo.pop()
            if link in self._seen:
                continue
            self._seen.add(link)
            if found := self._blob(link, named_by):
                yield found
            elif link.media_type in index.MANIFEST_TYPES or (
                named_by.startswith("index.json") and self._refs.is_manifest(link.digest)
            ):
                yield from self._manifest(link, named_by, artifact_type, todo)

    def _blob(self, link: index.Link, named_by: str) -> Problem | None:
        place, expected = where(link.digest), f"{link.size} bytes, named by {named_by}"
        try:
            self._blobs.size(link.digest, expected=link.size)
        except NotFoundError:
            return Problem("blob-missing", place, expected, "no blob")
        except IntegrityError as error:
            (problem,) = error.problems
            return Problem(problem.kind, place, expected, problem.found)
        return None

    def _manifest(
        self,
        link: index.Link,
        named_by: str,
        artifact_type: str,
        todo: list[tuple[index.Link, str, str]],
    ) -> Iterator[Problem]:
        place = where(link.digest)
        try:
            node = self._refs.node(link)
        except FormatError as error:
            yield Problem("manifest-unreadable", place, "a manifest", str(error))
        except (IntegrityError, NotFoundError, StoreError):
            return  # hashing it again says so
        else:
            todo += [(below, f"the manifest {link.digest}", "") for below in node.links]
            for said, is_ in (
                (link.media_type, node.media_type),
                (artifact_type, node.artifact_type),
            ):
                if said and is_ and said != is_:
                    expected = f"{said}, as {named_by} says"
                    yield Problem("media-type-mismatch", place, expected, is_)


def _names(document: dict[str, Any]) -> Iterator[Problem]:
    names = [name for entry in document["manifests"] if (name := index.name_of(entry)) is not None]
    for name in sorted(set(names)):
        if not index.is_name(name):
            yield Problem("ref-name", "index.json", "a ref's name", repr(name[:200]))
        if names.count(name) > 1:
            yield Problem("duplicate-ref", "index.json", f"{name!r} once", f"{names.count(name)}")


def _rehash(blobs: Blobs) -> Iterator[Problem]:
    with ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for problem in pool.map(lambda digest: _hash(blobs, digest), sorted(blobs.all())):
            if problem:
                yield problem


def _hash(blobs: Blobs, digest: Digest) -> Problem | None:
    try:
        blobs.check(digest)
    except IntegrityError as error:
        (problem,) = error.problems
        return Problem(problem.kind, where(digest), problem.expected, problem.found)
    except NotFoundError:
        return None  # gc has taken it since it was listed
    except StoreError as error:
        return Problem("unreadable", where(digest), "a blob", str(error))
    return None


def _strays(blobs: Blobs) -> Iterator[Problem]:
    """Files that are no blobs. Folders of other algorithms are allowed, and not ours to judge."""
    named = {digest.hex for digest in blobs.all()}
    for path in _children(blobs.folder):
        if path.name not in named:
            yield Problem("stray-file", f"blobs/sha256/{path.name}", "only blobs", "another name")
    for path in _children(blobs.folder.parent):
        if not path.is_dir() or path.is_symlink():
            yield Problem("stray-file", f"blobs/{path.name}", "only folders", "a file or a link")


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _logs(log: Log) -> Iterator[Problem]:
    for path in sorted(log.files()):
        try:
            log.read(unquote(path.stem))
        except LopdError as error:
            yield Problem("log-unreadable", f".lopd/log/{path.name}", "a ref's moves", str(error))
