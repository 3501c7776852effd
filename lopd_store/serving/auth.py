"""Who may ask: every program on this machine, or whoever knows the token."""

import hmac
import ipaddress
import socket
from http import HTTPStatus
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from lopd_store.errors import UsageError

TOKEN: Final = "LOPD_SERVE_TOKEN"  # noqa: S105 - the variable's name
"""The environment variable: an argument would stand in every process list."""

OPEN: Final = frozenset({"/health", "/health/", "/health_generate"})
"""What load balancers ask without a token; says nothing but that the server is there."""

_SCHEME: Final = b"bearer"
_NEAR: Final = (".localhost", ".internal")  # nobody can register one


class TokenRequired:
    """An ASGI application whose requests carry `Authorization: Bearer TOKEN`, or get 401."""

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http" or scope["path"] in OPEN or self._is_known(scope):
            await self._app(scope, receive, send)
            return
        refused = JSONResponse(
            {"error": "Unauthorized"},
            HTTPStatus.UNAUTHORIZED,
            headers={"www-authenticate": "Bearer"},
        )
        await refused(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, token = given[0].partition(b" ")
        # compare_digest takes as long for a wrong token as for the right one.
        return bool(hmac.compare_digest(token, self._token)) and scheme.lower() == _SCHEME


class NoStrangersNames:
    """An ASGI application that is asked by address, as localhost or by a name of the local network.

    Any other name may be a web page's own, which its owner had lead to this machine: a browser then
    lets the page ask whatever it likes (DNS rebinding). Who needs a name sets a token.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        if scope["type"] != "http" or scope["path"] in OPEN or all(map(_is_near, hosts)):
            await self._app(scope, receive, send)
            return
        why = f"Host: expected an address or localhost, found another name; {TOKEN} allows any"
        await JSONResponse({"error": why}, HTTPStatus.MISDIRECTED_REQUEST)(scope, receive, send)


def _is_near(host: bytes) -> bool:
    """Whether nobody on the internet can own the name in a Host header."""
    name = host.decode("latin-1").lower()
    if not name.startswith("["):
        name = name.partition(":")[0]
    return "." not in name or name.endswith(_NEAR) or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name.startswith("[")  # of IPv6; no name does
    return True


def check_reach(host: str, token: str | None) -> None:
    """Refuse to be reached from elsewhere without a token.

    Args:
        host: the address to listen at.
        token: what stands in the environment; None or blank is no token.

    Raises UsageError: the address is not of this machine alone and there is no token, or the
    address is none; a token that no client can send.
    """
    if token is not None and not token.strip():
        raise UsageError(f"{TOKEN}: expected a token, found blanks")
    if token is not None and not (
        token.isascii() and token.isprintable() and token == token.strip()
    ):
        raise UsageError(
            f"{TOKEN}: expected printable ASCII without blanks or newlines around it, found others"
        )
    if token is None and not is_loopback(host):
        raise UsageError(
            f"--host {host}: expected a token in {TOKEN}, as others can reach this address;"
            " found none"
        )


def is_loopback(host: str) -> bool:
    """Whether every address of that name is of this machine alone. Raises UsageError."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UsageError(f"--host {host}: expected an address of this machine: {error}") from error
    addresses = {entry[4][0] for entry in found}
    return all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in addresses)
