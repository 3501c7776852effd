"""Repositories as they change: large files, commits, tags and branches."""

import base64
import json

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
from tests.hub_server.reading import FAR
from tests.hub_server.state import JSON, File, Kind, Repository, digest_of, is_large

ENDPOINTS = Endpoints()

STALE = "A commit has happened since. Please refresh and try again."
FULL = (
    "Private repository storage limit reached, please upgrade your plan to increase your private"
    " storage limit."
)


@ENDPOINTS("POST", API + f"/preupload{REVISION}")
def preupload(api: Api, kind: Kind, repo: str, revision: str) -> Answer:
    """How each file is to come, and what is at its path now."""
    files = commit_at(api.writable(kind, repo), revision).files
    return as_json(
        {
            "files": [
                {
                    "path": asked["path"],
                    "uploadMode": "lfs" if _is_large(asked) else "regular",
                    "shouldIgnore": False,
                    "oid": files[asked["path"]].etag if asked["path"] in files else None,
                }
                for asked in json.loads(api.body)["files"]
            ]
        }
    )


@ENDPOINTS("POST", PAGE + r"\.git/info/lfs/objects/batch")
def batch(api: Api, kind: Kind, repo: str) -> Answer:
    """Where large files are to be sent; one without actions is here already."""
    repository, asked = api.writable(kind, repo), json.loads(api.body)
    new = [each for each in asked["objects"] if each["oid"] not in repository.blobs]
    namespace = repo.partition("/")[0]
    coming = sum(each["size"] for each in new)
    if coming + api.hub.held(namespace) > api.hub.quotas.get(namespace, coming + (1 << 62)):
        raise RefusalError(403, "", FULL)
    parted = any(each["size"] > api.hub.part for each in new)
    return as_json(
        {
            "transfer": "multipart" if parted else "basic",
            "objects": [
                each | (_told(api, repository, each) if each in new else {})
                for each in asked["objects"]
            ],
        }
    )


def _told(api: Api, repository: Repository, asked: JSON) -> JSON:
    """Addresses on the far host that ask for no token, as presigned ones do not; or why none."""
    kind, name, oid, size = repository.kind, repository.name, asked["oid"], asked["size"]
    if size > api.hub.limit:
        told = f"File is too large: expected at most {api.hub.limit} bytes, found {size}"
        return {"error": {"code": 422, "message": told}}
    page = f"{api.hub.endpoint}/{'' if kind == 'model' else 'datasets/'}{name}"
    href, part = f"{api.hub.far}/{kind}s/{name}/{oid}", api.hub.part
    upload: JSON = {"href": href}
    if size > part:
        parts = range(1, -(-size // part) + 1)
        header = {"chunk_size": str(part)} | {str(n): f"{href}/{n}" for n in parts}
        upload = {"href": f"{api.hub.endpoint}/{kind}s/{name}/{oid}/complete", "header": header}
    verify = {"href": f"{page}.git/info/lfs/verify"}
    return {"actions": {"upload": upload, "verify": verify}}


@ENDPOINTS("PUT", FAR)
def put(api: Api, kind: Kind, repo: str, sha256: str) -> Answer:
    """A large file in one piece."""
    return _keep(api.hub.repository(repo, kind), sha256, api.body)


@ENDPOINTS("PUT", FAR + r"/(?P<number>\d+)")
def put_part(api: Api, kind: Kind, repo: str, sha256: str, number: str) -> Answer:
    """A part of a large file, from 1."""
    parts = api.hub.repository(repo, kind).parts.setdefault(sha256, {})
    parts[int(number)] = api.body
    return Answer(200, headers={"ETag": f'"{digest_of(api.body)}"'})


@ENDPOINTS("POST", FAR + "/complete")
def complete(api: Api, kind: Kind, repo: str, sha256: str) -> Answer:
    """A large file of the parts that came."""
    repository = api.hub.repository(repo, kind)
    parts = repository.parts.get(sha256, {})
    told = {part["partNumber"]: part["etag"] for part in json.loads(api.body)["parts"]}
    if told != {number: f'"{digest_of(data)}"' for number, data in parts.items()}:
        raise RefusalError(400, "", "Invalid parts")
    answer = _keep(repository, sha256, b"".join(parts[number] for number in sorted(parts)))
    del repository.parts[sha256]
    return answer


def _keep(repository: Repository, sha256: str, data: bytes) -> Answer:
    if digest_of(data) != sha256:
        raise RefusalError(400, "", "The SHA-256 of the body is not the one in its address")
    repository.blobs[sha256] = data
    return Answer(200, headers={"ETag": f'"{sha256}"'})


@ENDPOINTS("POST", PAGE + r"\.git/info/lfs/verify")
def verify(api: Api, kind: Kind, repo: str) -> Answer:
    repository, asked = api.writable(kind, repo), json.loads(api.body)
    if len(repository.blobs.get(asked["oid"], b"")) != asked["size"]:
        raise RefusalError(404, "", "Object does not exist on the server")
    return as_json({})


@ENDPOINTS("POST", API + f"/commit{REVISION}")
def commit(api: Api, kind: Kind, repo: str, revision: str) -> Answer:
    """All changes or none, on top of the parent that the client saw."""
    repository = api.writable(kind, repo)
    header, *changes = [json.loads(line) for line in api.body.splitlines() if line]
    head = repository.branches.get(revision)
    if head is None:
        raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    if not head.startswith(header["value"].get("parentCommit", "")):
        raise RefusalError(412, "", STALE)
    files = dict(repository.commits[head].files)
    for change in changes:
        _apply(repository, files, change["key"], change["value"])
    told = header["value"]["summary"], header["value"].get("description", "")
    oid = repository.commit(files, *told, api.known().name, revision)
    page = f"{api.hub.endpoint}/{'' if kind == 'model' else 'datasets/'}{repo}"
    return as_json({"success": True, "commitOid": oid, "commitUrl": f"{page}/commit/{oid}"})


def _apply(repository: Repository, files: dict[str, File], key: str, value: JSON) -> None:
    """One line of a commit."""
    path = value["path"]
    if {"", ".", "..", ".git"} & set(path.rstrip("/").split("/")):
        raise RefusalError(400, "", f"Invalid path: {path}")
    match key:
        case "file":
            files[path] = repository.keep(base64.b64decode(value["content"]))
        case "lfsFile":
            if (data := repository.blobs.get(value["oid"])) is None:
                raise RefusalError(400, "", f"LFS object {value['oid']} of {path} was not uploaded")
            files[path] = File.of(data, large=True)
        case "deletedFile":
            if files.pop(path, None) is None:
                raise RefusalError(404, "EntryNotFound", "A file with this name doesn't exist")
        case "deletedFolder":
            for inside in [name for name in files if name.startswith(path.rstrip("/") + "/")]:
                del files[inside]
        case _:
            raise RefusalError(400, "", f"Unknown operation: {key}")


@ENDPOINTS("POST", API + f"/tag{REVISION}")
def tag(api: Api, kind: Kind, repo: str, revision: str) -> Answer:
    repository, name = api.writable(kind, repo), json.loads(api.body)["tag"]
    return _refer(repository.tags, name, commit_at(repository, revision).oid)


@ENDPOINTS("POST", API + r"/branch/(?P<name>[^/]+)")
def branch(api: Api, kind: Kind, repo: str, name: str) -> Answer:
    repository = api.writable(kind, repo)
    start = (json.loads(api.body) if api.body else {}).get("startingPoint") or "main"
    return _refer(repository.branches, name, commit_at(repository, start).oid)


def _refer(names: dict[str, str], name: str, oid: str) -> Answer:
    if name in names:
        raise RefusalError(409, "", f"Reference already exists: {name}")
    names[name] = oid
    return as_json({})


@ENDPOINTS("DELETE", API + r"/(?P<what>tag|branch)/(?P<name>[^/]+)")
def forget(api: Api, kind: Kind, repo: str, what: str, name: str) -> Answer:
    repository = api.writable(kind, repo)
    names = repository.tags if what == "tag" else repository.branches
    if names.pop(name, None) is None:
        raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {name}")
    return as_json({})


def _is_large(asked: JSON) -> bool:
    return is_large(asked["path"], base64.b64decode(asked["sample"]), asked["size"])
