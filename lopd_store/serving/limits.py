"""What one request may take of the server, and all of them together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from starlette.requests import ClientDisconnect, Request

from lopd_store.serving.protocols.refusal import Refusal, RefusedError, malformed

BODY_BYTES: Final = 16 << 20
"""Two million token ids. JSON in Python takes up to thirty times its bytes while it is read."""

_DISCARDED: Final = 4  # times the limit: a client that is still sending reads no reply
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds on work.

    Attributes:
        body_bytes: of one request.
        bytes_at_once: of all requests that are under way; more of them wait.
        body_seconds: until a request has arrived whole.
        wait_seconds: until there is room for it.
        idle_seconds: until a connection's next request has shown its whole head; a trainer may
            think for a while between two batches.
        connections: at a time; more are told to come back (503).
    """

    body_bytes: int = BODY_BYTES
    bytes_at_once: int = 16 * BODY_BYTES
    body_seconds: float = 60.0
    wait_seconds: float = 60.0
    idle_seconds: int = 75
    connections: int = 2048


class Room:
    """Bytes that requests under way may hold together. Belongs to one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._free = limits.bytes_at_once
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def body_of(self, request: Request) -> AsyncIterator[bytes]:
        """The request's body, which takes up room until the block ends.

        Raises:
            RefusedError: it is too large or too slow, is not JSON by its own word, or there was no
                room for too long.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != _JSON:
            raise malformed(f"content-type: expected {_JSON}, found {media_type[:100] or 'none'}")
        size = self._size(request)
        await self._take(size)
        try:
            yield await self._read(request)
        finally:
            await asyncio.shield(self._give(size))

    def _size(self, request: Request) -> int:
        """How much to set aside; all that is allowed where the client does not say."""
        said = request.headers.get("content-length", "")
        largest = self._limits.body_bytes
        return min(int(said), largest) if said.isdecimal() else largest

    async def _take(self, size: int) -> None:
        try:
            async with asyncio.timeout(self._limits.wait_seconds), self._changed:
                await self._changed.wait_for(lambda: self._free >= size)
                self._free -= size
        except TimeoutError:
            raise _refused(
                HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are under way: try again"
            ) from None

    async def _give(self, size: int) -> None:
        async with self._changed:
            self._free += size
            self._changed.notify_all()

    async def _read(self, request: Request) -> bytes:
        try:
            async with asyncio.timeout(self._limits.body_seconds):
                return await self._whole(request)
        except TimeoutError:
            raise _refused(
                HTTPStatus.REQUEST_TIMEOUT,
                f"expected the whole request within {self._limits.body_seconds:g} seconds",
            ) from None
        except ClientDisconnect:
            raise malformed("expected the whole request, found its end before") from None

    async def _whole(self, request: Request) -> bytes:
        limit = self._limits.body_bytes
        found = bytearray()
        total = 0
        async for part in request.stream():
            total += len(part)
            if total <= limit:
                found += part
            elif total > _DISCARDED * limit:
                break
        if total > limit:
            raise _refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"expected a request of at most {limit} bytes, found more: send fewer sequences",
            )
        return bytes(found)


def _refused(status: HTTPStatus, message: str) -> RefusedError:
    return RefusedError(Refusal(status=status, message=message))
