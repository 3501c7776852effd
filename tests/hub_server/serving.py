"""The test Hub's two hosts: HTTP/1.1, the log, and faults of the connection."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.hub_server import accounts, reading, writing
from tests.hub_server.api import Answer, Api, RefusalError
from tests.hub_server.state import Fault, Hub, Request

ENDPOINTS = (accounts.ENDPOINTS, reading.ENDPOINTS, writing.ENDPOINTS)
CHUNK = 1 << 16  # bytes received or sent at a time


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """The Hub and its far host, until the block ends; an error of its own is raised then."""
    near, far = _Server(hub, "127.0.0.1"), _Server(hub, "127.0.0.2")
    hub.endpoint, hub.far = near.url, far.url
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
    if hub.broken:
        raise hub.broken[0]


class _Server(ThreadingHTTPServer):
    """One host; a client that goes away is no error."""

    request_queue_size = 128

    def __init__(self, hub: Hub, host: str) -> None:
        self.hub = hub
        super().__init__((host, 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://{self.server_address[0]!s}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: the handler keeps its own errors, and clients are killed on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes
    server: _Server

    def do_HEAD(self) -> None:
        self._serve()

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_: object) -> None:
        """Say nothing: `Hub.requests` has it all."""

    def _serve(self) -> None:
        try:
            self._exchange()
        except ConnectionError:
            self.close_connection = True
        except BaseException as error:
            self.server.hub.broken.append(error)
            raise

    def _exchange(self) -> None:
        hub, url = self.server.hub, urlsplit(self.path)
        request = Request(self.command, unquote(url.path), "Authorization" in self.headers)
        with hub.lock:
            hub.requests.append(request)
            faults = [fault for fault in hub.faults if fault.strikes(str(request))]
        body = self._receive(request, faults)
        answer = _refused(faults) or Api(hub, self.headers, url.query, body).answer(
            f"{self.command} {url.path}", ENDPOINTS
        )
        if any(fault.lost for fault in faults):
            self._end()
        self._send(request, answer, faults)

    def _receive(self, request: Request, faults: list[Fault]) -> bytes:
        """The body, whole: the client's going away in its middle ends the exchange."""
        size = int(self.headers.get("Content-Length", 0))
        stop = min((f.cut for f in faults if f.cut is not None and size), default=size)
        body = bytearray()
        while len(body) < size:
            time.sleep(sum(fault.pause for fault in faults))
            if len(body) >= stop:
                self._end()
            chunk = self.rfile.read(min(CHUNK, size - len(body), max(stop - len(body), 1)))
            if not chunk:
                self._end()
            body += chunk
            request.received = len(body)
        return bytes(body)

    def _send(self, request: Request, answer: Answer, faults: list[Fault]) -> None:
        """The answer as it is, and then what the faults make of it."""
        body, headers = bytearray(answer.body), dict(answer.headers)
        for fault in faults:
            body = body if fault.body is None else bytearray(fault.body)
            headers |= fault.headers
            if fault.flip is not None and fault.flip < len(body):
                body[fault.flip] ^= 1
        request.status = answer.status
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        cuts = [f.cut for f in faults if f.cut is not None and not request.received]
        stop = min(cuts, default=len(body))
        for start in range(0, min(stop, len(body)), CHUNK):
            time.sleep(sum(fault.pause for fault in faults))
            chunk = body[start : min(start + CHUNK, stop)]
            self.wfile.write(chunk)
            request.sent += len(chunk)
        if stop < len(body):
            self._end()

    def _end(self) -> None:
        """The connection ends here, in the middle of what it was at."""
        with suppress(OSError):  # the client may be gone already
            self.connection.shutdown(socket.SHUT_RDWR)
        raise ConnectionAbortedError


def _refused(faults: list[Fault]) -> Answer | None:
    """What a fault answers instead of the Hub."""
    for fault in faults:
        if fault.status is not None:
            return RefusalError(fault.status, "", fault.message).answer
    return None
