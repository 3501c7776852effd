"""A repository on the Hub at one commit: which files it has, and small ones read whole."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from lopd_store.digest import Digest
from lopd_store.errors import FormatError, IntegrityError, LopdError, NotFoundError, Problem
from lopd_store.hub.asking import ask, entries
from lopd_store.hub.explaining import What, reading
from lopd_store.hub.names import is_commit

MAX_FILES: Final = 100_000  # what the Hub allows in a repository
_MAX_ENTRIES: Final = 2 * MAX_FILES  # with folders
_MAX_COMMITS: Final = 100_000
_MAX_BYTES: Final = 1 << 50  # of a file
_MAX_TOLD: Final = 20  # versions named in a message
_GIT_OID: Final = re.compile(r"[0-9a-f]{40}")
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
            IntegrityError: another commit than the one that `revision` names.
            FormatError: an answer that is none, or that lists more than a repository may have.
        """
        name = f"{repo}@{revision}" if revision else repo
        commit = _commit(repo, revision, what)
        if revision and is_commit(revision) and commit != revision:
            problem = Problem("other-commit", name, revision, commit)
            raise IntegrityError(str(problem), problems=[problem])
        with reading(name, repo, what):
            files = _listing(repo, commit, what)
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
        found = ask(f"{_path(repo, what)}/refs")
        return RemoteRefs(branches=_commits(found["branches"]), tags=_commits(found["tags"]))


def history(repo: str, commit: str, *, what: What = "dataset") -> Iterator[str]:
    """A commit and those it came from, newest first; asked for as they are taken.

    Raises as `Snapshot.open` does.
    """
    with reading(f"{repo}@{commit}", repo, what):
        path = f"{_path(repo, what)}/commits/{quote(commit, safe='')}"
        for found in entries(path, most=_MAX_COMMITS):
            yield _as_commit(found["id"])


def _path(repo: str, what: What) -> str:
    """Where the Hub tells of a repository. Raises the client's error for no name of one."""
    from huggingface_hub.utils import validate_repo_id

    validate_repo_id(repo)
    return f"{what}s/{repo}"


def _commit(repo: str, revision: str | None, what: What) -> str:
    """What a revision is now. Raises as `Snapshot.open` does."""
    from huggingface_hub.errors import RevisionNotFoundError

    name = f"{repo}@{revision}" if revision else repo
    try:
        with reading(name, repo, what):
            at = f"/revision/{quote(revision, safe='')}" if revision else ""
            return _as_commit(ask(_path(repo, what) + at)["sha"])
    except NotFoundError as error:
        if not isinstance(error.__cause__, RevisionNotFoundError):
            raise
        try:
            tags = list(refs(repo, what=what).tags)
        except LopdError:
            raise error from error.__cause__
        versions = ", ".join(tags[-_MAX_TOLD:]) or "none"
        more = f" and {len(tags) - _MAX_TOLD} more" if len(tags) > _MAX_TOLD else ""
        raise NotFoundError(f"{error}; its versions: {versions}{more}") from error.__cause__


def _commits(listed: Any) -> dict[str, str]:
    return {str(one["name"]): _as_commit(one["targetCommit"]) for one in listed}


def _as_commit(found: Any) -> str:
    if not isinstance(found, str) or not is_commit(found):
        raise FormatError(f"expected a commit of 40 hex characters, found {found!r:.80}")
    return found


def _listing(repo: str, commit: str, what: What) -> dict[str, RemoteFile]:
    """The files of a commit."""
    files: dict[str, RemoteFile] = {}
    tree = f"{_path(repo, what)}/tree/{commit}?recursive=true&expand=false"
    for entry in entries(tree, most=_MAX_ENTRIES):
        if entry["type"] != "file":
            continue
        file = _as_file(entry)
        if file.path in files:
            raise FormatError(f"{file.path!r:.200}: expected each path once, found it twice")
        files[file.path] = file
        if len(files) > MAX_FILES:
            raise FormatError(f"{repo}: expected at most {MAX_FILES} files, found more")
    return files


def git_oid(data: bytes) -> str:
    """The name that git gives to a file's bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _as_file(entry: Mapping[str, Any]) -> RemoteFile:
    """A file of a listing, once what it says has the right shape. Raises FormatError."""
    path, oid, lfs = entry["path"], entry["oid"], entry.get("lfs")
    if not isinstance(path, str) or not is_inside(path):
        raise FormatError(f"expected a path inside the repository, found {path!r:.200}")
    size = entry["size"] if lfs is None else lfs["size"]
    if type(size) is not int or not 0 <= size <= _MAX_BYTES:
        raise FormatError(f"{path!r:.200}: expected a size in bytes, found {size!r:.80}")
    if not isinstance(oid, str) or not _GIT_OID.fullmatch(oid):
        raise FormatError(f"{path!r:.200}: expected a name of git, found {oid!r:.80}")
    sha256 = None if lfs is None else Digest.from_hex(str(lfs["oid"])[:80])
    return RemoteFile(path=path, size=size, sha256=sha256, git_oid=oid)


def is_inside(path: str) -> bool:
    """Whether a path names something in a folder, not beside or above it."""
    return "\0" not in path and not {"", ".", ".."}.intersection(path.split("/"))
