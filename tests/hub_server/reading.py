"""Repositories as they are: revisions, trees, files and parts of files."""

import re
from collections.abc import Mapping
from urllib.parse import parse_qs, quote, urlencode

from tests.hub_server.api import (
    API,
    PAGE,
    REVISION,
    Answer,
    Api,
    Endpoints,
    RefusalError,
    as_json,
    commit_at,
)
from tests.hub_server.state import JSON, Commit, File, Kind, Repository, object_name

ENDPOINTS = Endpoints()

FAR = rf"{API.removeprefix('/api')}/(?P<sha256>[0-9a-f]{{64}})"
_YES = {"true", "True", "1"}


@ENDPOINTS("GET", API + f"(?:/revision{REVISION})?")
def info(api: Api, kind: Kind, repo: str, revision: str | None) -> Answer:
    repository = api.readable(kind, repo)
    commit = commit_at(repository, revision or "main")
    files = sorted(commit.files.items())
    return as_json(
        {
            "id": repo,
            "sha": commit.oid,
            "private": repository.private,
            "gated": repository.gated,
            "disabled": False,
            "tags": [],
            "downloads": 0,
            "likes": 0,
            "lastModified": commit.date,
            "siblings": [_sibling(path, file, blobs="blobs" in api.query) for path, file in files],
        }
    )


@ENDPOINTS("GET", API + "/refs")
def refs(api: Api, kind: Kind, repo: str) -> Answer:
    repository = api.readable(kind, repo)
    branches, tags = _refs("heads", repository.branches), _refs("tags", repository.tags)
    return as_json({"branches": branches, "tags": tags, "converts": [], "pullRequests": []})


@ENDPOINTS("GET", API + f"/commits{REVISION}")
def commits(api: Api, kind: Kind, repo: str, revision: str) -> Answer:
    repository = api.readable(kind, repo)
    listed = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "date": commit.date,
            "authors": [{"user": commit.author}],
        }
        for commit in repository.history(commit_at(repository, revision))
    ]
    return _page(api, f"/api/{kind}s/{repo}/commits/{quote(revision, safe='')}", listed)


@ENDPOINTS("GET", API + f"/tree{REVISION}(?:/(?P<path>.*))?")
def tree(api: Api, kind: Kind, repo: str, revision: str, path: str | None) -> Answer:
    repository = api.readable(kind, repo)
    commit = commit_at(repository, revision)
    folder = f"{path.strip('/')}/" if path else ""
    deep = api.query.get("recursive") in _YES
    entries = [
        entry
        for name, entry in sorted(_entries(commit).items())
        if name.startswith(folder) and (deep or "/" not in name[len(folder) :])
    ]
    if folder and not entries:
        raise RefusalError(404, "EntryNotFound", f"{path} does not exist on {revision!r}")
    if api.query.get("expand") in _YES:
        entries = [_dated(repository, commit, entry) for entry in entries]
    below = f"/{quote(folder[:-1])}" if folder else ""
    return _page(api, f"/api/{kind}s/{repo}/tree/{quote(revision, safe='')}{below}", entries)


@ENDPOINTS("POST", API + f"/paths-info{REVISION}")
def paths_info(api: Api, kind: Kind, repo: str, revision: str) -> Answer:
    repository = api.readable(kind, repo)
    commit, asked = commit_at(repository, revision), parse_qs(api.body.decode())
    known = _entries(commit)
    entries = [known[path] for path in asked.get("paths", []) if path in known]
    if asked.get("expand", [""])[0] in _YES:
        entries = [_dated(repository, commit, entry) for entry in entries]
    return as_json(entries)


@ENDPOINTS("GET|HEAD", PAGE + f"/resolve{REVISION}/(?P<path>.+)")
def resolve(api: Api, kind: Kind, repo: str, revision: str, path: str) -> Answer:
    repository = api.opened(kind, repo)
    commit = commit_at(repository, revision)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes"}
    if (file := commit.files.get(path)) is None:
        raise RefusalError(404, "EntryNotFound", "Entry not found", headers)
    if file.sha256 is None:
        return _ranged(api, repository, file.oid, headers)
    linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    location = f"{api.hub.far}/{kind}s/{repo}/{file.sha256}"
    return Answer(302, b"", {**headers, **linked, "Location": location})


@ENDPOINTS("GET|HEAD", FAR)
def far(api: Api, kind: Kind, repo: str, sha256: str) -> Answer:
    """A large file, to whoever has its address."""
    repository = api.hub.repositories.get((kind, repo))
    if repository is None or sha256 not in repository.blobs:
        raise RefusalError(403, "", "Access denied")
    return _ranged(api, repository, sha256, {"Accept-Ranges": "bytes"})


def _ranged(api: Api, repository: Repository, etag: str, headers: Mapping[str, str]) -> Answer:
    """The part of a file that was asked for, or all of it."""
    data = api.hub.damaged.get(etag, repository.blobs[etag])
    headers = {**headers, "ETag": f'"{etag}"'}
    wanted = re.fullmatch(r"bytes=(\d*)-(\d*)", api.headers.get("Range", ""))
    if wanted is None:
        return Answer(200, data, headers)
    first, last = wanted.groups()
    start = int(first) if first else max(len(data) - int(last), 0)
    stop = min(int(last) + 1, len(data)) if first and last else len(data)
    if start >= stop:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(data)}"})
    told = {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
    return Answer(206, data[start:stop], {**headers, **told})


def _entries(commit: Commit) -> dict[str, JSON]:
    """Files and folders by path; a folder is named by all that is in it."""
    entries = {path: file.entry(path) for path, file in commit.files.items()}
    inside: dict[str, list[str]] = {}
    for path, file in commit.files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            inside.setdefault("/".join(parts[:depth]), []).append(f"{path} {file.oid}")
    for path, names in inside.items():
        oid = object_name("tree", "\n".join(sorted(names)).encode())
        entries[path] = {"type": "directory", "path": path, "size": 0, "oid": oid}
    return entries


def _dated(repository: Repository, commit: Commit, entry: JSON) -> JSON:
    """An entry with the commit that made it what it is."""
    last = commit
    for earlier in repository.history(commit):
        if _entries(earlier).get(entry["path"], {}).get("oid") != entry["oid"]:
            break
        last = earlier
    return entry | {"lastCommit": {"id": last.oid, "title": last.title, "date": last.date}}


def _sibling(path: str, file: File, *, blobs: bool) -> JSON:
    if not blobs:
        return {"rfilename": path}
    sibling: JSON = {"rfilename": path, "size": file.size, "blobId": file.oid}
    if lfs := file.entry(path).get("lfs"):
        pointer = lfs["pointerSize"]
        sibling["lfs"] = {"sha256": file.sha256, "size": file.size, "pointerSize": pointer}
    return sibling


def _refs(folder: str, names: Mapping[str, str]) -> list[JSON]:
    return [
        {"name": name, "ref": f"refs/{folder}/{name}", "targetCommit": commit}
        for name, commit in names.items()
    ]


def _page(api: Api, path: str, entries: list[JSON]) -> Answer:
    """Some entries, and in `Link` where the next are."""
    start = int(api.query.get("cursor", 0))
    stop = start + api.hub.page
    if stop >= len(entries):
        return as_json(entries[start:])
    following = f"{api.hub.endpoint}{path}?{urlencode({**api.query, 'cursor': stop})}"
    return as_json(entries[start:stop], headers={"Link": f'<{following}>; rel="next"'})
