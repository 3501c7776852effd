"""The live teacher behind a store: who it is, and its log-probs, checked before they count."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self, TypeGuard

from lopd_store.errors import EngineError, UsageError
from lopd_store.serving.answers import Asked, Floats, Reply
from lopd_store.serving.readthrough.upstream_http import Transport, UpstreamError, UpstreamOptions
from lopd_store.serving.readthrough.upstream_wire import Question, Wanted, read_answer

_OK: Final = 200
_STATUSES: Final = frozenset(HTTPStatus)
_CLOSED: Final = (401, 403)
_BYTES_A_TOKEN: Final = 1024  # the wordiest protocol takes about 120
_BYTES_BESIDE: Final = 1 << 20
_RELAYED_BYTES: Final = 256 << 20
_LONGEST_VERSION: Final = 100
_LONGEST_NAME: Final = 1000
_VERSIONS: Final = (("/version", "vllm"), ("/get_server_info", "sglang"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """What a server says of itself.

    Attributes:
        model: the name of its model; None where its protocol has no names.
        versions: engine → version, as far as it says.
    """

    model: str | None
    versions: Mapping[str, str]


class UpstreamClient:
    """Questions to one server. Use it as a context manager, on one event loop."""

    def __init__(self, options: UpstreamOptions) -> None:
        self._options = options
        self._transport = Transport(options)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._transport.close()

    async def describe(self, *, tries: int | None = None) -> Described:
        """Ask the server who it is.

        Args:
            tries: how often; None takes what the options say.

        Raises:
            UpstreamError: it cannot be reached.
            UsageError: it has several models and nobody said which one is meant.
        """
        versions = {}
        for path, engine in _VERSIONS:
            version = (await self._get(path, tries)).get("version")
            if self._is_name(version, longest=_LONGEST_VERSION):
                versions[engine] = version
                break
        return Described(model=await self._model(tries), versions=versions)

    async def score(self, question: Question, wanted: Sequence[Wanted]) -> list[Floats]:
        """The log-probs of each sequence from its `first` position on; see `read_answer`.

        Raises UpstreamError: it refused, cannot be reached, or its answer cannot be right.
        """
        limit = _BYTES_BESIDE + _BYTES_A_TOKEN * sum(len(one.ids) for one in wanted)
        content = json.dumps(question.body).encode()
        answered = await self._transport.send(question.path, content, limit=limit)
        if answered.status != _OK:
            raise self._transport.refused(question.path, answered)
        try:
            return await asyncio.to_thread(_read, question, answered.body, wanted)
        except EngineError as error:
            raise UpstreamError(str(error), problems=error.problems) from error

    async def relay(self, asked: Asked) -> Reply:
        """The server's own answer to a request as it came. Raises UpstreamError."""
        answered = await self._transport.send(asked.path, asked.body, limit=_RELAYED_BYTES)
        if answered.status not in _STATUSES:  # a proxy's own, which our server has no words for
            raise self._transport.refused(asked.path, answered)
        return Reply(
            status=answered.status, body=answered.body, media_type=answered.media_type, stored=False
        )

    async def _model(self, tries: int | None) -> str | None:
        if self._options.model is not None:
            return self._options.model
        listed = (await self._get("/v1/models", tries)).get("data")
        entries = listed if isinstance(listed, list) else []
        names = [entry.get("id") for entry in entries if isinstance(entry, dict)]
        if len(names) > 1:
            shown = ", ".join(f"{name!s:.100}" for name in names[:8])
            raise UsageError(f"the upstream has several models, name one of them: {shown}")
        return names[0] if names and self._is_name(names[0], longest=_LONGEST_NAME) else None

    def _is_name(self, found: Any, *, longest: int) -> TypeGuard[str]:
        """Whether it can be kept and shown: an artifact and clients get it, but no secret."""
        if not isinstance(found, str) or not found.isprintable() or not 0 < len(found) <= longest:
            return False
        return self._options.token is None or self._options.token not in found

    async def _get(self, path: str, tries: int | None) -> dict[str, Any]:
        """A JSON object that describes the server; empty where it has none."""
        answered = await self._transport.send(path, limit=_BYTES_BESIDE, tries=tries)
        if answered.status in _CLOSED:
            raise self._transport.refused(path, answered)
        try:
            found = json.loads(answered.body) if answered.status == _OK else {}
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}


def _read(question: Question, body: bytes, wanted: Sequence[Wanted]) -> list[Floats]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise EngineError(
            f"the upstream's {question.path}: expected JSON, found none: {error!s:.200}"
        ) from error
    return read_answer(question, answer, wanted)
