"""Requests to the live teacher behind a store, sent again where that may help.

It is spoken to directly: no proxy of the environment, no redirect. What it sends is bounded before
it is read, and no message of ours repeats the token.
"""

import asyncio
import random
from dataclasses import dataclass, field
from typing import ClassVar, Final

import httpx

from lopd_store.errors import EngineError, UsageError

_AGAIN: Final = (429, 503)  # it is there, and busy
_TRANSIENT: Final = (
    httpx.NetworkError,
    httpx.RemoteProtocolError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
)
_LONGEST_WAIT: Final = 30.0  # seconds between two tries
_TO_CONNECT: Final = 10.0  # seconds
_TO_SAY_WHO: Final = 10.0  # seconds for an answer that takes no work
_SHOWN: Final = 300  # characters of a stranger's text that a message repeats
_CLOSED: Final = (401, 403)
_OK: Final = 200
_JSON: Final = "application/json"


class UpstreamError(EngineError):
    """The live teacher refused, or cannot be reached, or answered what cannot be right."""

    http_status: ClassVar[int] = 502


class UpstreamTimeoutError(UpstreamError):
    """The live teacher did not answer in time."""

    http_status: ClassVar[int] = 504


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOptions:
    """Where the teacher is and how long it is waited for.

    Attributes:
        url: `http://host:port`, with a path before the protocol's own if there is one; a `/v1` at
            its end, as OpenAI's clients write it, does not count.
        token: sent as `Authorization: Bearer`; None sends none.
        model: its name there; None asks for it, which takes a server with one model.
        timeout: seconds until an answer must be there, whole.
        requests: at most so many at once.
        tries: how often a request is sent that meets a lost connection or a busy server.
        first_wait: seconds before the second try; each further wait is twice as long, up to 30.
    """

    url: str
    token: str | None = field(default=None, repr=False)
    model: str | None = None
    timeout: float = 600.0
    requests: int = 64
    tries: int = 6
    first_wait: float = 0.25

    def __post_init__(self) -> None:
        try:
            url = httpx.URL(self.url)
        except httpx.InvalidURL as error:
            raise UsageError(f"expected a URL such as http://host:8000: {error}") from None
        if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
            raise UsageError(
                "expected an upstream such as http://host:8000, without user, password or query"
            )
        if self.token is not None and not (self.token.isascii() and self.token.isprintable()):
            raise UsageError("expected an upstream's token of printable ASCII, found another")
        if self.timeout <= 0 or min(self.requests, self.tries) < 1 or self.first_wait < 0:
            raise UsageError("expected a timeout above 0 s, and at least one request and one try")

    @property
    def base(self) -> str:
        """The URL that a protocol's path is added to."""
        return self.url.rstrip("/").removesuffix("/v1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An answer, whole; `retry_after` is in seconds."""

    status: int
    media_type: str
    retry_after: float
    body: bytes = field(repr=False)

    @classmethod
    def of(cls, response: httpx.Response, body: bytes) -> "Answered":
        """What came, its body read to the end."""
        after = response.headers.get("Retry-After", "")
        kind = response.headers.get("Content-Type", _JSON)
        return cls(
            status=response.status_code,
            media_type=kind if kind.isascii() else _JSON,
            retry_after=float(after) if after.isascii() and after.isdigit() else 0.0,
            body=body,
        )


class Transport:
    """Requests to one server, bounded in number and size, on one event loop; close it."""

    def __init__(self, options: UpstreamOptions) -> None:
        self._options = options
        self._gate = asyncio.Semaphore(options.requests)
        headers = {"Accept-Encoding": "identity"}
        if options.token is not None:
            headers["Authorization"] = f"Bearer {options.token}"
        self._client = httpx.AsyncClient(
            headers=headers,
            limits=httpx.Limits(max_connections=options.requests),
            trust_env=False,
        )

    async def close(self) -> None:
        """End the connections."""
        await self._client.aclose()

    async def send(
        self, path: str, content: bytes | None = None, *, limit: int, tries: int | None = None
    ) -> Answered:
        """Send a request until it is answered, or until it has been sent often enough.

        Args:
            path: from the server's root.
            content: a JSON body to post; None gets a page.
            limit: the most bytes an answer may have.
            tries: how often; None takes what the options say.

        Raises:
            UpstreamTimeoutError: no answer in time.
            UpstreamError: no connection, a redirect, too long an answer.
        """
        wait = self._options.first_wait
        tries = tries or self._options.tries
        for left in reversed(range(tries)):
            try:
                async with self._gate:
                    answered = await self._once(path, content, limit)
            except _TRANSIENT as error:
                if not left:
                    raise self._lost(error, tries) from error
                asked_for = 0.0
            else:
                if not left or answered.status not in _AGAIN:
                    return answered
                asked_for = answered.retry_after
            jitter = random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            await asyncio.sleep(min(max(wait * jitter, asked_for), _LONGEST_WAIT))
            wait *= 2
        raise AssertionError("the last try returns or raises")

    async def _once(self, path: str, content: bytes | None, limit: int) -> Answered:
        """One try. Raises what may pass as httpx has it, and all else as UpstreamError."""
        seconds = self._options.timeout if content else min(self._options.timeout, _TO_SAY_WHO)
        sending = self._client.stream(
            "POST" if content else "GET",
            self._options.base + path,
            content=content,
            headers={"Content-Type": _JSON} if content else {},
            timeout=httpx.Timeout(seconds, connect=min(seconds, _TO_CONNECT), pool=None),
        )
        try:
            async with asyncio.timeout(seconds), sending as response:
                return await self._whole(response, path, limit)
        except _TRANSIENT:
            raise
        except (httpx.TimeoutException, TimeoutError) as error:
            raise UpstreamTimeoutError(
                f"{self._where}: expected an answer in {seconds:g} s, found none"
            ) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._lost(error, 1) from error

    async def _whole(self, response: httpx.Response, path: str, limit: int) -> Answered:
        if response.is_redirect:
            raise UpstreamError(
                f"{self._where}: expected an answer, found a redirect ({response.status_code}),"
                " which is not followed: name the server itself"
            )
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise UpstreamError(f"{self._where}: expected bytes as they are, found compressed")
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > limit:
                raise UpstreamError(
                    f"{self._where}: expected at most {limit} bytes of {path}, found more"
                )
        return Answered.of(response, self._without_token(response.status_code, bytes(body)))

    def _without_token(self, status: int, body: bytes) -> bytes:
        """A refusal that repeats what it refuses; clients read it, and so do logs."""
        if self._options.token is None or status == _OK:
            return body
        return body.replace(self._options.token.encode(), b"[token]")

    @property
    def _where(self) -> str:
        return f"the upstream at {self._options.base}"

    def _lost(self, error: Exception, tries: int) -> UpstreamError:
        return UpstreamError(
            f"{self._where}: expected an answer, found none in {tries} tries"
            f" ({type(error).__name__}: {error!s:.{_SHOWN}})"
        )

    def refused(self, path: str, answered: Answered) -> UpstreamError:
        """An answer that is a refusal, as an error that repeats the beginning of what it said."""
        said = answered.body[: 4 * _SHOWN].decode("utf-8", "replace")[:_SHOWN]
        advice = "; it wants another token" if answered.status in _CLOSED else ""
        return UpstreamError(
            f"{self._where}: expected log-probs from {path}, found status {answered.status}"
            f" {said!r}{advice}"
        )
