"""A read-through cache opened for a test, requests to it, and what is right."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from lopd_store.identity.model import Fingerprint
from lopd_store.serving.answers import Asked, Scored
from lopd_store.serving.answers import Sequence as Ids
from lopd_store.serving.readthrough.cache import ReadThrough
from lopd_store.serving.readthrough.kept import Counts
from lopd_store.serving.readthrough.opening import open_read_through
from lopd_store.serving.readthrough.upstream_http import UpstreamOptions
from lopd_store.serving.readthrough.upstream_identity import Teacher
from lopd_store.store import Store
from tests.building.chain import arithmetic
from tests.serving.live_teacher import LiveTeacher

T = TypeVar("T")
Work = Callable[[ReadThrough], Awaitable[T]]
ONE, TWO, THREE = [5, 6, 7, 8, 9], [5, 6, 8, 8], [11, 12, 13]


def options(live: LiveTeacher) -> UpstreamOptions:
    return UpstreamOptions(url=live.url, first_wait=0.0, tries=2)


def run(
    store: Store, live: LiveTeacher, teacher: Fingerprint, work: Work[T], **more: Any
) -> tuple[T, Counts]:
    """Work with a cache that grows `live`, opened and closed around it."""

    async def opened() -> tuple[T, Counts]:
        facts: dict[str, Any] = {"upstream": options(live), "teacher": Teacher(fingerprint=teacher)}
        facts |= more
        async with open_read_through(store, facts.pop("ref", "live"), **facts) as cache:
            return await work(cache), cache.counts

    return asyncio.run(opened())


def asked(
    *sequences: list[int], prompt: int | None = None, protocol: str = "openai", echo: bool = False
) -> Asked:
    return Asked(
        protocol=protocol,
        path="/v1/completions",
        body=json.dumps({"echo": echo}).encode(),
        sequences=tuple(Ids(ids=np.array(s, np.int32), prompt_length=prompt) for s in sequences),
    )


def expect_right(request: Asked, found: Sequence[Scored], *, stored: bool = True) -> None:
    """Everything after each sequence's prompt is there, is the teacher's, and is stored."""
    for sequence, scored in zip(request.sequences, found, strict=True):
        assert scored.prompt_length <= max(1, sequence.prompt_length or 0)
        expected = arithmetic(sequence.ids.tolist(), scored.prompt_length)
        assert scored.logprobs.tolist() == expected.tolist()
        assert scored.stored == stored


def ask(*requests: Asked) -> Work[list[list[Scored]]]:
    """One request after the other."""

    async def work(cache: ReadThrough) -> list[list[Scored]]:
        return [await cache.scored(request) for request in requests]

    return work


async def until(happened: Callable[[], object]) -> None:
    """Wait for what other threads do, which sets no event of this loop; fails after a minute."""
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


def sequences(count: int, seed: int) -> list[list[int]]:
    chance = np.random.default_rng(seed)
    return [chance.integers(5, 267, chance.integers(2, 30)).tolist() for _ in range(count)]
