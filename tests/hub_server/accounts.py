"""Who one is, and the repositories one makes."""

import json

from tests.hub_server.api import API, Answer, Api, Endpoints, RefusalError, as_json
from tests.hub_server.state import JSON, Kind

ENDPOINTS = Endpoints()


@ENDPOINTS("GET", "/api/whoami-v2")
def whoami(api: Api) -> Answer:
    user = api.known()
    token = {"displayName": "test", "role": user.role, "createdAt": "2026-01-01T00:00:00.000Z"}
    return as_json(
        {
            "type": "user",
            "id": user.name,
            "name": user.name,
            "fullname": user.name,
            "isPro": False,
            "orgs": [{"type": "org", "id": org, "name": org} for org in user.orgs],
            "auth": {"type": "access_token", "accessToken": token},
        }
    )


@ENDPOINTS("POST", "/api/repos/create")
def create(api: Api) -> Answer:
    kind, name, asked = _named(api)
    url = f"{api.hub.endpoint}/{'' if kind == 'model' else 'datasets/'}{name}"
    if (kind, name) in api.hub.repositories:
        return as_json({"error": f"You already created this {kind} repo", "url": url}, 409)
    api.hub.create(name, kind, private=_is_private(asked))
    return as_json({"url": url, "name": name, "id": name})


@ENDPOINTS("DELETE", "/api/repos/delete")
def delete(api: Api) -> Answer:
    kind, name, _ = _named(api)
    api.readable(kind, name)
    del api.hub.repositories[kind, name]
    return as_json({})


@ENDPOINTS("PUT", API + "/settings")
def settings(api: Api, kind: Kind, repo: str) -> Answer:
    repository, asked = api.writable(kind, repo), json.loads(api.body)
    if "visibility" in asked or "private" in asked:
        repository.private = _is_private(asked)
    repository.gated = asked.get("gated", repository.gated)
    return as_json({"private": repository.private, "gated": repository.gated})


@ENDPOINTS("GET", API + "/auth-check")
def auth_check(api: Api, kind: Kind, repo: str) -> Answer:
    api.opened(kind, repo)
    return as_json({})


@ENDPOINTS("POST", "/api/validate-yaml")
def validate_yaml(api: Api) -> Answer:
    bare = not json.loads(api.body)["content"].startswith("---\n")
    warning = {"message": "empty or missing yaml metadata in repo card"}
    return as_json({"errors": [], "warnings": [warning] if bare else []})


def _named(api: Api) -> tuple[Kind, str, JSON]:
    """The repository that the body names, in a namespace where this user may make it."""
    asked, user = json.loads(api.body), api.known()
    kind: Kind = asked.get("type") or "model"
    namespace = asked.get("organization") or user.name
    if user.role != "write" or namespace not in {user.name, *user.orgs}:
        told = f"You don't have the rights to create a {kind} under the namespace"
        raise RefusalError(403, "", f'{told} "{namespace}"')
    return kind, f"{namespace}/{asked['name']}", asked


def _is_private(asked: JSON) -> bool:
    return asked.get("visibility") == "private" or bool(asked.get("private"))
