"""A repository on the Hub at one commit: which files it has, and small ones read whole."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, NotFoundError, Problem
from lopd_store.hub.client import api
from lopd_store.hub.explaining import What, reading
from lopd_store.hub.names import is_commit
from lopd_store.hub.patience import patiently

MAX_FILES: Final = 100_000  # what the Hub allows in a repository
_KEPT_BYTES: Final = 1 << 20  # of a file that is not asked for twice: an index, a card


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """What the Hub says of a file.

    Attributes:
        path: in the repository.
        size: bytes.
        sha256: of a large file (LFS); None for a small one.
        git_oid: git's name of a small file, or of a large one's pointer.
    """

    path: str
    size: int
    sha256: Digest | None
    git_oid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A repository at a commit.

    Attributes:
        repo: `org/name`.
        what: `dataset` or `model`.
        revision: as it was asked for; None for the main branch.
        commit: what that is now: 40 hex characters.
        files: by path.
    """

    repo: str
    what: What
    revision: str | None
    commit: str
    files: Mapping[str, RemoteFile] = field(repr=False)
    _kept: dict[str, bytes] = field(init=False, repr=False, compare=False, default_factory=dict)

    @classmethod
    def open(cls, repo: str, *, revision: str | None = None, what: What = "dataset") -> "Snapshot":
        """Ask the Hub for a commit and its files.

        Raises:
            NotFoundError: no such repository or revision, or one that is not for you.
            HubError: no answer, or a token that the Hub does not know.
            UsageError: not a name that the Hub allows.
            FormatError: an answer that is none.
        """
        name = f"{repo}@{revision}" if revision else repo
        commit = _commit(repo, revision, what)
        with reading(name, repo, what):
            files = patiently(lambda: _listing(repo, commit, what))
        if len(files) > MAX_FILES:
            raise FormatError(f"{name}: expected at most {MAX_FILES} files, found more")
        return cls(repo=repo, what=what, revision=revision, commit=commit, files=files)

    def __str__(self) -> str:
        return f"{self.repo}@{self.revision or 'main'} ({self.commit[:12]})"

    def file(self, path: str) -> RemoteFile:
        """A file by its path. Raises NotFoundError."""
        if path not in self.files:
            raise NotFoundError(f"{self}: expected a file {path}, found none")
        return self.files[path]

    def read(self, path: str, *, limit: int) -> bytes:
        """A small file, whole; it is what the Hub lists, which is the Hub's word only.

        At one commit it stays what it is, so it is asked for once.

        Raises:
            NotFoundError: no such file.
            HubError: no answer.
            FormatError: larger than `limit` bytes.
            IntegrityError: other bytes than the Hub lists.
        """
        file = self.file(path)
        if file.size > limit:
            raise FormatError(f"{self} {path}: expected at most {limit} bytes, found {file.size}")
        if path in self._kept:
            return self._kept[path]
        data = self._fetch(file)
        if file.size <= _KEPT_BYTES:
            self._kept[path] = data
        return data

    def _fetch(self, file: RemoteFile) -> bytes:
        from lopd_store.hub.fetching import fetch_range

        data = fetch_range(self, file.path, start=0, length=file.size) if file.size else b""
        found = str(Digest.of(data)) if file.sha256 else git_oid(data)
        expected = str(file.sha256) if file.sha256 else file.git_oid
        if found != expected:
            problem = Problem("digest-mismatch", f"{self} {file.path}", expected, found)
            raise IntegrityError(str(problem), problems=[problem])
        return data


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteRefs:
    """The names of commits: branch or tag → commit."""

    branches: Mapping[str, str]
    tags: Mapping[str, str]


def refs(repo: str, *, what: What = "dataset") -> RemoteRefs:
    """The branches and tags of a repository. Raises as `Snapshot.open` does."""
    with reading(repo, repo, what):
        found = patiently(lambda: api().list_repo_refs(repo, repo_type=what))
        return RemoteRefs(
            branches={ref.name: ref.target_commit for ref in found.branches},
            tags={ref.name: ref.target_commit for ref in found.tags},
        )


def history(repo: str, commit: str, *, what: What = "dataset") -> list[str]:
    """A commit and those it came from, newest first. Raises as `Snapshot.open` does."""
    with reading(f"{repo}@{commit}", repo, what):
        commits = patiently(lambda: api().list_repo_commits(repo, repo_type=what, revision=commit))
        return [found.commit_id for found in commits]


def _commit(repo: str, revision: str | None, what: What) -> str:
    """What a revision is now. Raises as `Snapshot.open` does."""
    from huggingface_hub.errors import RevisionNotFoundError

    name = f"{repo}@{revision}" if revision else repo
    try:
        with reading(name, repo, what):
            found = patiently(lambda: api().repo_info(repo, repo_type=what, revision=revision).sha)
    except NotFoundError as error:
        if not isinstance(error.__cause__, RevisionNotFoundError):
            raise
        versions = ", ".join(refs(repo, what=what).tags) or "none"
        raise NotFoundError(f"{error}; its versions: {versions}") from error.__cause__
    if not isinstance(found, str) or not is_commit(found):
        raise FormatError(f"{name}: expected a commit of 40 hex characters, found {found!r:.80}")
    return found


def _listing(repo: str, commit: str, what: What) -> dict[str, RemoteFile]:
    """The files of a commit; of more than a repository may have, one more."""
    tree = api().list_repo_tree(repo, repo_type=what, revision=commit, recursive=True)
    return {file.path: file for file in islice(_files(tree), MAX_FILES + 1)}


def git_oid(data: bytes) -> str:
    """The name that git gives to a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _files(tree: Any) -> Iterator[RemoteFile]:
    """The files of a listing, once what it says has the right shape."""
    from huggingface_hub import RepoFile

    for entry in tree:
        if isinstance(entry, RepoFile):
            size = entry.lfs.size if entry.lfs else entry.size
            if not isinstance(size, int) or size < 0:
                raise FormatError(f"{entry.path!r}: expected a size in bytes, found {size!r}")
            yield RemoteFile(
                path=str(entry.path),
                size=size,
                sha256=Digest.from_hex(str(entry.lfs.sha256)) if entry.lfs else None,
                git_oid=str(entry.blob_id),
            )
