"""A Hub of our own on loopback: what huggingface_hub asks for when it downloads a dataset.

Large files answer as the real one does: a redirect to another host, here 127.0.0.2, with their
SHA-256 in a header. Clients read HF_ENDPOINT when they are imported: run them in processes of
their own, with `environment()`.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = ".parquet"  # what a dataset repository keeps in LFS


@dataclass(kw_only=True)
class Repository:
    """Revisions of a dataset: a branch, a tag or a commit → the files there by path."""

    revisions: dict[str, dict[str, bytes]]
    gated: bool = False

    def commit(self, revision: str) -> str | None:
        """The commit that a revision names: a digest of its files."""
        commits = {name: _commit(files) for name, files in self.revisions.items()}
        known = commits | {commit: commit for commit in commits.values()}
        return known.get(revision)

    def files(self, commit: str) -> dict[str, bytes]:
        return next(files for files in self.revisions.values() if _commit(files) == commit)


@dataclass(kw_only=True)
class Hub:
    """The server's state: change it while it runs.

    Attributes:
        repositories: datasets by `org/name`.
        requests: what was asked, as `GET /path`.
        damaged: SHA-256 in hex → the bytes sent for it instead of its own.
    """

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    damaged: dict[str, bytes] = field(default_factory=dict)
    endpoint: str = ""
    far: str = ""

    def environment(self, cache: Path, **more: str) -> Mapping[str, str]:
        """For a client's process: this Hub, a cache of its own, no other host."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("HF_")},
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(cache),
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # the client would speak another protocol
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_UPDATE_CHECK": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            **more,
        }


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The Hub and its far host, until the block ends."""
    near, far = _server(hub, "127.0.0.1"), _server(hub, "127.0.0.2")
    hub.endpoint, hub.far = (f"http://{s.server_address[0]!s}:{s.server_port}" for s in (near, far))
    threads = [
        threading.Thread(target=server.serve_forever, args=(0.02,)) for server in (near, far)
    ]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server, thread in zip((near, far), threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _server(hub: Hub, host: str) -> ThreadingHTTPServer:
    class Handler(_Handler):
        state = hub

    return ThreadingHTTPServer((host, 0), Handler)


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        """Say nothing: `requests` has it all."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.state.requests.append(f"{self.command} {path}")
        match path.strip("/").split("/"):
            case ["large", digest]:
                self._send(200, self._large(digest))
            case ["api", "datasets", org, name, "revision", revision]:
                self._info(f"{org}/{name}", revision)
            case ["api", "datasets", org, name]:
                self._info(f"{org}/{name}", "main")
            case ["api", "datasets", org, name, "tree", revision]:
                self._tree(f"{org}/{name}", revision)
            case ["datasets", org, name, "resolve", revision, *rest]:
                self._file(f"{org}/{name}", revision, "/".join(rest))
            case _:
                self._refuse(404, "EntryNotFound")

    def _found(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        repository = self.state.repositories.get(repo)
        if repository is None:
            self._refuse(404, "RepoNotFound")
        elif (commit := repository.commit(revision)) is None:
            self._refuse(404, "RevisionNotFound")
        else:
            return commit, repository.files(commit)
        return None

    def _info(self, repo: str, revision: str) -> None:
        if found := self._found(repo, revision):
            siblings = [{"rfilename": path} for path in found[1]]
            self._json({"id": repo, "sha": found[0], "siblings": siblings, "tags": []})

    def _tree(self, repo: str, revision: str) -> None:
        if found := self._found(repo, revision):
            self._json([_entry(path, data) for path, data in found[1].items()])

    def _file(self, repo: str, revision: str, path: str) -> None:
        if not (found := self._found(repo, revision)):
            return
        commit, files = found
        if self.state.repositories[repo].gated:
            self._refuse(403, "GatedRepo")
        elif path not in files:
            self._refuse(404, "EntryNotFound")
        elif path.endswith(LARGE):
            digest = hashlib.sha256(files[path]).hexdigest()
            headers = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(files[path]))}
            far = f"{self.state.far}/large/{digest}"
            self._send(302, b"", {"X-Repo-Commit": commit, "Location": far, **headers})
        else:
            self._send(
                200, files[path], {"X-Repo-Commit": commit, "ETag": f'"{_oid(files[path])}"'}
            )

    def _large(self, digest: str) -> bytes:
        if digest in self.state.damaged:
            return self.state.damaged[digest]
        files = [
            data
            for repository in self.state.repositories.values()
            for revision in repository.revisions.values()
            for data in revision.values()
        ]
        return next(data for data in files if hashlib.sha256(data).hexdigest() == digest)

    def _json(self, answer: object) -> None:
        self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, data: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)


def _commit(files: Mapping[str, bytes]) -> str:
    listing = json.dumps(sorted((path, _oid(data)) for path, data in files.items()))
    return hashlib.sha1(listing.encode(), usedforsecurity=False).hexdigest()


def _oid(data: bytes) -> str:
    """The name that git gives a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
    if path.endswith(LARGE):
        digest = hashlib.sha256(data).hexdigest()
        entry["lfs"] = {"oid": digest, "size": len(data), "pointerSize": 134}
    return entry
