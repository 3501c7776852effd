"""What the test Hub holds: users, repositories with a history, what goes wrong, what was asked."""

import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

Kind = Literal["dataset", "model"]
JSON = dict[str, Any]

TOKEN = "hf_somebodyWhoMayWriteToOrg"  # noqa: S105 - of this Hub only
READER = "hf_somebodyWhoMayOnlyRead"
LARGE = (".parquet", ".safetensors", ".zst", ".gz", ".bin", ".arrow", ".png")  # what goes to LFS


@dataclass(frozen=True)
class User:
    """Who a token belongs to: they own what is under their name and their organizations'."""

    name: str
    role: Literal["read", "write"] = "write"
    orgs: tuple[str, ...] = ()

    def owns(self, repo: str) -> bool:
        return repo.partition("/")[0] in {self.name, *self.orgs}


@dataclass(frozen=True)
class File:
    """A file of a commit; `oid` is Git's SHA-1 of its bytes, or of the pointer to a large one."""

    size: int
    oid: str
    sha256: str | None

    @classmethod
    def of(cls, data: bytes, *, large: bool) -> "File":
        if not large:
            return cls(len(data), object_name("blob", data), None)
        sha256 = digest_of(data)
        return cls(len(data), object_name("blob", _pointer(sha256, len(data))), sha256)

    @property
    def etag(self) -> str:
        """The name by which the bytes are kept, damaged and sent."""
        return self.sha256 or self.oid

    def entry(self, path: str) -> JSON:
        entry: JSON = {"type": "file", "path": path, "size": self.size, "oid": self.oid}
        if self.sha256:
            pointer = len(_pointer(self.sha256, self.size))
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": pointer}
        return entry


@dataclass(frozen=True)
class Commit:
    """A state of all files, and the one before it."""

    oid: str
    parent: str | None
    files: Mapping[str, File]
    title: str
    message: str
    author: str
    date: str


@dataclass(kw_only=True)
class Repository:
    """Commits, and the branches and tags that name them; assign to those to rewind or move them.

    Attributes:
        gated: whether files are only for the owners and `admitted` users.
        blobs: bytes by ETag: of files of commits, and of large ones not committed yet.
        parts: SHA-256 → the parts of a large file that came so far, from 1.
        lies: revision → the commit answered for it instead.
    """

    kind: Kind
    name: str
    private: bool = False
    gated: bool | str = False
    admitted: set[str] = field(default_factory=set)
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit | None:
        """The commit that a branch, a tag or a commit's own name stands for."""
        revision = self.lies.get(revision, revision)
        named = self.branches.get(revision) or self.tags.get(revision) or revision
        return self.commits.get(self.lies.get(named, named))

    def keep(self, data: bytes, *, large: bool = False) -> File:
        file = File.of(data, large=large)
        self.blobs[file.etag] = data
        return file

    def commit(
        self, files: Mapping[str, File], title: str, message: str, author: str, branch: str
    ) -> str:
        """Make these files the head of the branch."""
        parent = self.branches.get(branch)
        date = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.commits))
        stamp = f"{date:%Y-%m-%dT%H:%M:%S}.000Z"
        listing = sorted((path, file.oid) for path, file in files.items())
        oid = object_name(
            "commit", json.dumps([parent, listing, title, message, author, stamp]).encode()
        )
        self.commits[oid] = Commit(oid, parent, dict(files), title, message, author, stamp)
        self.branches[branch] = oid
        return oid

    def history(self, commit: Commit) -> Iterator[Commit]:
        """A commit and those before it."""
        yield commit
        while commit.parent:
            commit = self.commits[commit.parent]
            yield commit


@dataclass(kw_only=True)
class Fault:
    """What goes wrong with some requests.

    Attributes:
        match: a pattern found in `METHOD /path`.
        after: how many that match go well first.
        times: how many go wrong then; None for all.
        status: answered instead of what was asked, which is not done.
        message: told with the status, in X-Error-Message.
        body: sent instead of what is answered.
        headers: answered over our own: `ETag`, `Retry-After`, `X-Linked-Etag`, …
        cut: the connection ends after so many bytes of the body, received if there is one to
            receive, sent otherwise.
        flip: the place of a byte of this answer's body whose lowest bit is flipped; `Hub.damage`
            changes a file for all requests.
        lost: what was asked is done, and the connection ends without an answer.
        pause: seconds before each chunk of 64 KiB received or sent.
    """

    match: str
    after: int = 0
    times: int | None = 1
    status: int | None = None
    message: str = "injected"
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None
    flip: int | None = None
    lost: bool = False
    pause: float = 0.0
    seen: int = 0

    def strikes(self, line: str) -> bool:
        if not re.search(self.match, line):
            return False
        self.seen += 1
        return self.after < self.seen <= self.after + (self.times or self.seen)


@dataclass
class Request:
    """One line of the log: `GET /path`, bytes of its body and of the answer's, as they went."""

    method: str
    path: str
    authorized: bool
    received: int = 0
    sent: int = 0
    status: int | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass(kw_only=True)
class Hub:
    """The server's state: change it while it runs.

    Attributes:
        users: by token.
        repositories: by kind and `org/name`.
        requests: what was asked, in order.
        faults: what goes wrong; all that strike a request do.
        damaged: ETag → the bytes sent for that file instead of its own.
        quotas: namespace → bytes of large files that it may hold.
        limit: bytes that one file may have.
        part: bytes above which a large file is sent in parts of that size.
        page: entries of a listing in one answer.
    """

    users: dict[str, User] = field(
        default_factory=lambda: {
            TOKEN: User("somebody", orgs=("org",)),
            READER: User("reader", role="read", orgs=("org",)),
        }
    )
    repositories: dict[tuple[Kind, str], Repository] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    damaged: dict[str, bytes] = field(default_factory=dict)
    quotas: dict[str, int] = field(default_factory=dict)
    limit: int = 50_000_000_000
    part: int = 5 << 20
    page: int = 1000
    endpoint: str = ""
    far: str = ""
    lock: threading.RLock = field(default_factory=threading.RLock)
    broken: list[BaseException] = field(default_factory=list)

    def repository(self, name: str, kind: Kind = "dataset") -> Repository:
        return self.repositories[kind, name]

    def create(self, name: str, kind: Kind = "dataset", **settings: Any) -> Repository:
        """A repository with the first commit that the Hub makes."""
        repository = Repository(kind=kind, name=name, **settings)
        lines = "".join(f"*{suffix} filter=lfs diff=lfs merge=lfs -text\n" for suffix in LARGE)
        first = {".gitattributes": repository.keep(lines.encode())}
        repository.commit(first, "initial commit", "", "system", "main")
        return self.repositories.setdefault((kind, name), repository)

    def commit(
        self,
        name: str,
        changes: Mapping[str, bytes | None],
        *,
        kind: Kind = "dataset",
        branch: str = "main",
        message: str = "A commit",
    ) -> str:
        """Add files, or remove those that are None; a new branch begins at main's head."""
        with self.lock:
            repository = self.repositories.get((kind, name)) or self.create(name, kind)
            head = repository.branches.setdefault(branch, repository.branches["main"])
            files = dict(repository.commits[head].files)
            for path, data in changes.items():
                files.pop(path, None)
                if data is not None:
                    files[path] = repository.keep(data, large=is_large(path, data[:512], len(data)))
            return repository.commit(files, message, "", "somebody", branch)

    def tag(self, name: str, tag: str, revision: str = "main", kind: Kind = "dataset") -> str:
        """Point a tag, new or not, at the commit of a revision."""
        repository = self.repository(name, kind)
        repository.tags[tag] = self.revision(name, revision, kind)
        return repository.tags[tag]

    def revision(self, name: str, revision: str = "main", kind: Kind = "dataset") -> str:
        """The commit that a revision names."""
        commit = self.repository(name, kind).resolve(revision)
        assert commit, f"no {revision} in {name}"
        return commit.oid

    def files(self, name: str, revision: str = "main", kind: Kind = "dataset") -> dict[str, bytes]:
        """All files at a revision, as they were committed."""
        repository = self.repository(name, kind)
        commit = repository.commits[self.revision(name, revision, kind)]
        return {path: repository.blobs[file.etag] for path, file in commit.files.items()}

    def damage(
        self, name: str, path: str, data: bytes | None = None, revision: str = "main"
    ) -> None:
        """Send these bytes for a file from now on; None: its own, one bit in the middle flipped."""
        own = self.files(name, revision)[path]
        if data is None:
            middle = len(own) // 2
            data = own[:middle] + bytes([own[middle] ^ 1]) + own[middle + 1 :]
        commit = self.repository(name).commits[self.revision(name, revision)]
        self.damaged[commit.files[path].etag] = data

    def held(self, namespace: str) -> int:
        """Bytes of the large files of all repositories of a user or an organization."""
        return sum(
            len(data)
            for (_, name), repository in self.repositories.items()
            for etag, data in repository.blobs.items()
            if name.startswith(f"{namespace}/") and len(etag) == len(digest_of(b""))
        )

    def asked(self, pattern: str) -> list[Request]:
        """The requests in whose `METHOD /path` the pattern is found."""
        return [request for request in self.requests if re.search(pattern, str(request))]

    def environment(
        self, cache: Path, *, token: str | None = None, **more: str
    ) -> Mapping[str, str]:
        """For a client's process: this Hub, a cache of its own, no other host."""
        hidden = ("HF_", "LOPD_TEST_HUB_")  # tokens of the real one
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(hidden)},
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # the client would speak another protocol
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **({"HF_TOKEN": token} if token else {}),
            **more,
        }


def is_large(path: str, sample: bytes, size: int) -> bool:
    """Whether a file goes to LFS: by its name, as binary, or above 10 MB."""
    return path.endswith(LARGE) or size > 10_000_000 or b"\0" in sample


def digest_of(data: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


def object_name(kind: str, data: bytes) -> str:
    """The name that Git gives an object."""
    return hashlib.sha1(f"{kind} {len(data)}\0".encode() + data, usedforsecurity=False).hexdigest()


def _pointer(sha256: str, size: int) -> bytes:
    """What Git holds of a large file."""
    return (
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    )
