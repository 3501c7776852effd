"""A request to the test Hub → an answer: the endpoints' table, and who may do what."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from urllib.parse import parse_qs, unquote

from tests.hub_server.state import Commit, Hub, Kind, Repository, User

_REPO = r"(?P<repo>[^/]+/[^/]+)"
API = rf"/api/(?P<kind>model|dataset)s/{_REPO}"  # models' paths say models here …
PAGE = rf"/(?:(?P<kind>dataset)s/)?{_REPO}"  # … and nothing here
REVISION = r"/(?P<revision>[^/]+)"


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


def as_json(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    body = json.dumps(value).encode()
    return Answer(status, body, {"Content-Type": "application/json", **(headers or {})})


class RefusalError(Exception):
    """An answer that says no: the client reads X-Error-Code before the status."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        told = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self.answer = as_json({"error": message}, status, told | dict(headers or {}))


Endpoint = Callable[..., Answer]


class Endpoints:
    """Which function answers which requests."""

    def __init__(self) -> None:
        self.table: list[tuple[re.Pattern[str], Endpoint]] = []

    def __call__(self, methods: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
        """The function answers these methods of paths like this; named groups are arguments."""

        def add(function: Endpoint) -> Endpoint:
            self.table.append((re.compile(f"(?:{methods}) {pattern}"), function))
            return function

        return add


class Api:
    """One request, and what its user may have of the Hub."""

    def __init__(self, hub: Hub, headers: Message, query: str, body: bytes) -> None:
        self.hub, self.headers, self.body = hub, headers, body
        self.query = {name: values[-1] for name, values in parse_qs(query).items()}
        self.user: User | None = None

    def answer(self, line: str, endpoints: Iterable[Endpoints]) -> Answer:
        """What the Hub answers to `METHOD /path`; quoted still, for a revision may hold a slash."""
        for pattern, function in (row for each in endpoints for row in each.table):
            if found := pattern.fullmatch(line):
                groups = {name: text and unquote(text) for name, text in found.groupdict().items()}
                if "kind" in groups:
                    groups["kind"] = groups["kind"] or "model"
                try:
                    with self.hub.lock:
                        self.user = self._who()
                        return function(self, **groups)
                except RefusalError as refusal:
                    return refusal.answer
        return RefusalError(404, "", "Not Found").answer

    def _who(self) -> User | None:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in self.hub.users:
            raise RefusalError(401, "", "Invalid credentials in Authorization header")
        return self.hub.users.get(token)

    def known(self) -> User:
        """The user, of whom a token came."""
        if self.user is None:
            # The code is for loopback's sake: over https the client knows a 401 by its address.
            raise RefusalError(401, "RepoNotFound", "Invalid username or password.")
        return self.user

    def readable(self, kind: Kind, name: str) -> Repository:
        """A repository whose listing this user may have: a private one is as good as none."""
        repository = self.hub.repositories.get((kind, name))
        if repository is None or (repository.private and not self._inside(repository)):
            self.known()
            raise RefusalError(404, "RepoNotFound", "Repository not found")
        return repository

    def opened(self, kind: Kind, name: str) -> Repository:
        """A repository whose files this user may have."""
        repository = self.readable(kind, name)
        if repository.gated and not self._inside(repository):
            restricted = f"Access to {kind} {name} is restricted"
            if self.user is None:
                told = "You must have access to it and be authenticated to access it."
                raise RefusalError(401, "GatedRepo", f"{restricted}. {told} Please log in.")
            told = "you are not in the authorized list. Visit its page to ask for access."
            raise RefusalError(403, "GatedRepo", f"{restricted} and {told}")
        return repository

    def writable(self, kind: Kind, name: str) -> Repository:
        """A repository that this user may change."""
        repository, user = self.readable(kind, name), self.known()
        if user.role != "write":
            told = "you must use a write token to upload to a repository."
            raise RefusalError(403, "", f"Forbidden: {told}")
        if not user.owns(name):
            told = "pass `create_pr=1` as a query parameter to create a Pull Request"
            raise RefusalError(403, "", f"Forbidden: {told}")
        return repository

    def _inside(self, repository: Repository) -> bool:
        user = self.user
        return user is not None and (user.owns(repository.name) or user.name in repository.admitted)


def commit_at(repository: Repository, revision: str) -> Commit:
    """The commit that a revision names."""
    if (commit := repository.resolve(revision)) is None:
        raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
    return commit
