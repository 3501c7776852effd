"""Clients of an HTTP server, light enough to share a machine with it."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

Check = Callable[[int, int, bytes], None]
"""Told of each reply: the request's number, the status, the body."""

_LARGEST_REPLY: Final = 64 << 20


@dataclass(slots=True)
class Load:
    """What came of some clients' work.

    Attributes:
        times: seconds of each request, in the order in which they ended.
        statuses: how often each status came.
        seconds: from the first request to the last reply.
        broken: connections that ended in the middle.
    """

    times: list[float] = field(default_factory=list)
    statuses: dict[int, int] = field(default_factory=dict)
    seconds: float = 0.0
    broken: int = 0

    def figures(self) -> dict[str, float]:
        """Requests a second, and the median and the 99th of 100 of their times in milliseconds."""
        middle, late = np.percentile(self.times, (50, 99)) * 1000
        return {
            "requests": len(self.times),
            "requests_per_second": len(self.times) / self.seconds,
            "p50_ms": float(middle),
            "p99_ms": float(late),
        }


def request(url: str, path: str, body: Any) -> bytes:
    """The bytes of a POST of JSON over a connection that stays open."""
    host = urlsplit(url).netloc
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def drive(
    url: str, requests: Sequence[bytes], *, clients: int, seconds: float, check: Check | None = None
) -> Load:
    """Send the requests round and round, from so many clients at once, for so many seconds."""
    load = Load()
    asyncio.run(_drive(load, url, requests, clients, seconds, check))
    return load


async def _drive(
    load: Load,
    url: str,
    requests: Sequence[bytes],
    clients: int,
    seconds: float,
    check: Check | None,
) -> None:
    begin = time.perf_counter()
    numbers = count()

    async def client() -> None:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(
            parts.hostname, parts.port, limit=_LARGEST_REPLY
        )
        try:
            while time.perf_counter() - begin < seconds:
                number = next(numbers) % len(requests)
                started = time.perf_counter()
                writer.write(requests[number])
                status, body = await _reply(reader)
                load.times.append(time.perf_counter() - started)
                load.statuses[status] = load.statuses.get(status, 0) + 1
                if check is not None:
                    check(number, status, body)
        except (ConnectionError, asyncio.IncompleteReadError):
            load.broken += 1
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(client())
    load.seconds = time.perf_counter() - begin


async def _reply(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    return int(head[9:12]), await reader.readexactly(length)
