"""The routes of a server: HTTP around the protocols."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from lopd_store.errors import EngineError, LopdError, UsageError
from lopd_store.serving import metrics
from lopd_store.serving.answers import Asked, Backend, Missing, Reply, Scored
from lopd_store.serving.auth import NoStrangersNames, TokenRequired
from lopd_store.serving.limits import Limits, Room
from lopd_store.serving.metrics import Metrics
from lopd_store.serving.protocols import openai, sglang, trl
from lopd_store.serving.protocols.protocol import Dialect, Question
from lopd_store.serving.protocols.refusal import Refusal, RefusedError, missing, unable
from lopd_store.serving.served import Served

Endpoint = Callable[[Request], Awaitable[Response]]

_GENERATED: Final[tuple[tuple[str, str, Dialect], ...]] = (
    ("openai", "/v1/chat/completions", openai),
    ("trl", "/generate/", trl),
    ("trl", "/chat/", trl),
)
"""What the same live servers have and no store can answer."""


class Endpoints:
    """Requests to replies, whatever the protocol. Belongs to one event loop."""

    def __init__(self, served: Served, backend: Backend, limits: Limits) -> None:
        self._backend = backend
        self._served = served
        self._room = Room(limits)
        self._metrics = Metrics(rows=served.rows)
        self._headers = {"x-lopd-artifacts": ",".join(_names(served))}
        if served.teacher is not None:
            self._headers["x-lopd-teacher"] = str(served.teacher.weights_digest)

    async def score(self, name: str, dialect: Dialect, request: Request) -> Response:
        """Answer a request for log-probs."""

        async def answer(body: bytes) -> Reply:
            return await self._answer(dialect.read(body, self._served, request.url.query))

        return await self._reply(name, dialect, request, answer)

    async def generate(self, name: str, dialect: Dialect, request: Request) -> Response:
        """Hand a request to a live model, or say that there is none."""

        async def answer(body: bytes) -> Reply:
            why = f"{request.url.path} generates text"
            return await self._forward(
                Asked(protocol=name, path=request.url.path, body=body, sequences=(), generates=why)
            )

        return await self._reply(name, dialect, request, answer)

    async def count(self, _: Request) -> Response:
        """The text of `/metrics`."""
        return Response(self._metrics.text(), media_type=metrics.MEDIA_TYPE)

    async def _reply(
        self,
        name: str,
        dialect: Dialect,
        request: Request,
        answer: Callable[[bytes], Awaitable[Reply]],
    ) -> Response:
        began = time.perf_counter()
        try:
            async with self._room.body_of(request) as body:
                reply = await answer(body)
        except LopdError as error:
            refusal = _refusal(error)
            reply = Reply(status=refusal.status, body=dialect.refuse(refusal).encode())
        self._metrics.finished(name, reply.status, time.perf_counter() - began)
        stored = {"x-lopd-stored": "1"} if reply.stored else {}
        return Response(
            reply.body, reply.status, headers=self._headers | stored, media_type=reply.media_type
        )

    async def _answer(self, question: Question) -> Reply:
        asked = question.asked
        if asked.generates is not None:
            return await self._forward(asked)
        answers = (self._backend.answers.answer(sequence) for sequence in asked.sequences)
        found = await self._whole(asked, await asyncio.gather(*answers))
        return Reply(
            status=HTTPStatus.OK,
            body=await _joined(question.reply(found)),
            stored=all(scored.stored for scored in found),
        )

    async def _whole(self, asked: Asked, found: Sequence[Scored | Missing]) -> Sequence[Scored]:
        """Log-probs of all sequences: from the upstream where some are not stored."""
        scored = [one for one in found if isinstance(one, Scored)]
        absent = len(found) - len(scored)
        self._metrics.sequences["stored"] += len(scored)
        if not absent:
            return scored
        if self._backend.upstream is not None:
            brought = await self._backend.upstream.scored(asked)
            self._metrics.sequences["scored"] += absent
            return brought
        self._metrics.sequences["missing"] += absent
        number, first = next(
            (number, one) for number, one in enumerate(found) if isinstance(one, Missing)
        )
        ids = len(asked.sequences[number].ids)
        place = number if asked.places is None else asked.places[number]
        raise missing(place, ids=ids, longest_prefix=first.longest_prefix)

    async def _forward(self, asked: Asked) -> Reply:
        if self._backend.upstream is None:
            raise unable(asked.generates or "it has no stored answer")
        return await self._backend.upstream.relay(asked)


def create_app(
    served: Served, backend: Backend, *, limits: Limits | None = None, token: str | None = None
) -> Starlette:
    """The application of a server; starts and stops nothing.

    Args:
        served: what it says of itself.
        backend: where its numbers come from.
        limits: what requests may take.
        token: what they must carry; None lets every program in that can reach the server.
    """
    guard = Middleware(TokenRequired, token=token) if token else Middleware(NoStrangersNames)
    endpoints = Endpoints(served, backend, limits or Limits())
    created = int(time.time())
    pages = {
        "/health": "",
        "/health_generate": "",
        "/health/": '{"status": "ok"}',
        "/version": f'{{"version": "{version("lopd")}"}}',
        "/v1/models": openai.models(served, created=created),
        "/get_model_info": sglang.model_info(served),
        "/model_info": sglang.model_info(served),
    }
    routes = [Route(path, _page(text)) for path, text in pages.items()]
    routes.append(Route("/metrics", endpoints.count))
    dialects: tuple[tuple[str, str, Dialect], ...] = (
        ("openai", openai.PATH, openai),
        ("sglang", sglang.PATH, sglang),
        ("trl", trl.PATH, trl),
    )
    for entries, endpoint in ((dialects, endpoints.score), (_GENERATED, endpoints.generate)):
        for name, path, dialect in entries:
            routes.append(Route(path, partial(endpoint, name, dialect), methods=["POST"]))
    return Starlette(
        routes=routes,
        middleware=[guard],
        exception_handlers={HTTPException: _other_error},
    )


def _page(text: str) -> Endpoint:
    async def page(_: Request) -> Response:
        return Response(text, media_type="application/json" if text else None)

    return page


async def _other_error(_: Request, error: Exception) -> Response:
    """No such path, or another method: as the live servers say it."""
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"detail": error.detail}, error.status_code, headers=error.headers)


def _names(served: Served) -> Iterator[str]:
    """What is served, for a header: ids, or the digits of no artifact."""
    return (str(artifact.id or "none") for artifact in served.artifacts)


def _refusal(error: LopdError) -> Refusal:
    """What a client is told of an error; whose fault it was decides the status."""
    if isinstance(error, RefusedError):
        return error.refusal
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, UsageError):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(error, EngineError):
        status = HTTPStatus(getattr(error, "http_status", HTTPStatus.BAD_GATEWAY))
    return Refusal(status=status, message=str(error))


async def _joined(parts: Iterator[str]) -> bytes:
    """The parts in one; others have a turn after each."""
    found = []
    for part in parts:
        found.append(part.encode())
        await asyncio.sleep(0)
    return b"".join(found)
