"""A server that runs: listens, says where, answers until it is told to stop."""

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from lopd_store.errors import UsageError
from lopd_store.serving.answers import Backend
from lopd_store.serving.app import create_app
from lopd_store.serving.auth import check_reach
from lopd_store.serving.heads import PatientProtocol
from lopd_store.serving.limits import Limits
from lopd_store.serving.served import Served

LOOPBACK: Final = "127.0.0.1"

_BACKLOG: Final = 2048  # connections that wait to be accepted
_GRACE_SECONDS: Final = 30  # requests under way get so long to end


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen.

    Attributes:
        host: a name or address of this machine.
        port: 0 takes a free one.
        token: what requests must carry, if anything.
    """

    host: str = LOOPBACK
    port: int = 0
    token: str | None = None

    def __post_init__(self) -> None:
        """Raises UsageError where others can reach the address and there is no token."""
        check_reach(self.host, self.token)


def serve(
    served: Served,
    opening: AbstractAsyncContextManager[Backend],
    address: Address,
    *,
    ready: Callable[[str], None],
    limits: Limits | None = None,
) -> None:
    """Answer requests until SIGINT or SIGTERM; then let those under way end.

    Args:
        served: what the server says of itself.
        opening: gives where numbers come from, and closes it after the last request.
        address: where to listen.
        ready: told the URL once requests are taken.
        limits: what requests may take.

    Raises:
        UsageError: the address is taken, or none of this machine.
        Whatever `opening` raises.
    """
    limits = limits or Limits()

    async def run() -> None:
        async with opening as backend:
            app = create_app(served, backend, limits=limits, token=address.token)
            with _listening(address) as listener:
                url = _url(address.host, listener)
                server = _Server(configuration(app, limits), ready=lambda: ready(url))
                await server.serve(sockets=[listener])

    with asyncio.Runner(loop_factory=configuration(None, limits).get_loop_factory()) as runner:
        runner.run(run())


class _Server(uvicorn.Server):
    """Uvicorn's server, which stops at a signal without passing it on: a stop is no failure."""

    def __init__(self, config: uvicorn.Config, *, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take requests, and say so: from here on a signal ends them in order."""
        await super().startup(sockets)
        self._ready()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at the signals that ask for it."""
        before = {
            number: signal.signal(number, self.handle_exit)
            for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def configuration(app: Any, limits: Limits) -> uvicorn.Config:
    """How Uvicorn runs an application of `create_app`: no lifespan, no log of requests."""
    return uvicorn.Config(
        app,
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        http=PatientProtocol,  # the faster parser takes heads of any length
        timeout_keep_alive=limits.idle_seconds,
        limit_concurrency=limits.connections,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


@contextmanager
def _listening(address: Address) -> Iterator[socket.socket]:
    try:
        family, *_, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(place[:2], family=family, backlog=_BACKLOG)
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"--host {address.host} --port {address.port}: expected a free address of this"
            f" machine: {error}"
        ) from error
    with listener:
        yield listener


def _url(host: str, listener: socket.socket) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{listener.getsockname()[1]}"
